"""What was learned is plain data: it comes back as it was, and damaged data is named."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from ecbehave.inputs.transform.transformer import Transformer
from ecbehave.inputs.types import TableInput, Transform
from ecbehave.schema import TABLE_KEYS

CUTOFF = datetime(2024, 3, 1, tzinfo=UTC)
ENDS = {CUTOFF: CUTOFF + timedelta(days=28)}
LATER = CUTOFF + timedelta(days=56)


def shoppers(cutoff: datetime = CUTOFF) -> TableInput:
    frame = pl.DataFrame(
        {
            "user_hash": range(6),
            "user_id": [f"u{i}" for i in range(6)],
            "cutoff": [cutoff] * 6,
            "label": [0, 1, 1, 0, 1, 0],
            "count": [0.1, None, 7.3, 1e6, 2.0, 3.0],
            "income": ["50-74K", None, "ärmer", "50-74K", "rare", "rich"],
        },
        TABLE_KEYS | {"label": pl.Int8(), "count": pl.Float32(), "income": pl.String()},
    )
    return TableInput(frame, ("count", "income"))


def fitted(encode: Any) -> Transformer:
    settings = Transform(encode, "standard", log=True, impute="median", missing_flags=True, max_categories=2)
    return Transformer.fit([shoppers()], ("count", "income"), settings, ENDS)


@pytest.mark.parametrize("encode", ["one_hot", "ordinal", "frequency", "target"])
def test_a_round_trip_through_json_changes_nothing(encode: str) -> None:
    made = fitted(encode)
    stored = json.dumps(made.to_dict(), allow_nan=False)
    again = Transformer.from_dict(json.loads(stored))
    assert again == made
    assert json.dumps(again.to_dict()) == stored
    later = shoppers(LATER)
    assert again.apply(later).frame.equals(made.apply(later).frame)
    assert again.apply(later).values.shape == (6, len(made.source_of))


def _drop_parts(plain: dict[str, Any]) -> None:
    del plain["parts"]


def _drop_width(plain: dict[str, Any]) -> None:
    del plain["parts"][0]["scale"]["width"]
    plain["parts"][0]["scale"]["centre"] = None


def _no_width(plain: dict[str, Any]) -> None:
    plain["parts"][0]["scale"]["width"] = 0


def _unknown_kind(plain: dict[str, Any]) -> None:
    plain["parts"][0]["kind"] = "os.system"


def _no_text(plain: dict[str, Any]) -> None:
    plain["parts"][1]["vocabulary"]["kept"] = [{"a": 1}]


def _too_few(plain: dict[str, Any]) -> None:
    del plain["parts"][1]["steps"][0]["values"][0]


def _not_finite(plain: dict[str, Any]) -> None:
    plain["parts"][1]["steps"][0]["values"][0] = float("nan")


def _no_time(plain: dict[str, Any]) -> None:
    plain["parts"][1]["steps"][0]["since"] = "yesterday"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_drop_parts, "parts: Field required"),
        (_drop_width, "parts.0.numeric.scale.centre: Input should be a valid number"),
        (_no_width, "parts.0.numeric.scale: Value error, a scale needs finite numbers and a width above 0"),
        (_unknown_kind, "parts.0: Input tag 'os.system' found using 'kind' does not match"),
        (_no_text, "parts.1.valued.vocabulary.kept.0: Input should be a valid string"),
        (_too_few, "parts.1.valued: Value error, income needs 4 numbers in each step"),
        (_not_finite, "parts.1.valued.steps.0: Value error, the number of a category must be finite"),
        (_no_time, "parts.1.valued.steps.0.since: Input should be a valid datetime"),
    ],
)
def test_damaged_data_is_named(damage: Callable[[dict[str, Any]], None], message: str) -> None:
    plain = fitted("target").to_dict()
    damage(plain)
    with pytest.raises(ValueError, match=r"^parts") as caught:
        Transformer.from_dict(plain)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_something_else_than_a_transformation_is_refused() -> None:
    with pytest.raises(ValueError, match="parts: Field required"):
        Transformer.from_dict({"trees": []})
