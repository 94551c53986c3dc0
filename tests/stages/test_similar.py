"""Similar items and users as tables: ranks, order, and who can tell."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from planted import matrix
from stage_runs import Runs

from ecbehave.config.scoring import Predict
from ecbehave.errors import ConfigError
from ecbehave.inputs.types import MatrixInput
from ecbehave.models import PLAIN, model_class
from ecbehave.schema import SIMILAR_ITEMS, SIMILAR_USERS
from ecbehave.stages.similar import check_similar, write_similar

CopyOf = Callable[..., Runs]


class Fixed:
    """Knows by heart what is similar, in two frames."""

    def __init__(self) -> None:
        self.listed: list[str] = []

    def similar_items(self, n: int, listed: pl.Series) -> Iterator[pl.DataFrame]:
        self.listed = listed.to_list()
        rows = [("a", "c", 0.5), ("a", "b", 0.25), ("b", "a", 1.0)]
        for part in (rows[:2], rows[2:]):
            frame = pl.DataFrame(part, ["item_id", "similar_item_id", "similarity"], orient="row")
            yield frame.group_by("item_id", maintain_order=True).head(n).cast({"similarity": pl.Float32})

    def similar_users(self, data: MatrixInput, n: int) -> Iterator[pl.DataFrame]:
        for user in data.asked:
            others = [other for other in range(data.users.height) if other != user][:n]
            yield pl.DataFrame(
                {
                    "user_id": [f"u{user:04d}"] * len(others),
                    "similar_user_id": [f"u{other:04d}" for other in others],
                    "similarity": [0.5] * len(others),
                },
                {"user_id": pl.String, "similar_user_id": pl.String, "similarity": pl.Float64},
            )


def test_ranks_of_what_a_model_tells(tmp_path: Path) -> None:
    model, data = Fixed(), matrix([], 3, ["a", "b", "c"], asked=[1, 2])
    counts = write_similar(tmp_path, model, data, Predict(similar_items=2, similar_users=1))
    assert counts == {"similar_items": 3, "similar_users": 2}
    items, users = (pl.read_parquet(tmp_path / f"similar_{of}.parquet") for of in ("items", "users"))
    assert items.schema == pl.Schema(SIMILAR_ITEMS)
    assert users.schema == pl.Schema(SIMILAR_USERS)
    assert items.rows() == [("a", 1, "c", 0.5), ("a", 2, "b", 0.25), ("b", 1, "a", 1.0)]
    assert users.rows() == [("u0001", 1, "u0000", 0.5), ("u0002", 1, "u0000", 0.5)]
    assert model.listed == ["a", "b", "c"]


def test_what_must_not_be_listed_is_similar_to_nothing(tmp_path: Path) -> None:
    model, data = Fixed(), matrix([], 1, ["a", "b", "c"])
    data = replace(data, barred_items=np.array([False, True, False]))
    assert write_similar(tmp_path, model, data, Predict(similar_items=1)) == {"similar_items": 2}
    assert model.listed == ["a", "c"]
    assert [p.name for p in tmp_path.iterdir()] == ["similar_items.parquet"]


def test_nothing_is_asked_for(tmp_path: Path) -> None:
    assert write_similar(tmp_path, None, matrix([], 1, ["a"]), Predict()) == {}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["popularity", "boosting", "bagging"])
@pytest.mark.parametrize("of", ["items", "users"])
def test_kinds_that_cannot_tell(kind: str, of: str) -> None:
    able = [name for name in PLAIN if hasattr(model_class(name), f"similar_{of}")]
    with pytest.raises(ConfigError) as error:
        check_similar(Predict.model_validate({f"similar_{of}": 5}), kind)
    assert str(error.value) == (
        f"predict.similar_{of}: {kind} knows no similar {of}; these kinds do: {', '.join(able) or 'none'}. "
        f"Take the key out, or choose one of them"
    )
    check_similar(Predict(), kind)
