"""Every plot is XML, says what it is, and has the planted points where a hand puts them.

The plot area of a chart with one line of legend is x 64 to 400 and y 270 to 34 (pixels, y downwards).
"""

from xml.etree import ElementTree

import numpy as np
import pytest
from scipy.stats import binomtest

from ecbehave.report import plots
from ecbehave.report.binary_content import CalibrationBin, Curve, ScoreHistogram
from ecbehave.report.chart import Axis, Chart, nice_ceiling, nice_step
from ecbehave.report.compared import Interval
from ecbehave.report.ranking_content import BarAtK, RankingPlot

SVG = "{http://www.w3.org/2000/svg}"
CURVES = [Curve("boosting", [0, 0.25, 1], [0, 0.75, 1]), Curve("rfm", [0, 0.5, 1], [0, 0.5, 1])]


def parsed(svg: str) -> ElementTree.Element:
    root = ElementTree.fromstring(svg)
    assert root.get("role") == "img"
    title = root.find(f"{SVG}title").text
    assert title
    assert root.get("aria-label").startswith(f"{title}. ")
    return root


def marks(root: ElementTree.Element, tag: str, css: str) -> list[dict[str, str]]:
    return [e.attrib for e in root.iter(f"{SVG}{tag}") if e.get("class") == css]


def texts(root: ElementTree.Element, css: str) -> list[str]:
    return [e.text for e in root.iter(f"{SVG}text") if e.get("class") == css]


def points(root: ElementTree.Element, css: str) -> str:
    (line,) = marks(root, "polyline", css)
    return line["points"]


def test_roc():
    root = parsed(plots.roc(CURVES))
    assert points(root, "line model") == "64,270 148,93 400,34"
    assert points(root, "line baseline") == "64,270 232,152 400,34"
    assert points(root, "line reference") == "64,270 400,34"
    assert texts(root, "label") == ["False positive rate", "True positive rate"]
    ticks = ["0 %", "20 %", "40 %", "60 %", "80 %", "100 %"]
    assert texts(root, "tick") == [*ticks, *ticks, "boosting", "rfm", "guessing"]


def test_the_model_lies_on_top_of_the_baseline():
    svg = plots.roc(CURVES)
    assert svg.index('"line baseline" points') < svg.index('"line model" points')


def test_roc_of_the_model_alone():
    root = parsed(plots.roc(CURVES[:1]))
    assert points(root, "line model") == "64,270 148,93 400,34"
    assert not marks(root, "polyline", "line baseline")


def test_precision_recall_shows_the_base_rate():
    root = parsed(plots.precision_recall(CURVES, 0.25))
    assert points(root, "line reference") == "64,211 400,211"
    assert "base rate 25.0 %" in texts(root, "tick")


def test_gains_shows_the_perfect_and_the_random_line():
    root = parsed(plots.gains(CURVES, 0.25))
    assert points(root, "line perfect") == "64,270 148,34 400,34"
    assert points(root, "line reference") == "64,270 400,34"
    assert points(root, "line model") == "64,270 148,93 400,34"


def test_calibration_has_dots_and_error_bars():
    bins = [CalibrationBin(0.1, 0.125, 400), CalibrationBin(0.3, 0.25, 400)]
    root = parsed(plots.calibration(bins))
    # The highest error bar, 0.295, and the highest probability, 0.3, end the axes at 0.3.
    dots = [(d["cx"], d["cy"]) for d in marks(root, "circle", "dot model")]
    assert dots == [("176", "171.7"), ("400", "73.3")]
    assert points(root, "line model") == "176,171.7 400,73.3"
    low, high = plots.wilson(0.125, 400)
    whisker = marks(root, "path", "whisker")[0]["d"]
    assert whisker.startswith(f"M176 {270 - low / 0.3 * 236:.1f}V{270 - high / 0.3 * 236:.1f}M")
    assert "predicted 10.0 %, observed 12.5 %, 400 rows" in [e.text for e in root.iter(f"{SVG}title")]


@pytest.mark.parametrize(("k", "n"), [(0, 10), (10, 100), (100, 100), (1, 1)])
def test_wilson_agrees_with_scipy(k, n):
    oracle = binomtest(k, n).proportion_ci(confidence_level=0.95, method="wilson")
    assert plots.wilson(k / n, n) == pytest.approx((oracle.low, oracle.high), abs=1e-7)


def test_scores_draw_each_class_as_shares_of_itself():
    histogram = ScoreHistogram([0.0, 0.5, 1.0], positives=[1, 3], negatives=[80, 20])
    root = parsed(plots.scores(histogram, "churners", "stayers"))
    # The highest share, 80 %, ends the axis.
    assert points(root, "line positives") == "64,196.2 232,196.2 232,48.8 400,48.8"
    assert points(root, "line negatives") == "64,34 232,34 232,211 400,211"
    (area,) = marks(root, "polygon", "area positives")
    assert area["points"] == "64,270 64,196.2 232,196.2 232,48.8 400,48.8 400,270"
    assert texts(root, "tick")[-2:] == ["stayers", "churners"]


def test_scores_without_positives():
    root = parsed(plots.scores(ScoreHistogram([0.0, 0.5, 1.0], [0, 0], [1, 1]), "churners", "stayers"))
    assert points(root, "line positives") == "64,270 232,270 232,270 400,270"


def test_importance_has_the_largest_on_top_and_shortens_names():
    long = "a_feature_with_a_name_that_is_far_too_long"
    root = parsed(plots.importance([("tenure", 0.5), (long, 1.0), ("<b>", 0.25)]))
    names = [long[:31] + "…", "tenure", "<b>"]
    assert [t for t in texts(root, "tick") if t in names] == names[::-1]
    # Names take 12 + 6.6 * 32 = 223.2 pixels on the left, values 52 on the right.
    bars = marks(root, "rect", "bar model")
    assert [(b["x"], b["width"]) for b in bars] == [("223.2", "144.8"), ("223.2", "72.4"), ("223.2", "36.2")]
    assert [float(b["y"]) for b in bars] == sorted(float(b["y"]) for b in bars)
    assert texts(root, "note") == ["1.00", "0.500", "0.250"]
    assert f"{long}: 1.00" in [e.text for e in root.iter(f"{SVG}title")]


def test_importance_below_zero_points_left():
    root = parsed(plots.importance([("up", 1.0), ("down", -1.0)]))
    up, down = marks(root, "rect", "bar model")
    assert (float(up["x"]), float(down["x"])) == (203.2, 38.4)
    assert up["width"] == down["width"] == "164.8"


def test_importance_shows_twenty():
    root = parsed(plots.importance([(f"f{i}", float(i)) for i in range(50)]))
    assert len(marks(root, "rect", "bar model")) == 20
    assert "20 most important of 50 features" in root.get("aria-label")


def test_ranking_has_two_bars_at_every_k():
    bars = [
        BarAtK(5, Interval(0.2, 0.15, 0.3), Interval(0.1, 0.05, 0.15)),
        BarAtK(10, Interval(0.4, 0.35, 0.5), Interval(None)),
    ]
    root = parsed(plots.ranking(RankingPlot("NDCG", bars), ("item_knn", "popularity")))
    # The highest bound, 0.5, ends the axis; a bar of 0.2 takes 236 * 0.4 = 94.4 pixels.
    model = [b for b in marks(root, "rect", "bar model") if b["width"] != "14"]
    assert [(b["x"], b["y"], b["height"]) for b in model] == [
        ("90.9", "175.6", "94.4"),
        ("258.9", "81.2", "188.8"),
    ]
    assert len(marks(root, "rect", "bar baseline")) == 2  # one at k = 5, one in the legend
    assert len(marks(root, "path", "whisker")) == 3
    assert texts(root, "tick")[:2] == ["k = 5", "k = 10"]
    assert texts(root, "tick")[-2:] == ["item_knn", "popularity"]


def test_ranking_in_percent_and_without_any_value():
    percent = RankingPlot("Hit rate", [BarAtK(5, Interval(0.2), Interval(0.1))], "percent")
    root = parsed(plots.ranking(percent, ("a", "b")))
    assert "20 %" in texts(root, "tick")
    assert "model: 20.0 %" in [e.text for e in root.iter(f"{SVG}title")]
    assert not marks(root, "path", "whisker")
    none = RankingPlot("NDCG", [BarAtK(5, Interval(), Interval())])
    assert not [
        b for b in marks(parsed(plots.ranking(none, ("a", "b"))), "rect", "bar model") if b["width"] != "14"
    ]


def test_text_is_escaped():
    root = parsed(plots.roc([Curve('<script>"x"&', [0, 1], [0, 1])]))
    assert '<script>"x"&' in texts(root, "tick")


def test_a_long_legend_takes_a_second_line():
    names = ["x" * 30, "y" * 30]
    chart = Chart("t", "d", Axis("x", str), Axis("y", str), [(n, "model") for n in names])
    assert [[name for _, name, _ in line] for line in chart.legend_lines] == [[names[0]], [names[1]]]
    assert chart.top == 54


def test_a_dense_line_keeps_its_picture():
    rng = np.random.default_rng(0)
    x = np.linspace(0, 1, 100_000)
    y = rng.random(100_000)
    y[[5_000, 70_000]] = [-1, 2]
    chart = Chart("t", "d", Axis("x", str), Axis("y", str, low=-1, high=2))
    drawn = chart.line(x, y, "model").split('points="')[1].split('"')[0].split()
    # At most four points in each of 337 pixel columns, among them both ends and both planted extremes.
    assert len(drawn) <= 4 * 337
    found = np.array([point.split(",") for point in drawn], dtype=float)
    np.testing.assert_allclose(found[[0, -1], 0], [64, 400])
    assert found[:, 1].max() == pytest.approx(chart.at_y(-1.0))
    assert found[:, 1].min() == pytest.approx(chart.at_y(2.0))
    assert (np.diff(found[:, 0]) >= 0).all()


@pytest.mark.parametrize(
    ("span", "step"), [(1, 0.2), (0.5, 0.1), (0.3, 0.1), (80, 20), (7, 2), (0.011, 0.005), (12_000, 5_000)]
)
def test_nice_step(span, step):
    assert nice_step(span) == pytest.approx(step)


@pytest.mark.parametrize(("value", "end"), [(0, 1), (-3, 1), (0.8, 0.8), (0.81, 1.0), (0.295, 0.3), (7, 8)])
def test_nice_ceiling(value, end):
    assert nice_ceiling(value) == pytest.approx(end)
