"""What tuning brings: accuracy before and after, and whether the time limit is kept."""

from collections.abc import Iterator
from pathlib import Path

from ablation import compare
from kinds import QUESTIONS, Question, fit_and_judge, test_scores
from measure import Bench, Ecbehave, Measured
from section import Section, interval

from ecbehave.metrics.bootstrap import Comparison

ASKED = ("churn", "purchase")
TRIALS, LIMIT = 25, 600
#: More trials than there is time for.
MANY, SHORT_LIMIT = 1_000, 30
HEADER = ["question", "boosting", "AUROC", "- defaults", "train", "limit"]


def sections(bench: Bench) -> Iterator[Section]:
    """Compare tuned boosting with its defaults on the test windows, which the search does not see."""
    rows: list[list[str]] = []
    commands: list[str] = []
    for question in QUESTIONS:
        if question.config in ASKED:
            found, ran = _rows(question, bench.scratch / "tuning" / question.config)
            rows, commands = rows + found, commands + ran
    notes = [
        f"tuned: {TRIALS} trials at most, or as many as fit into {SHORT_LIMIT} s, each search from nothing; train: "
        "wall time of the stage, the fits of the winner and of the baseline included, which come on top of the limit",
        "in brackets: 95 % interval over 1,000 paired resamples of users",
    ]
    yield Section("What tuning brings", HEADER, rows, QUESTIONS[0].log, commands, notes)


def _rows(question: Question, folder: Path) -> tuple[list[list[str]], list[str]]:
    ecbehave = Ecbehave(folder / "defaults")
    plain = fit_and_judge(ecbehave, question, "boosting")
    before = test_scores(ecbehave, question.config)
    rows, commands = [_row(question, "defaults", compare(before, before), plain, None)], ecbehave.commands
    for trials, limit in ((TRIALS, LIMIT), (MANY, SHORT_LIMIT)):
        # In the same workspace a search would go on with the trials of the one before.
        ecbehave = Ecbehave(folder / f"{trials}-trials")
        settings = (f"tune.trials={trials}", f"tune.max_seconds={limit}")
        tuned = fit_and_judge(ecbehave, question, "boosting", *settings)
        compared = compare(test_scores(ecbehave, question.config), before)
        rows.append(_row(question, f"{trials:,} trials at most", compared, tuned, limit))
        commands = commands + ecbehave.commands
    return rows, commands


def _row(question: Question, what: str, compared: Comparison, cost: Measured, limit: int | None) -> list[str]:
    difference = "" if limit is None else interval(compared["difference"]["auroc"], "+")
    auroc = interval(compared["model"]["auroc"])
    return [question.text, what, auroc, difference, f"{cost.seconds:.1f} s", f"{limit} s" if limit else ""]
