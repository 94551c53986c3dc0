"""The section of the evaluation page about nets: loss and validation metric by epoch."""

import math
from collections.abc import Sequence

from ecbehave.report.chart import Axis, Chart, nice_step
from ecbehave.report.content import TrainedNet
from ecbehave.report.numbers import count, fixed
from ecbehave.report.page import figure, paragraph, section

#: Of a model with many nets, so many are drawn.
_MOST_NETS = 4
_ENDED = {
    "epochs": "",
    "patience": "; it was given up when the validation metric got no better",
    "max_seconds": "; then the time was up",
    "diverged": "; then the loss was no number any more",
}


def training_section(nets: Sequence[TrainedNet]) -> str:
    """Return the charts of the nets, each with a sentence on how its training went."""
    shown = [net for net in nets[:_MOST_NETS] if net.loss]
    figures = "".join(chart for net in shown for chart in _figures(net))
    plots = [f'<div class="plots">\n{figures}\n</div>'] if shown else []
    texts = [paragraph(_how_it_went(net)) for net in nets[:_MOST_NETS]]
    n_left = len(nets) - _MOST_NETS
    rest = (
        [paragraph(f"{count(n_left)} more net{'s are' if n_left > 1 else ' is'} not shown.", "muted")]
        if n_left > 0
        else []
    )
    return section("training", "Training", *texts, *plots, *rest)


def _how_it_went(net: TrainedNet) -> str:
    n = len(net.loss)
    if not net.best:
        return f"{net.name}: the time was up in the first epoch; what was learned by then is the model."
    kept = f"; epoch {count(net.best)} is kept" if net.best != n or net.metric else ""
    best = f", with the highest {net.metric_name}: {fixed(net.metric[net.best - 1], 4)}" if net.metric else ""
    return f"{net.name}: {count(n)} epoch{'s' * (n != 1)}{kept}{best}{_ENDED[net.ended]}."


def _figures(net: TrainedNet) -> list[str]:
    drawn = [
        figure(f"Loss: {net.name}", _curve(net, net.loss, "Loss"), f"Mean over the {net.unit} of each epoch.")
    ]
    if net.metric:
        guide = "Of the validation window, after each epoch; the dot is the epoch whose weights are kept."
        drawn.append(figure(f"Validation: {net.name}", _curve(net, net.metric, net.metric_name), guide))
    return drawn


def _curve(net: TrainedNet, values: Sequence[float], label: str) -> str:
    low, high = _range(values)
    chart = Chart(
        f"{label} by epoch",
        f"{label} of {net.name} after each of {len(values)} epochs.",
        Axis(
            "Epoch",
            lambda v: f"{v:,.10g}",
            low=1,
            high=max(len(values), 2),
            n_steps=min(5, max(len(values) - 1, 1)),
        ),
        Axis(label, lambda v: f"{v:,.4g}", low=low, high=high),
    )
    marks = [chart.line(range(1, len(values) + 1), values, "model")]
    if 0 < net.best <= len(values):
        value = values[net.best - 1]
        marks.append(chart.point(net.best, value, "model", f"epoch {net.best}: {fixed(value, 4)}"))
    return chart.svg(marks)


def _range(values: Sequence[float]) -> tuple[float, float]:
    """Return whole ticks below and above all values."""
    low, high = min(values), max(values)
    step = nice_step(high - low if high > low else abs(high) or 1.0)
    below, above = math.floor(low / step) * step, math.ceil(high / step) * step
    return (below, above) if above > below else (below - step, above + step)
