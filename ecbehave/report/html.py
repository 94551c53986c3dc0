"""The evaluation page: what is judged, how well the model does, and where every number comes from."""

from collections import Counter
from collections.abc import Sequence
from itertools import groupby

from ecbehave.report import guides, plots
from ecbehave.report.binary_content import BinaryDetail, Confusion, DecileRow
from ecbehave.report.compared import MetricRow, Standing
from ecbehave.report.content import CountRow, CutoffRow, LeftOut, Report, SplitRow
from ecbehave.report.explained import examples_section, permutation_section
from ecbehave.report.money import profit_section
from ecbehave.report.numbers import count, fixed, in_unit, interval, percent, share_of_rows, signed_in_unit
from ecbehave.report.over_time import spread_table, tuning_section
from ecbehave.report.page import (
    cell,
    definitions,
    figure,
    folded,
    items,
    key_figures,
    page,
    paragraph,
    prose,
    section,
    table,
)
from ecbehave.report.ranking_content import RankingDetail
from ecbehave.report.rating_content import RatingDetail
from ecbehave.report.ratings import ratings_section
from ecbehave.report.segments import segments_section
from ecbehave.report.training import training_section

_MARKS: dict[Standing, str] = {
    "better": "▲ better",
    "unclear": "○ not clear",
    "worse": "▼ worse",
    "undefined": "not defined",
}
_LEFT_OUT = {
    "constant": "with one value in all train rows",
    "near-duplicate": "that follow another one",
    "rank": "ranked too low",
}
_HOW_TO_READ_METRICS = (
    "Small numbers are 95 % intervals from resampling users. The difference is model minus baseline on the "
    "same users; ▲ and ▼ mark those whose interval does not contain zero, which by chance alone happens "
    "about once in twenty rows."
)


def render(report: Report) -> str:
    """Return the page: one HTML document, the same bytes for the same report."""
    detail = report.detail
    if isinstance(detail, BinaryDetail):
        tiles, figures, tables = _binary_tiles(report, detail), _binary_plots(detail), _binary_tables(detail)
    elif isinstance(detail, RankingDetail):
        tiles, figures, tables = _ranking_tiles(report), _ranking_plots(report, detail), []
    else:
        tiles, figures, tables = _ranking_tiles(report), [], [ratings_section(detail, report.baseline)]
    sections = [
        _verdict(report),
        key_figures(tiles),
        _question(report),
        _metrics(report),
        *([] if isinstance(detail, RatingDetail) else [_plots(figures + _importance(report))]),
        *tables,
        *([_per_cutoff(report.metrics[0], report)] if report.per_cutoff else []),
        *([permutation_section(report.permutation)] if report.permutation else []),
        *([examples_section(report.examples)] if report.examples else []),
        *([tuning_section(report.tuning)] if report.tuning else []),
        *([training_section(report.training)] if report.training else []),
        *([_left_out(report.left_out)] if report.left_out else []),
        _splits(report.splits),
        _counts(report.counts),
        *([section("notes", "Notes", items(report.notes))] if report.notes else []),
        section("config", "Configuration", folded("Show the resolved configuration", report.config_yaml)),
    ]
    return page(report.title, "\n".join(sections))


def _verdict(report: Report) -> str:
    verdict = report.verdict
    return (
        f'<header id="verdict" class="verdict {verdict.standing}">\n<h1>{prose(verdict.text)}</h1>\n'
        f"{paragraph(report.title)}\n</header>"
    )


def _metric_tile(row: MetricRow, baseline: str) -> tuple[str, str, str]:
    model, rule = (in_unit(side.value, row.unit, row.decimals) for side in (row.model, row.baseline))
    return row.label, model, f"baseline {baseline}: {rule}"


def _binary_tiles(report: Report, detail: BinaryDetail) -> list[tuple[str, str, str]]:
    tiles = [
        _metric_tile(report.metrics[0], report.baseline),
        ("Test rows", count(detail.n_rows), f"{percent(detail.base_rate)} of them {detail.positives}"),
    ]
    if detail.deciles and detail.n_positive:
        top = detail.deciles[0]
        found, taken = top.n_positive / detail.n_positive, top.n_rows / detail.n_rows
        tiles.append(
            (
                f"Found in the top {percent(taken, 0)}",
                percent(found, 0),
                f"of all {detail.positives}, {fixed(found / taken, 1)} times as many as at random",
            )
        )
    if detail.confusion:
        flagged = detail.confusion.tp + detail.confusion.fp
        precision = detail.confusion.tp / flagged if flagged else None
        threshold = detail.confusion.threshold
        rule = "" if threshold is None else f" from {fixed(threshold)} on"
        note = f"of {count(flagged)} flagged{rule} are {detail.positives}"
        tiles.append(("Right when flagged", percent(precision, 0), note))
    return tiles


def _ranking_tiles(report: Report) -> list[tuple[str, str, str]]:
    tiles = [_metric_tile(row, report.baseline) for row in report.metrics[:3]]
    last = report.splits[-1]
    return [*tiles, (f"Rows in {last.name}", count(last.n_rows), last.label_days)]


def _question(report: Report) -> str:
    meaning = [("What is predicted", report.label_in_words), ("Who is asked", report.population_in_words)]
    facts = [("Model", report.model), ("Baseline to beat", report.baseline), *report.facts]
    return section("question", "The question", definitions(meaning, "wide"), definitions(facts))


def _metrics(report: Report) -> str:
    head = ["Metric", "The model is", "#Model", f"#Baseline {report.baseline}", "#Difference"]
    groups = [
        (heading, [_metric_cells(row) for row in rows])
        for heading, rows in groupby(report.metrics, key=lambda row: row.group)
    ]
    guide = paragraph(_HOW_TO_READ_METRICS, "muted")
    return section("metrics", "How good is it, beside its baseline?", table(head, groups), guide)


def _metric_cells(row: MetricRow) -> list[str]:
    def bounds(low: float | None, high: float | None) -> str:
        return interval(low, high, row.unit, row.decimals)

    difference = row.difference
    return [
        cell(row.label, "lower is better" if row.lower_is_better else "", row.note),
        cell(_MARKS[row.standing], css=f"mark {row.standing}"),
        *(
            cell(in_unit(side.value, row.unit, row.decimals), bounds(side.low, side.high), css="number")
            for side in (row.model, row.baseline)
        ),
        cell(
            signed_in_unit(difference.value, row.unit, row.decimals),
            bounds(difference.low, difference.high),
            css="number",
        ),
    ]


def _plots(figures: Sequence[str]) -> str:
    if not figures:
        return section("plots", "Plots", paragraph("No plot is defined on these test rows.", "muted"))
    return section("plots", "Plots", f'<div class="plots">\n{"".join(figures)}\n</div>')


def _binary_plots(detail: BinaryDetail) -> list[str]:
    figures = []
    if detail.gains:
        svg = plots.gains(detail.gains, detail.base_rate)
        figures.append(figure("Who is found first", svg, guides.gains(detail.gains, detail)))
    if detail.profit:
        svg = plots.profit(detail.profit, detail.n_rows)
        figures.append(figure("What targeting brings", svg, guides.profit(detail.profit, detail)))
    if detail.calibration:
        svg = plots.calibration(detail.calibration)
        figures.append(figure("Can a probability be taken at its word?", svg, guides.calibration(detail)))
    if detail.roc:
        figures.append(figure("ROC curve", plots.roc(detail.roc), guides.roc(detail.roc, detail)))
    if detail.precision_recall:
        svg = plots.precision_recall(detail.precision_recall, detail.base_rate)
        guide = guides.precision_recall(detail.precision_recall, detail)
        figures.append(figure("Precision and recall", svg, guide))
    if detail.scores:
        svg = plots.scores(detail.scores, detail.positives, detail.negatives)
        figures.append(figure("How the scores are spread", svg, guides.scores(detail)))
    return figures


def _ranking_plots(report: Report, detail: RankingDetail) -> list[str]:
    return [
        figure(
            f"{plot.label} at k",
            plots.ranking(plot, (report.model, f"baseline {report.baseline}")),
            guides.ranking(plot, report.model, report.baseline),
        )
        for plot in detail.plots
        if plot.bars
    ]


def _importance(report: Report) -> list[str]:
    found = report.importance
    if found is None or not found.features:
        return []
    return [figure("What the model looks at", plots.importance(found.features), found.in_words)]


def _binary_tables(detail: BinaryDetail) -> list[str]:
    return [
        *([_confusion(detail.confusion, detail)] if detail.confusion else []),
        *([profit_section(detail.profit, detail)] if detail.profit else []),
        *([_deciles(detail.deciles, detail)] if detail.deciles else []),
        *([segments_section(detail.segments)] if detail.segments else []),
    ]


def _confusion(c: Confusion, detail: BinaryDetail) -> str:
    def share(part: int, whole: int) -> str:
        return percent(part / whole if whole else None)

    def row(name: str, flagged: int, left: int) -> list[str]:
        total = flagged + left
        cells = [cell(count(n), share(n, total), css="number") for n in (flagged, left)]
        return [cell(name, css="strong"), *cells, cell(count(total), css="number")]

    flagged, positive = c.tp + c.fp, c.tp + c.fn
    origin = f" ({c.origin})" if c.origin else ""
    rule = c.origin if c.threshold is None else f"From probability {fixed(c.threshold)} on{origin}"
    sentence = (
        f"{rule}, {count(flagged)} of {count(detail.n_rows)} rows are flagged: {share(c.tp, flagged)} of the flagged "
        f"are {detail.positives} (precision), and {share(c.tp, positive)} of all {detail.positives} are flagged "
        f"(recall)."
    )
    rows = [row(f"Were {detail.positives}", c.tp, c.fn), row(f"Were {detail.negatives}", c.fp, c.tn)]
    head = ["", "#Flagged", "#Not flagged", "#All"]
    return section(
        "confusion",
        "Right and wrong among the flagged",
        paragraph(sentence),
        table(head, [("", rows)], "narrow"),
    )


def _deciles(deciles: Sequence[DecileRow], detail: BinaryDetail) -> str:
    who = detail.positives.capitalize()
    has_probability = any(d.mean_probability is not None for d in deciles)
    head = ["Tenth", "#Rows", *(["#Mean probability"] if has_probability else [])]
    head += [f"#{who}", "#Observed rate", "#Lift", f"#{who} found so far"]
    rows = []
    found = 0.0
    for d in deciles:
        found += d.n_positive
        rate = d.n_positive / d.n_rows if d.n_rows else None
        lift = None if rate is None or not detail.base_rate else rate / detail.base_rate
        so_far = found / detail.n_positive if detail.n_positive else None
        numbers = [
            share_of_rows(d.n_rows),
            *([percent(d.mean_probability)] if has_probability else []),
            share_of_rows(d.n_positive),
            percent(rate),
            in_unit(lift, "times", 2),
            percent(so_far),
        ]
        rows.append([cell(str(d.decile)), *(cell(text, css="number") for text in numbers)])
    guide = paragraph(
        "Tenth 1 has the highest scores. Lift is the observed rate over the rate of all rows.", "muted"
    )
    return section("deciles", "Tenths of the rows, by score", table(head, [("", rows)]), guide)


def _per_cutoff(row: MetricRow, report: Report) -> str:
    head = ["Test cutoff", "#Rows", f"#{row.label}, model", f"#{row.label}, baseline {report.baseline}"]
    rows = [[cell(c.cutoff), *_cutoff_numbers(c, row)] for c in report.per_cutoff]
    spread = [spread_table(report.spread, report.baseline)] if report.spread else []
    return section("cutoffs", "Cutoff by cutoff", table(head, [("", rows)], "narrow"), *spread)


def _cutoff_numbers(c: CutoffRow, row: MetricRow) -> list[str]:
    values = [in_unit(value, row.unit, row.decimals) for value in (c.model, c.baseline)]
    return [cell(text, css="number") for text in (count(c.n_rows), *values)]


def _left_out(left_out: LeftOut) -> str:
    n_left_out, n_all = len(left_out.reasons), left_out.n_features
    rules = Counter(rule for _, rule, _ in left_out.reasons)
    named = ", ".join(f"{count(n)} {_LEFT_OUT[rule]}" for rule, n in rules.items())
    sentence = (
        f"The model was given {count(n_all - n_left_out)} of {count(n_all)} features. Left out: {named}."
    )
    lines = [f"{feature}: {why}" for feature, _, why in left_out.reasons]
    return section(
        "left-out", "Features left out", paragraph(sentence), folded("Show which, and why", "\n".join(lines))
    )


def _splits(splits: Sequence[SplitRow]) -> str:
    head = ["Split", "Cutoffs", "Label days", "#Rows"]
    rows = [
        [cell(s.name, css="strong"), cell(s.cutoffs), cell(s.label_days), cell(count(s.n_rows), css="number")]
        for s in splits
    ]
    # A ranking has no positive rows, so it has no columns for them either.
    if any(s.n_positive is not None for s in splits):
        head += ["#Positive", "#Base rate"]
        for row, s in zip(rows, splits, strict=True):
            row += [cell(count(s.n_positive), css="number"), cell(percent(s.base_rate), css="number")]
    guide = paragraph(
        "A row is one member of the population at one cutoff. Nothing at or after a cutoff is known to the "
        "model there, and every label day of a split lies before the first cutoff of the next one.",
        "muted",
    )
    return section("splits", "Learned from the past, judged on the future", table(head, [("", rows)]), guide)


def _counts(counts: Sequence[CountRow]) -> str:
    rows = []
    for stage, members in groupby(counts, key=lambda c: c.stage):
        # The stage stands once, beside its first row.
        for i, c in enumerate(members):
            name = cell(stage if i == 0 else "", css="strong")
            rows.append([name, cell(c.name), cell(count(c.rows), css="number"), cell(c.note)])
    return section(
        "counts", "Rows, from raw file to score", table(["Stage", "", "#Rows", "Note"], [("", rows)])
    )
