"""Similar items of every kind that can tell: against a plain sort, and by what goes with what."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from planted import ONCE, Pair, make, matrix, sequences

from ecbehave.models import PLAIN, model_class
from ecbehave.models.cf import alike
from ecbehave.models.cf.alike import most_alike

RANKED = replace(ONCE, output="ranking")
ABLE = [kind for kind in PLAIN if hasattr(model_class(kind), "similar_items")]
NETS = {"cnn", "rnn", "transformer"}
SETTINGS = {"item_knn": {"min_users": 1}, "ease": {"min_users": 1, "ridge": 1.0}, "als": {"factors": 2}}
LONG = {"training": {"epochs": 12, "batch": 8, "learning_rate": 0.02}}


@pytest.mark.parametrize("block", [1, 70, 1_000_000])
@pytest.mark.parametrize("n", [1, 4, 30])
def test_like_a_plain_sort_with_ties(block: int, n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alike, "_BLOCK_PAIRS", block)
    values = np.random.default_rng(0).choice([-1.0, 0.0, 0.25, 0.5, 1.0], (20, 20))
    ids = pl.Series([f"i{number:02}" for number in range(20)])
    listed = ids.filter(ids != "i07")
    found = pl.concat(most_alike(ids, lambda rows: values[rows], n, listed))
    expected = [
        (ids[item], ids[other], values[item, other])
        for item in range(20)
        for other in sorted(range(20), key=lambda other: (-values[item, other], other))
        if other not in (item, 7) and values[item, other] > 0
    ]
    by_hand = pl.DataFrame(expected, found.schema, orient="row")
    assert found.equals(by_hand.group_by("item_id", maintain_order=True).head(n))


def test_cosines_by_hand() -> None:
    mine = np.array([[1, 0], [0, 0], [0, 3]], np.float32)
    theirs = np.array([[1, 0], [2, 2], [0, 0], [-3, 0], [5, 5], [9, 0]], np.float32)
    ((row, other, cosine),) = alike.alike(mine, theirs, np.array([0, -1, 1]), 2)
    assert list(zip(row.tolist(), other.tolist(), strict=True)) == [(0, 5), (0, 1), (2, 4)]
    np.testing.assert_allclose(cosine, [1, np.sqrt(0.5), np.sqrt(0.5)], rtol=1e-12)


# Nets over sequences share their code; one is enough.
@pytest.mark.parametrize("kind", [kind for kind in ABLE if kind not in NETS - {"rnn"}])
def test_what_is_had_together_is_alike(kind: str, tmp_path: Path) -> None:
    """Users of the first half had a, b and c, those of the other half d, e and f."""
    pairs: list[Pair] = [
        (user, item + 3 * (user >= 20), "purchase", 1, 1.0)
        for user in range(40)
        for item in range(3)
        if (user + item) % 4
    ]
    names = list("abcdef")
    if kind in NETS:
        # The same, time and again.
        events = [(u, names[i], t, 9.0 - 3 * n - i % 3) for n in range(3) for u, i, t, *_ in pairs]
        model = make(kind, **LONG).fit([sequences(events, 40, names).as_history()], [], RANKED)
    else:
        model = make(kind, **SETTINGS[kind]).fit([matrix(pairs, 40, names)], [], RANKED)
    listed = pl.Series(["a", "b", "d", "e", "f"])
    found = pl.concat(model.similar_items(2, listed))  # type: ignore[attr-defined]
    assert found.schema == {"item_id": pl.String, "similar_item_id": pl.String, "similarity": pl.Float64}
    named = {
        item: rows["similar_item_id"] for (item,), rows in found.partition_by("item_id", as_dict=True).items()
    }
    for group in ("abc", "def"):
        for item in group:
            others = set(group) - {item, "c"}
            assert set(named[item].head(len(others))) == others
    assert found["item_id"].is_sorted()
    assert found["similarity"].min() > 0  # type: ignore[operator]
    model.save(tmp_path)
    loaded = model_class(kind).load(tmp_path, model.config)  # type: ignore[attr-defined]
    assert pl.concat(loaded.similar_items(2, listed)).equals(found)  # type: ignore[attr-defined]


def test_these_kinds_can_tell() -> None:
    assert set(ABLE) == {"item_knn", "als", "ease"} | NETS
