"""What the page says of how nets were trained."""

import html
import re
from dataclasses import replace

import pytest

from ecbehave.report.content import Report, TrainedNet
from ecbehave.report.html import render
from ecbehave.report.training import training_section

NET = TrainedNet(
    "rnn, labels", "rows", [0.9, 0.5, 0.4, 0.35], [0.61, 0.72, 0.7, 0.69], "auroc", 2, "patience"
)


def words(text: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", text)).split())


def said(net: TrainedNet) -> str:
    return words(training_section([net]).split("</p>")[0].split("<p>")[1])


@pytest.mark.parametrize(
    ("net", "expected"),
    [
        (
            NET,
            "rnn, labels: 4 epochs; epoch 2 is kept, with the highest auroc: 0.7200; it was given up when the "
            "validation metric got no better.",
        ),
        (
            replace(NET, best=4, ended="epochs", metric=[0.1, 0.2, 0.3, 0.4]),
            "rnn, labels: 4 epochs; epoch 4 is kept, with the highest auroc: 0.4000.",
        ),
        (replace(NET, best=1, ended="epochs", metric=[], loss=[0.5]), "rnn, labels: 1 epoch."),
        (
            replace(NET, best=2, ended="max_seconds", metric=[], loss=[0.5, 0.4]),
            "rnn, labels: 2 epochs; then the time was up.",
        ),
        (
            replace(NET, best=0, ended="max_seconds", metric=[], loss=[]),
            "rnn, labels: the time was up in the first epoch; what was learned by then is the model.",
        ),
        (
            replace(NET, ended="diverged"),
            "rnn, labels: 4 epochs; epoch 2 is kept, with the highest auroc: 0.7200; then the loss was no number any "
            "more.",
        ),
    ],
)
def test_how_training_went(net: TrainedNet, expected: str) -> None:
    assert said(net) == expected


def points(text: str) -> list[list[tuple[float, float]]]:
    found = re.findall(r'<polyline class="line model" points="([^"]*)"', text)
    return [[(float(x), float(y)) for x, y in (p.split(",") for p in line.split())] for line in found]


def test_loss_and_metric_by_epoch() -> None:
    text = training_section([NET])
    loss, metric = points(text)
    assert len(loss) == len(metric) == 4
    assert [y for _, y in loss] == sorted(y for _, y in loss), "it falls, and rows count downwards"
    assert min(metric, key=lambda point: point[1]) == metric[1]
    dots = re.findall(r'<circle class="dot model" cx="([\d.]+)" cy="([\d.]+)"', text)
    assert [(float(x), float(y)) for x, y in dots] == [loss[1], metric[1]]
    assert re.findall(r"<h3>(.*?)</h3>", text) == ["Loss: rnn, labels", "Validation: rnn, labels"]
    assert "Mean over the rows of each epoch." in text
    ticks = re.findall(r'class="tick"[^>]*>([^<]*)<', text.split("</figure>")[0])
    assert ticks[:4] == ["1", "2", "3", "4"]


@pytest.mark.parametrize("values", [[0.5], [0.5, 0.5], [0.0], [-3.0, -3.0], [1e-9, 2e-9], [-1.0, 400_000.0]])
def test_any_values_are_drawn(values: list[float]) -> None:
    net = replace(NET, loss=values, metric=[], best=len(values))
    [line] = points(training_section([net]))
    assert len(line) == len(values)
    assert all(0 <= x <= 420 and 0 <= y <= 320 for x, y in line)


def test_of_many_nets_some_are_drawn() -> None:
    nets = [replace(NET, name=f"net <{n}>", metric=[]) for n in range(6)]
    text = training_section(nets)
    assert len(points(text)) == 4
    assert "2 more nets are not shown." in words(text)
    assert "1 more net is not shown." in words(training_section(nets[:5])), "one"
    assert "<0>" not in text, "text is escaped"
    assert "not shown" not in words(training_section(nets[:4]))


def test_the_page_has_the_section_where_there_are_nets(binary_report: Report) -> None:
    assert 'id="training"' not in render(binary_report)
    assert training_section([NET]) in render(replace(binary_report, training=[NET]))
