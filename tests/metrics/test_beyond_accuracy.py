"""Novelty and difference within lists, by hand and against plain Python."""

import itertools
import math
from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest
from scipy.sparse import csr_array

from ecbehave.metrics.beyond_accuracy import distances, novelty
from ecbehave.schema import TS

DAY, LATER = datetime(2024, 3, 1, tzinfo=UTC), datetime(2024, 4, 1, tzinfo=UTC)


def lists(at: datetime, **items: str) -> pl.DataFrame:
    rows = [(user, at, rank, item) for user, word in items.items() for rank, item in enumerate(word, 1)]
    schema = {"user_id": pl.String, "cutoff": TS, "rank": pl.UInt32, "item_id": pl.String}
    return pl.DataFrame(rows, schema, orient="row")


def had(at: datetime, n_all: int, **n_users: int) -> pl.DataFrame:
    rows = [(at, item, n, n_all) for item, n in n_users.items()]
    schema = {"cutoff": TS, "item_id": pl.String, "n_users": pl.Int64, "n_all": pl.Int64}
    return pl.DataFrame(rows, schema, orient="row")


def test_novelty_by_hand():
    known = had(DAY, 8, a=8, b=4, c=1, d=0)
    assert novelty(lists(DAY, ann="a"), known, 5) == 0
    # 0 and 1 bit; d counts as had by one of 8.
    assert novelty(lists(DAY, ann="ab"), known, 5) == pytest.approx(1 / 2)
    assert novelty(lists(DAY, ann="ab", bob="cd"), known, 5) == pytest.approx((1 / 2 + 3) / 2)
    # A short list weighs as much as a long one, and what is beyond k does not count.
    assert novelty(lists(DAY, ann="abc", bob="c"), known, 2) == pytest.approx((1 / 2 + 3) / 2)


def test_novelty_at_each_cutoff_goes_by_what_was_known_there():
    known = pl.concat([had(DAY, 4, a=4), had(LATER, 4, a=1)])
    assert novelty(pl.concat([lists(DAY, ann="a"), lists(LATER, ann="a")]), known, 1) == pytest.approx(
        (0 + 2) / 2
    )


def test_novelty_of_no_lists_is_unknown():
    assert novelty(lists(DAY), had(DAY, 4, a=4), 3) is None


def test_novelty_refuses_missing_counts():
    known = had(DAY, 4, a=4).with_columns(n_users=pl.lit(None, pl.Int64))
    with pytest.raises(ValueError, match=r"had: missing values \(1 in n_users\)"):
        novelty(lists(DAY, ann="a"), known, 1)


def test_distances_by_hand():
    # Users of a: 0 1, of b: 0 1, of c: 2, of d: 1 2; nobody had e.
    had_by = csr_array(np.array([[1, 1, 0], [1, 1, 0], [0, 0, 1], [0, 1, 1], [0, 0, 0]], dtype=np.float64))
    shown = csr_array(
        np.array(
            [[1, 1, 0, 0, 0], [1, 0, 1, 0, 0], [1, 0, 0, 1, 0], [1, 1, 1, 0, 0], [1, 0, 0, 0, 1]], dtype=float
        )
    )
    assert distances(shown, had_by).tolist() == pytest.approx([0, 1, 1 / 2, 2 / 3, 1])
    # a and b are alike, and e is apart from both.
    with_unknown = csr_array(np.array([[1, 1, 0, 0, 1]], dtype=float))
    assert distances(with_unknown, had_by).tolist() == pytest.approx([2 / 3])
    lonely = csr_array(np.array([[0, 1, 0, 0, 0], [0, 0, 0, 0, 0]], dtype=float))
    assert np.isnan(distances(lonely, had_by)).tolist() == [True, True]
    assert distances(csr_array((0, 5)), had_by).size == 0


@pytest.mark.parametrize("at_once", [256, 3])
def test_distances_agree_with_plain_python(at_once: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("ecbehave.metrics.beyond_accuracy._LISTS_AT_ONCE", at_once)
    rng = np.random.default_rng(0)
    owners = [set(np.flatnonzero(rng.random(15) < 0.3).tolist()) for _ in range(12)]
    words = [rng.choice(12, size=rng.integers(2, 6), replace=False).tolist() for _ in range(10)]
    shown = np.zeros((10, 12))
    for row, word in enumerate(words):
        shown[row, word] = 1
    had_by = np.array([[float(user in own) for user in range(15)] for own in owners])

    def apart(one: int, other: int) -> float:
        size = math.sqrt(len(owners[one]) * len(owners[other]))
        return 1 - len(owners[one] & owners[other]) / size if size else 1.0

    expected = [np.mean([apart(*pair) for pair in itertools.combinations(word, 2)]) for word in words]
    found = distances(csr_array(shown), csr_array(had_by))
    assert found.tolist() == pytest.approx(expected, abs=1e-12)
    assert len({len(own) for own in owners}) > 3
