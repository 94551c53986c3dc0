"""What a net over sequences takes over from a stored one."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from planted import CUTOFF, ONCE, RANKING, VIEWS, make, returners, share_right, walkers

from ecbehave.errors import ArtifactError, ConfigError
from ecbehave.inputs.types import Inputs
from ecbehave.models.protocol import Options

#: So slow that nothing is learned beside what was there.
STILL = {"epochs": 1, "batch": 16, "learning_rate": 1e-12, "weight_decay": 0}


def stored_at(folder: Path, times: list[datetime] | None = None) -> Callable[[str, datetime], Path]:
    def find(source: str, until: datetime) -> Path:
        if times is not None:
            times.append(until)
        return folder / source

    return find


def options(folder: Path, base: Options = RANKING) -> Options:
    return replace(base, stored=stored_at(folder))


def train_source(folder: Path, data: Inputs, kind: str = "rnn", **settings: Any) -> Any:
    model = make(kind, **VIEWS | settings).fit([data.as_history()], [], RANKING)
    (folder / "source").mkdir(parents=True)
    model.save(folder / "source")
    return model


def renamed(data: Inputs) -> Inputs:
    """The same walk, in another shop: its items have other names."""
    log = replace(data.sequence.log, items="other-" + data.sequence.log.items)  # type: ignore[union-attr]
    items = data.matrix.items.with_columns(item_id="other-" + pl.col("item_id"))  # type: ignore[union-attr]
    return replace(
        data,
        matrix=replace(data.matrix, items=items),  # type: ignore[type-var]
        sequence=replace(data.sequence, log=log),  # type: ignore[type-var]
    )


def test_a_net_knows_at_once_what_its_source_has_learned(tmp_path: Path):
    long = {"epochs": 25, "batch": 8, "learning_rate": 0.02}
    train_source(tmp_path, walkers(seed=1), training=long)
    pretrain = {"source": "source", "epochs": 0}
    begun = make("rnn", **VIEWS, pretrain=pretrain, training=STILL)
    begun.fit([walkers(seed=3).as_history()], [], options(tmp_path))
    alone = make("rnn", **VIEWS, training=STILL).fit([walkers(seed=3).as_history()], [], RANKING)
    assert share_right(begun) >= 0.9
    assert share_right(alone) < 0.5


def test_another_catalogue_shares_the_body_only(tmp_path: Path):
    source = train_source(tmp_path, walkers())
    pretrain = {"source": "source", "same_catalogue": False}
    # The items have the same names here, and are others.
    begun = make("rnn", **VIEWS, pretrain=pretrain, training=STILL)
    begun.fit([walkers().as_history()], [], options(tmp_path))
    alone = make("rnn", **VIEWS, training=STILL, item_vectors="random")
    alone.fit([walkers().as_history()], [], RANKING)
    theirs, found, own = (model.net_.state_dict() for model in (source, begun, alone))
    for name, weight in found.items():
        wanted = theirs if name.startswith(("encoder.", "of_")) else own
        np.testing.assert_allclose(weight, wanted[name], atol=1e-6, err_msg=name)


def test_an_item_that_the_source_has_not_known_stays_as_it_was_drawn(tmp_path: Path):
    both = walkers()
    source = train_source(tmp_path, renamed(both), shared_rows=0)
    pretrain = {"source": "source"}
    begun = make("rnn", **VIEWS, pretrain=pretrain, training=STILL, shared_rows=0)
    begun.fit([both.as_history()], [], options(tmp_path))
    alone = make("rnn", **VIEWS, training=STILL, shared_rows=0, item_vectors="random")
    alone.fit([both.as_history()], [], RANKING)
    theirs, found, own = (model.net_.state_dict() for model in (source, begun, alone))
    np.testing.assert_allclose(found["item.weight"], own["item.weight"], atol=1e-6)
    np.testing.assert_allclose(found["encoder.norm.weight"], theirs["encoder.norm.weight"], atol=1e-6)


def test_items_with_shared_embeddings(tmp_path: Path):
    """In the source every item is rare, and here none is: each begins with what it shared there."""
    source = train_source(tmp_path, walkers(), min_events=10_000)
    begun = make("rnn", **VIEWS, pretrain={"source": "source"}, training=STILL)
    begun.fit([walkers().as_history()], [], options(tmp_path))
    items = pl.Series([f"i{n:02d}" for n in range(10)])
    theirs, ours = (model.vocabulary_.rows_of(items) for model in (source, begun))
    assert len(set(ours)) == 10 > len(set(theirs))
    np.testing.assert_allclose(
        begun.net_.item.weight.detach()[ours], source.net_.item.weight.detach()[theirs], atol=1e-6
    )


@pytest.mark.parametrize(
    ("same_catalogue", "factor", "levels"),
    [(True, 1, [0, 1, 2, 3, 4, 6, 7, 8, 9]), (True, 100, [0] * 9), (False, 100, [0, 1, 2, 3, 4, 6, 7, 8, 9])],
)
def test_levels_of_price_go_to_where_these_prices_were_or_by_rank(
    tmp_path: Path, same_catalogue: bool, factor: int, levels: list[int]
):
    before = walkers(seed=1)
    dearer = replace(before.sequence.log, price=before.sequence.log.price * factor)  # type: ignore[union-attr]
    source = train_source(tmp_path, replace(before, sequence=replace(before.sequence, log=dearer)))  # type: ignore[type-var]
    pretrain = {"source": "source", "same_catalogue": same_catalogue}
    begun = make("rnn", **VIEWS, pretrain=pretrain, training=STILL)
    begun.fit([walkers().as_history()], [], options(tmp_path))
    assert source.vocabulary_.price_edges.tolist() == [factor * n for n in range(1, 10)]
    assert begun.vocabulary_.price_edges.tolist() == [1, 2, 3, 4, 6, 7, 8, 9]
    theirs, ours = (model.net_.of_events["price"].weight.detach() for model in (source, begun))
    np.testing.assert_allclose(ours[1:], theirs[1:][levels], atol=1e-6)


def test_a_source_may_know_nothing_that_is_to_be_foreseen(tmp_path: Path):
    train_source(tmp_path, walkers())
    asked: list[datetime] = []
    model = make("rnn", **VIEWS, pretrain={"source": "source"}, training=STILL)
    model.fit([walkers().as_history()], [], replace(RANKING, stored=stored_at(tmp_path, asked)))
    make("rnn", pretrain={"source": "source", "epochs": 0}, training=STILL).fit(
        [returners()], [], replace(ONCE, stored=stored_at(tmp_path, asked))
    )
    assert asked == [CUTOFF, CUTOFF]


def test_a_body_of_another_shape(tmp_path: Path):
    train_source(tmp_path, walkers())
    for kind, settings in (("rnn", {"width": 16}), ("rnn", {"layers": 2}), ("cnn", {})):
        model = make(kind, **VIEWS | settings, pretrain={"source": "source"})
        with pytest.raises(
            ConfigError, match=r"pretrain\.source: the net there has another body than this model"
        ):
            model.fit([walkers().as_history()], [], options(tmp_path))


def test_weights_that_are_no_weights(tmp_path: Path):
    train_source(tmp_path, walkers())
    (tmp_path / "source" / "net.npz").write_bytes(b"PK")
    model = make("rnn", **VIEWS, pretrain={"source": "source"})
    with pytest.raises(ArtifactError, match=r"net\.npz was refused"):
        model.fit([walkers().as_history()], [], options(tmp_path))


def test_what_was_taken_over_can_stay_as_it_is(tmp_path: Path):
    source = train_source(tmp_path, returners(), event_weights={"purchase": 1.0})
    pretrain = {"source": "source", "epochs": 0, "horizons": [], "freeze": "body"}
    model = make("rnn", pretrain=pretrain).fit([returners()], [], options(tmp_path, ONCE))
    theirs, found = source.net_.state_dict(), model.net_.state_dict()
    for name, weight in found.items():
        if name.startswith("encoder."):
            assert (weight == theirs[name]).all(), name
