"""What the evaluation page says of tuning, from what train has recorded."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from statistics import fmean
from typing import Any

from ecbehave.report.content import TrialRow, Tuning
from ecbehave.windows import label

_MOST_OTHERS = 9


def tuning_content(info: Mapping[str, Any], timezone: str) -> Tuning:
    """Return the best trials beside the config's own settings.

    Args:
        info: what tuning has come to, as stored with the model.
        timezone: the shop's calendar.
    """
    trials: Sequence[Mapping[str, Any]] = info["trials"]
    keys = list(trials[0]["values"]) if trials else []
    rows = {
        n: TrialRow(n + 1, [_text(trial["values"][key]) for key in keys], trial["scores"])
        for n, trial in enumerate(trials)
        if trial["state"] == "complete"
    }
    best = info["best"]
    others = sorted((n for n in rows if n not in (0, best)), key=lambda n: -fmean(rows[n].scores))
    return Tuning(
        metric=info["metric"].upper(),
        origins=[label(datetime.fromisoformat(cutoff), timezone) for cutoff in info["origins"]],
        keys=keys,
        n_trials=len(trials),
        n_pruned=sum(trial["state"] == "pruned" for trial in trials),
        n_failed=sum(trial["state"] == "failed" for trial in trials),
        best=None if best is None else rows[best],
        given=rows.get(0),
        others=[rows[n] for n in others[:_MOST_OTHERS]],
        importance=sorted(info["importance"].items(), key=lambda item: -item[1]),
    )


def _text(value: bool | int | float | str | None) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)
