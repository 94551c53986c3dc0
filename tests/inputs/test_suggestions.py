"""Candidates and what their sources say, against plain Python."""

from collections import defaultdict
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planted import Pair, matrix
from scipy.sparse import csr_array

from ecbehave.config.task import RankedCandidates
from ecbehave.inputs.suggestions import Sources, values_at

DAY = timedelta(days=1)
N_USERS, N_ITEMS = 4, 6
ITEMS = [f"i{n}" for n in range(N_ITEMS)]
PLACES = [f"item_popular_rank_purchase_{w}" for w in ("7d", "28d")]

pairs_strategy = st.lists(
    st.tuples(
        st.integers(0, N_USERS - 1),
        st.integers(0, N_ITEMS - 1),
        st.sampled_from(["view", "purchase"]),
        st.integers(1, 3),
        st.sampled_from([0.5, 6.5, 7.0, 7.5, 20.0, 40.0]),
    ),
    max_size=20,
    unique_by=lambda pair: pair[:3],
)
#: Few values, so that there are ties; 0 is not stored.
scores_strategy = st.lists(
    st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0]), min_size=N_ITEMS, max_size=N_ITEMS),
    min_size=N_USERS,
    max_size=N_USERS,
)


def sources(*events: str, **candidates: Any) -> Sources:
    return Sources(RankedCandidates(**candidates), events or ("purchase",), (7 * DAY, 28 * DAY), "UTC")


def built(
    found: Sources, pairs: list[Pair], similar: Any, most_similar: Any, again: Any, users: Any = None
) -> pl.DataFrame:
    chosen = np.arange(N_USERS) if users is None else np.array(users)
    parts = [csr_array(np.array(part, dtype=np.float64)[chosen]) for part in (similar, most_similar, again)]
    return found.at(matrix(pairs, N_USERS, ITEMS)).of(chosen, *parts)


def slow_popular(pairs: list[Pair], days: int) -> dict[int, int]:
    """The place of each item that anybody bought in so many days."""
    buyers = defaultdict(set)
    for user, item, event, _, since in pairs:
        if event == "purchase" and since <= days:
            buyers[item].add(user)
    order = sorted(buyers, key=lambda item: (-len(buyers[item]), item))
    return {item: place + 1 for place, item in enumerate(order)}


@settings(deadline=None, max_examples=80, derandomize=True)
@given(
    pairs_strategy,
    scores_strategy,
    scores_strategy,
    st.integers(0, 2),
    st.sampled_from([None, timedelta(hours=12), 7 * DAY]),
)
def test_candidates_and_features_like_plain_python(
    pairs: list[Pair],
    similar: list[list[float]],
    again: list[list[float]],
    popular: int,
    recent: timedelta | None,
) -> None:
    best = [[value if value == max(row) else 0.0 for value in row] for row in similar]
    places = [slow_popular(pairs, days) for days in (7, 28)]
    wanted = set()
    for user in range(N_USERS):
        own = {
            item for u, item, _, _, since in pairs if u == user and (recent is None or since * DAY <= recent)
        }
        near = {item for item in range(N_ITEMS) if best[user][item]}
        often = {item for place in places for item, n in place.items() if n <= popular}
        wanted |= {(user, item) for item in own | near | often}
    found = built(sources(popular=popular, recent=recent), pairs, similar, best, again)
    keys = [(f"u{user:04d}", ITEMS[item]) for user, item in sorted(wanted)]
    assert found.select("user_id", "item_id").rows() == keys
    assert found["user_hash"].to_list() == [user for user, _ in sorted(wanted)]
    for (user, item), row in zip(sorted(wanted), found.rows(named=True), strict=True):
        own_items = [i for u, i in wanted if u == user]
        affinity = {i: similar[user][i] + again[user][i] for i in own_items}
        assert row["item_similar_score_any_all"] == similar[user][item]
        assert row["item_affinity_score_any_all"] == affinity[item]
        higher = [i for i in own_items if similar[user][i] > similar[user][item]]
        assert row["item_similar_rank_any_all"] == 1 + len(higher)
        assert row["item_affinity_rank_any_all"] == 1 + sum(a > affinity[item] for a in affinity.values())
        assert [row[name] for name in PLACES] == [place.get(item) for place in places]


def test_columns_are_those_that_are_stored() -> None:
    found = sources()
    nothing = np.zeros((N_USERS, N_ITEMS))
    rows = built(found, [(1, 2, "purchase", 1, 3.0)], nothing, nothing, nothing)
    assert dict(rows.schema) == found.schema()
    assert rows.columns[3:] == found.features
    assert rows.height == N_USERS, "what somebody bought lately is popular"


def test_without_any_event_there_is_no_candidate() -> None:
    nothing = np.zeros((N_USERS, N_ITEMS))
    assert built(sources(), [], nothing, nothing, nothing).height == 0
    empty = csr_array((0, 0))
    known = sources().at(matrix([], 0, []))
    assert known.of(np.arange(0), empty, empty, empty).height == 0


def test_only_the_events_that_are_asked_for_make_an_item_popular() -> None:
    pairs: list[Pair] = [(0, 1, "view", 9, 1.0), (1, 1, "view", 9, 1.0), (2, 3, "purchase", 1, 1.0)]
    nothing = np.zeros((N_USERS, N_ITEMS))

    def asked_of_last(*events: str) -> list[str]:
        rows = built(sources(*events, popular=1), pairs, nothing, nothing, nothing, users=[3])
        return rows["item_id"].to_list()

    assert asked_of_last("purchase") == ["i3"]
    assert asked_of_last("view") == ["i1"]
    assert asked_of_last("any") == ["i1"]
    assert asked_of_last("purchase", "any") == ["i1", "i3"]
    names = [name for name in sources("purchase", "any").features if "popular" in name]
    assert names == [f"item_popular_rank_{event}_{w}" for event in ("purchase", "any") for w in ("7d", "28d")]


def test_days_are_those_of_the_shop() -> None:
    """Clocks go back in New York within this week, which is an hour longer."""
    data = matrix([(0, 1, "purchase", 1, 7.03), (0, 2, "purchase", 1, 7.05)], 1, ITEMS)
    after = data.cutoff.replace(year=2024, month=11, day=5, hour=5)
    config = RankedCandidates(recent=7 * DAY, popular=0)
    known = [
        Sources(config, ("purchase",), (7 * DAY,), zone).at(
            type(data)(after, data.users, data.items, data.pairs)
        )
        for zone in ("America/New_York", "UTC")
    ]
    assert [k.own.indices.tolist() for k in known] == [[1], []]


@settings(deadline=None, max_examples=60, derandomize=True)
@given(scores_strategy, scores_strategy, st.randoms())
def test_values_are_looked_up_whatever_their_order(
    values: list[list[float]], wanted: list[list[float]], random: Any
) -> None:
    stored = csr_array(np.array(values))
    for row in range(N_USERS):
        part = slice(int(stored.indptr[row]), int(stored.indptr[row + 1]))
        order = random.sample(range(part.stop - part.start), part.stop - part.start)
        stored.indices[part], stored.data[part] = stored.indices[part][order], stored.data[part][order]
    asked = csr_array(np.array(wanted))
    rows, items = asked.nonzero()
    assert values_at(stored, asked).tolist() == [values[r][i] for r, i in zip(rows, items, strict=True)]


@pytest.mark.parametrize("wrong", [{"similar": 0}, {"popular": -1}, {"recent": "7"}])
def test_settings_out_of_range(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        RankedCandidates(**wrong)
