"""What `ecbehave compare` says: a table of models, and what follows from it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ecbehave.metrics.bootstrap import LOWER_IS_BETTER
from ecbehave.report.numbers import decimals_for, fixed, interval, signed_in_unit


def in_words(result: Mapping[str, Any], fewest_users: int) -> list[str]:
    """Return the sentences that follow from a comparison.

    Args:
        result: what `stages.compare.compare` returns.
        fewest_users: with fewer, nothing can be said.
    """
    metric, models = str(result["headline"]).upper(), result["models"]
    tied = [model["name"] for model in models if model["standing"] == "tied"]
    choice = next(model for model in models if model["is_choice"])
    cheapest = f"The cheapest of them to train is {choice['name']} ({_seconds(choice)})."
    if result["winner"] is not None:
        side = "below" if result["headline"] in LOWER_IS_BETTER else "above"
        said = [f"The winner is {result['winner']}: its {metric} is really {side} that of every other model."]
    elif result["n_users"] < fewest_users:
        said = [
            f"Too few users to tell models apart: {result['n_users']} were judged, and it takes {fewest_users}. "
            f"{cheapest}"
        ]
    else:
        said = [
            f"There is no winner: in {metric}, {', '.join(tied[:-1])} and {tied[-1]} cannot be told apart. {cheapest}"
        ]
    weak = [
        f"{model['name']} (against {model['baseline']})" for model in models if not model["beats_baseline"]
    ]
    if weak:
        said.append(f"NOT clearly better than its baseline: {', '.join(weak)}.")
    if result["is_mean_over_cutoffs"]:
        said.append(f"{metric} is the mean over the test cutoffs: each was scored by a fit of its own.")
    return said


def table(result: Mapping[str, Any]) -> list[list[str]]:
    """Return the names of the columns, and a row of text per model, best first."""
    metric = str(result["headline"]).upper()
    header = ["model", "kind", metric, "to the best", "train", "memory", "beats its baseline", "verdict"]
    return [header, *map(_row, result["models"])]


def _row(model: Mapping[str, Any]) -> list[str]:
    is_cheapest = model["is_choice"] and model["standing"] == "tied"
    beats = "yes" if model["beats_baseline"] else f"NO, {model['against_baseline']}"
    return [
        model["name"],
        model["kind"],
        _with_interval(model["metric"], fixed),
        "" if model["to_best"] is None else _with_interval(model["to_best"], _signed),
        _seconds(model),
        f"{model['peak_memory_bytes'] / 1e6:,.0f} MB",
        f"{beats} ({model['baseline']})",
        model["standing"] + ", cheapest" * is_cheapest,
    ]


def _with_interval(found: Mapping[str, Any], number: Callable[[float, int], str]) -> str:
    decimals = decimals_for("ratio", found["high"] - found["low"])
    return f"{number(found['value'], decimals)} ({interval(found['low'], found['high'], 'ratio', decimals)})"


def _signed(value: float, decimals: int) -> str:
    return signed_in_unit(value, "ratio", decimals)


def _seconds(model: Mapping[str, Any]) -> str:
    return f"{model['train_seconds']:,.1f} s"


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return lines of text with the columns of all rows below one another."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
