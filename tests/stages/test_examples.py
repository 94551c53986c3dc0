"""The evaluation page explains the model: by family, and by a few rows of the last test cutoff."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest
from pages import sections, visible
from planted import CUTOFF, table
from planted_shops import ASKING
from stage_runs import Runs
from stage_runs import table as stored

from ecbehave.config.task import ChurnTask, PurchaseTask
from ecbehave.inputs.types import Inputs
from ecbehave.stages.examples import examples
from ecbehave.tasks import make_task

CHURN = make_task(ChurnTask(kind="churn"))
RECENCY = "recency_days_purchase_all"


class ByRecency:
    """Its score is the recency."""

    explains = True

    def contributions(self, data: Inputs) -> Any:
        assert data.table is not None
        recency = data.table.frame[RECENCY].to_numpy()
        return np.column_stack([recency, np.zeros(recency.size)])


def shown(n_rows: int, model: Any, task: Any = CHURN) -> Any:
    data = Inputs(CUTOFF, table({RECENCY: [float(n + 1) for n in range(n_rows)]}))
    assert data.table is not None
    rows = data.table.frame.select(
        "user_id",
        "cutoff",
        score=pl.col(RECENCY).cast(pl.Float64),
        probability=pl.col(RECENCY).cast(pl.Float64) / (n_rows + 1),
        label=(pl.col(RECENCY) > n_rows / 2).cast(pl.Int8),
    )
    return examples(model, data, rows, task, "2024-03-01")


def test_rows_from_the_highest_score_to_the_lowest() -> None:
    found = shown(101, ByRecency())
    assert [row.score for row in found.rows] == [101, 100, 96, 91, 76, 51, 1]
    assert [row.is_positive for row in found.rows] == [True] * 6 + [False]
    assert found.rows[1].keys == ["u0099"]
    assert found.rows[1].probability == pytest.approx(100 / 102)
    assert found.rows[1].reasons == ["no purchase for 100 days (raises the churn risk)"]
    assert (found.cutoff, list(found.keys), found.outcome) == ("2024-03-01", ["user_id"], "Churned?")


def test_a_handful_of_rows_stand_once_each() -> None:
    assert [row.score for row in shown(3, ByRecency()).rows] == [3, 2, 1]
    assert [row.score for row in shown(1, ByRecency()).rows] == [1]


def test_purchases_have_another_outcome() -> None:
    assert shown(3, ByRecency(), make_task(PurchaseTask(kind="purchase"))).outcome == "Bought?"


def test_without_rows_or_reasons_there_is_nothing_to_show() -> None:
    class Silent:
        explains = False

    assert shown(3, Silent()) is None
    assert shown(0, ByRecency()) is None


def evaluation(runs: Runs) -> tuple[dict[str, Any], str, pl.DataFrame]:
    artifact = runs.context().workspace.read("shop/evaluation")
    assert artifact is not None
    metrics = json.loads((artifact.path / "metrics.json").read_text())
    return metrics, (artifact.path / "report.html").read_text(), stored(artifact, "test_scores.parquet")


def test_questions_are_what_the_planted_shop_rests_on(asking: Runs) -> None:
    metrics, page, rows = evaluation(asking)
    found = metrics["permutation"]
    assert (found["n_rows"], found["repeats"]) == (rows.height, 5)
    assert found["auroc"] == pytest.approx(metrics["metrics"]["auroc"]["value"])
    assert found["families"][0]["family"] in ("frequency", "recency")
    assert found["families"][0]["drop"] > 0.1
    by_name = {family["family"]: family for family in found["families"]}
    assert by_name["calendar"]["drop"] == 0
    assert sum(family["n_features"] for family in found["families"]) > 50
    assert {"permutation", "examples"} <= set(sections(page))
    top = rows.sort("score", descending=True, maintain_order=True).row(0, named=True)
    section = visible(page).split("Why a row has its score")[1]
    assert section.index(top["user_id"]) < section.index("question")


def test_permutation_can_be_left_out(asking: Runs, copy_of: Callable[..., Runs]) -> None:
    runs = copy_of(asking, **ASKING, evaluate={"bootstrap": 100, "permutation_rows": 0})
    runs.do("evaluate")
    metrics, page, _ = evaluation(runs)
    assert metrics["permutation"] == {}
    assert "permutation" not in sections(page)


def test_a_ranking_has_neither(listing: Runs) -> None:
    metrics, page, _ = evaluation(listing)
    assert "permutation" not in metrics
    assert not {"permutation", "examples"} & set(sections(page))
