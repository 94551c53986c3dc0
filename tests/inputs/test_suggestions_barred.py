"""Candidates of a ranking are never made of what must not be listed."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from planted import Pair, matrix
from scipy.sparse import csr_array

from ecbehave.config.task import RankedCandidates
from ecbehave.inputs.suggestions import Sources
from ecbehave.inputs.types import MatrixInput
from ecbehave.stages.candidates import candidates

ITEMS = [f"i{n}" for n in range(6)]
#: i5 was had by most, then i4, and so on; u0000 had i0 only, which nobody else had.
PAIRS: list[Pair] = [(user, item, "purchase", 1, 1.0) for item in range(1, 6) for user in range(1, 2 + item)]
PAIRS.append((0, 0, "purchase", 1, 1.0))


def pairs_of(data: MatrixInput, popular: int) -> set[tuple[str, str]]:
    asked = RankedCandidates(popular=popular, similar=1)
    sources = Sources(asked, ("purchase",), (timedelta(days=7),), "UTC")
    return set(pl.concat(candidates(sources, data, 1)).select("user_id", "item_id").rows())


@pytest.fixture
def data() -> MatrixInput:
    return matrix(PAIRS, 7, ITEMS)


def test_without_filters_the_first_ones_and_what_a_user_had(data: MatrixInput) -> None:
    assert {item for user, item in pairs_of(data, 2) if user == "u0000"} == {"i0", "i5", "i4"}


def test_the_next_popular_items_take_the_place_of_what_is_barred_to_all(data: MatrixInput) -> None:
    barred = np.isin(ITEMS, ["i5", "i3", "i0"])
    found = pairs_of(replace(data, barred_items=barred), 2)
    assert {item for user, item in found if user == "u0000"} == {"i4", "i2"}
    assert {item for _, item in found} == {"i1", "i2", "i4"}


def test_nobody_is_offered_what_is_barred_to_him(data: MatrixInput) -> None:
    had = csr_array(data.csr(data.pairs, np.ones(data.pairs.height)).astype(np.bool_))
    found = pairs_of(replace(data, barred=had), 2)
    assert {item for user, item in found if user == "u0000"} == {"i5", "i4"}
    names = {(f"u{user:04d}", ITEMS[item]) for user, item, *_ in PAIRS}
    assert not found & names
    assert found
