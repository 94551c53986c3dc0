import re
from dataclasses import replace

import numpy as np
import pytest
from pages import in_frame, sections, visible

from ecbehave.report.binary_content import BinaryDetail, Confusion, Curve, DecileRow, ScoreHistogram
from ecbehave.report.content import Importance
from ecbehave.report.html import render
from ecbehave.report.page import page, paragraph
from ecbehave.report.ranking_content import RankingDetail

EVIL = '<script>alert("1")</script>'
RANKING_SECTIONS = ["question", "metrics", "plots", "splits", "counts", "config"]
BINARY_SECTIONS = [
    *RANKING_SECTIONS[:3],
    "confusion",
    "deciles",
    "cutoffs",
    "splits",
    "counts",
    "notes",
    "config",
]


def test_the_verdict_is_the_first_line(binary_report):
    assert visible(render(binary_report)).strip().startswith(binary_report.verdict.text)


def test_sections_in_order(binary_report, ranking_report):
    assert sections(render(binary_report)) == BINARY_SECTIONS
    assert sections(render(ranking_report)) == RANKING_SECTIONS


def test_the_same_report_gives_the_same_bytes(binary_report):
    assert render(binary_report) == render(replace(binary_report))


@pytest.mark.parametrize("standing", ["better", "unclear", "worse", "undefined"])
def test_the_verdict_has_its_colour(binary_report, standing):
    report = replace(binary_report, verdict=replace(binary_report.verdict, standing=standing))
    assert f'class="verdict {standing}"' in render(report)


def test_all_text_is_escaped(binary_report, ranking_report):
    evil = replace(
        binary_report,
        title=EVIL,
        verdict=replace(binary_report.verdict, text=EVIL),
        label_in_words=EVIL,
        population_in_words=EVIL,
        model=EVIL,
        baseline=EVIL,
        metrics=[replace(m, label=EVIL, group=EVIL) for m in binary_report.metrics],
        detail=replace(
            binary_report.detail,
            positives=EVIL,
            negatives=EVIL,
            roc=[replace(c, name=EVIL) for c in binary_report.detail.roc],
            confusion=replace(binary_report.detail.confusion, origin=EVIL),
        ),
        splits=[replace(s, name=EVIL, cutoffs=EVIL, label_days=EVIL) for s in binary_report.splits],
        counts=[replace(c, stage=EVIL, name=EVIL, note=EVIL) for c in binary_report.counts],
        facts=[(EVIL, EVIL)],
        per_cutoff=[replace(c, cutoff=EVIL) for c in binary_report.per_cutoff],
        importance=Importance([(EVIL, 1.0)], EVIL),
        notes=[EVIL],
        config_yaml=f"name: {EVIL}",
    )
    plots = [replace(p, label=EVIL) for p in ranking_report.detail.plots]
    for report in (evil, replace(ranking_report, detail=RankingDetail(plots))):
        text = render(report)
        assert "<script" not in text.lower()
        assert "&lt;script&gt;" in text
    assert f"name: {EVIL}" in visible(render(evil))


def test_nothing_is_loaded_from_anywhere(binary_report, ranking_report):
    for report in (binary_report, ranking_report):
        text = render(report).replace('xmlns="http://www.w3.org/2000/svg"', "")
        assert not re.search(r"https?:|//\w|url\(|@import|<link|<img|<script|\bsrc=", text)
        assert "default-src 'none'" in text


def test_a_hundred_thousand_rows_stay_under_two_megabytes(binary_report):
    rng = np.random.default_rng(1)
    n = 100_000
    scores, is_positive = rng.random(n), rng.random(n) < 0.2
    curves = [Curve(name, np.sort(rng.random(n)), np.sort(rng.random(n))) for name in ("boosting", "rfm")]
    rough = [replace(c, y=rng.random(n)) for c in curves]
    detail = replace(
        binary_report.detail,
        roc=curves,
        gains=curves,
        precision_recall=rough,
        scores=ScoreHistogram.of(scores, is_positive),
    )
    features = [(f"feature_{i}", float(i)) for i in range(n)]
    report = replace(binary_report, detail=detail, importance=Importance(features, "Gain."))
    assert len(render(report).encode()) < 300_000


def test_key_figures(binary_report, ranking_report):
    text = visible(render(binary_report))
    assert "AUROC 0.851 baseline rfm: 0.831 Test rows 1,892 21.3 % of them churners" in text
    detail = replace(
        binary_report.detail,
        n_rows=1_000,
        n_positive=200,
        deciles=[DecileRow(1, 100, 80, 0.7)],
        confusion=Confusion(60, 40, 140, 760, 0.25),
    )
    text = visible(render(replace(binary_report, detail=detail)))
    assert "Found in the top 10 % 40 % of all churners, 4.0 times as many as at random" in text
    assert "Right when flagged 60 % of 100 flagged from 0.250 on are churners" in text
    text = visible(render(ranking_report))
    assert "NDCG@10 0.113 baseline popularity: 0.117 Hit rate@10 51.4 % baseline popularity: 50.2 %" in text
    assert "Rows in test 2,204 2017-12-04 to 2017-12-31" in text


def test_metrics_stand_beside_the_baseline_with_a_mark(binary_report, ranking_report):
    text = visible(render(binary_report))
    assert "AUROC ▲ better 0.851 0.835 to 0.867 0.831 0.814 to 0.848 +0.020 0.008 to 0.033" in text
    assert "Log loss lower is better ▲ better 0.371" in text
    assert "Brier score lower is better ○ not clear 0.116" in text
    assert "Calibration error lower is better ▼ worse 0.018" in text
    assert "+0.3 points -0.6 to 1.2" in text
    assert "Undefined thing not defined n/a n/a n/a" in text
    assert "New items NDCG@10 ▼ worse 0.0131" in visible(render(ranking_report))


def test_confusion_matrix_and_deciles(binary_report):
    detail = replace(
        binary_report.detail,
        n_rows=1_000,
        n_positive=200,
        confusion=Confusion(60, 40, 140, 760, 0.25),
        deciles=[DecileRow(1, 100, 80, 0.7), DecileRow(2, 100, 40, 0.3), DecileRow(3, 0, 0, 0.0)],
    )
    text = visible(render(replace(binary_report, detail=detail)))
    assert (
        "From probability 0.250 on, 100 of 1,000 rows are flagged: 60.0 % of the flagged are churners "
        "(precision), and 30.0 % of all churners are flagged (recall)."
    ) in text
    assert "Were churners 60 30.0 % 140 70.0 % 200 Were non-churners 40 5.0 % 760 95.0 % 800" in text
    assert "1 100 70.0 % 80 80.0 % 4.00x 40.0 % 2 100 30.0 % 40 40.0 % 2.00x 60.0 %" in text
    assert "3 0 0.0 % 0 n/a n/a 60.0 %" in text
    split = replace(detail, deciles=[DecileRow(1, 99.5, 79.25), DecileRow(2, 100, 40)])
    text = visible(render(replace(binary_report, detail=split)))
    assert "Mean probability" not in text
    assert "1 99.5 79.2 79.6 % 3.98x 39.6 % 2 100 40 40.0 % 2.00x 59.6 %" in text
    assert "on (the best F1 of the validation window), " in visible(render(binary_report))


def test_splits_counts_and_cutoffs(binary_report, ranking_report):
    text = visible(render(binary_report))
    assert "train 8 cutoffs (2017-03-11 to 2017-06-17) 2017-03-11 to 2017-07-14 14,204 2,951 20.8 %" in text
    assert (
        "ingest raw events 1,469,307 12 files, 1 source clean refused: missing user 1,204 refused: price"
        in text
    )
    assert "2017-11-20 1,880 0.847 0.829 2017-12-04 1,892 0.851 0.831" in text
    text = visible(render(ranking_report))
    assert "Base rate" not in text
    assert "test 1 cutoff (2017-12-04) 2017-12-04 to 2017-12-31 2,204 A row is" in text


def test_each_plot_says_how_to_read_it(binary_report, ranking_report):
    ours = Curve("boosting", [1.0, 0.2, 0.0], [1.0, 0.6, 0.0])  # descending, as precision-recall comes
    rule = Curve("baseline rfm", [0.0, 0.2, 1.0], [0.0, 0.4, 1.0])
    detail = replace(
        binary_report.detail,
        n_rows=1_000,
        n_positive=250,
        roc=[ours, rule],
        gains=[ours],
        precision_recall=[ours, rule],
        calibration=[
            replace(b, mean_probability=0.3, observed_rate=0.2) for b in binary_report.detail.calibration
        ],
    )
    text = visible(render(replace(binary_report, detail=detail)))
    assert (
        "When 10 % of the non-churners are flagged by mistake, the model finds 30.0 % of the churners "
        "(baseline rfm: 20.0 %); guessing finds 10 %."
    ) in text
    assert (
        "The 10 % with the highest scores hold 30.0 % of all churners; picked at random they would hold 10 %."
    ) in text
    assert (
        "Flagged so that half of the churners are found, 75.0 % of the flagged are churners "
        "(baseline rfm: 62.5 %); among all rows it is 25.0 %."
    ) in text
    assert "over all rows the model expects 30.0 % churners, and 20.0 % were seen." in text
    assert "the better the score tells churners from non-churners" in text
    assert binary_report.importance.in_words in text
    assert (
        "With 20 items per list, Hit rate is 63.0 % for item_knn and 58.0 % for popularity; whiskers are "
        "95 % intervals."
    ) in visible(render(ranking_report))


def test_one_class_only_leaves_out_what_is_not_defined(binary_report):
    report = replace(
        binary_report,
        detail=BinaryDetail("churners", "non-churners", n_rows=10, n_positive=0),
        per_cutoff=[],
        importance=None,
        notes=[],
    )
    text = render(report)
    assert sections(text) == ["question", "metrics", "plots", "splits", "counts", "config"]
    assert "No plot is defined on these test rows." in text
    assert "<svg" not in text


def test_nobody_flagged_and_nobody_positive(binary_report):
    detail = replace(
        binary_report.detail,
        n_rows=100,
        n_positive=0,
        confusion=Confusion(0, 0, 0, 100, 0.5),
        deciles=[DecileRow(1, 10, 0, 0.1)],
    )
    text = visible(render(replace(binary_report, detail=detail, importance=Importance([], "Gain."))))
    assert "0 of 100 rows are flagged: n/a of the flagged are churners (precision)" in text
    assert "Right when flagged n/a of 0 flagged" in text
    assert "Found in the top" not in text
    assert "1 10 10.0 % 0 0.0 % n/a n/a" in text
    assert "What the model looks at" not in text


def test_ranking_without_plots(ranking_report):
    report = replace(ranking_report, detail=RankingDetail([replace(ranking_report.detail.plots[0], bars=[])]))
    assert "No plot is defined on these test rows." in render(report)


def test_another_page_in_the_same_frame():
    text = page("Data quality of a & b", paragraph("Half of it, 50 %, is fine.", "muted"))
    assert "<title>Data quality of a &amp; b</title>" in text
    assert '<p class="muted">Half of it, 50\u00a0%, is fine.</p>' in text


@pytest.mark.slow
def test_a_browser_shows_every_section_and_complains_about_nothing(browse, binary_report, ranking_report):
    for report, expected in ((binary_report, BINARY_SECTIONS), (ranking_report, RANKING_SECTIONS)):
        dom, console = browse(render(report))
        assert console == []
        assert sections(dom) == expected
        assert visible(dom).strip().startswith(report.verdict.text)
        assert dom.count("<svg") == dom.count("</svg>") == render(report).count("<svg")


@pytest.mark.slow
def test_a_browser_refuses_a_script_and_an_image_from_elsewhere(browse):
    body = '<p id="p">before</p><script>document.getElementById("p").textContent = "after"</script>'
    dom, console = browse(page("t", body + '<img src="http://localhost:1/x.png">'))
    assert '<p id="p">before</p>' in dom
    assert len(console) == 2


@pytest.mark.slow
@pytest.mark.parametrize("width", [420, 1200])
def test_no_page_is_wider_than_the_screen(browse, binary_report, ranking_report, width):
    for report in (binary_report, ranking_report):
        dom, _ = browse(in_frame(render(report), width))
        assert f'data-width="{width}"' in dom
