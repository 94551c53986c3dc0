"""What kinds over sequences learn: planted patterns, who has no events, new items, and what happens around a fit."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from planted import (
    CUTOFF,
    ONCE,
    RANKING,
    SETTINGS,
    VIEWS,
    customers,
    first_items,
    known_before,
    make,
    predict,
    regulars,
    returners,
    sequences,
    share_right,
    walkers,
)
from planted import event_log as log_of
from sklearn.linear_model import LogisticRegression

from ecbehave.errors import DataError
from ecbehave.models import model_class
from ecbehave.models.deep.item_vectors import item_vectors as item_vectors_of
from ecbehave.models.deep.sequence_net import regression
from ecbehave.models.deep.tokens import Reader
from ecbehave.models.protocol import Options

KINDS = ["cnn", "rnn", "transformer"]

every_kind = pytest.mark.parametrize("kind", KINDS)


class Watching:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.curves: list[Any] = []

    def say(self, message: str) -> None:
        pass

    def show(self, moment: Any) -> None:
        pass

    def learned(self, curves: Any) -> None:
        self.curves.append(curves)


@pytest.mark.parametrize(
    ("kind", "loss", "epochs"),
    [*((k, "softmax", 25) for k in KINDS), ("rnn", "sampled", 40), ("rnn", "gbce", 40)],
)
def test_foresees_the_next_item_of_who_walks_in_a_ring(kind: str, loss: str, epochs: int):
    training = {"epochs": epochs, "patience": epochs, "batch": 8, "learning_rate": 0.02}
    model = make(kind, **VIEWS, loss=loss, negatives=9, training=training)
    model.fit([walkers().as_history()], [walkers(seed=1)], RANKING)
    assert share_right(model) >= 0.9


@pytest.mark.parametrize("similarity", ["cosine", "product"])
def test_items_are_compared_by_direction_or_by_length_too(similarity: str):
    training = {"epochs": 25, "batch": 8, "learning_rate": 0.02}
    model: Any = make("rnn", **VIEWS, similarity=similarity, training=training)
    model.fit([walkers().as_history()], [], RANKING)
    assert share_right(model) >= 0.9
    known, net = model.vocabulary_, model.net_
    rows, categories = torch.from_numpy(known.item_rows), torch.from_numpy(known.item_categories)
    before = net.table(rows, categories).detach()
    with torch.no_grad():
        net.item.weight[rows[0]] *= 3
    after = net.table(rows, categories).detach()
    if similarity == "product":
        torch.testing.assert_close(after[0], 3 * before[0])
        return
    torch.testing.assert_close(after, before)
    torch.testing.assert_close(after.norm(dim=1), torch.full((len(rows),), 12 / model.config.width**0.5))
    nothing = net.table(torch.zeros(1, dtype=torch.int64), torch.zeros(1, dtype=torch.int64))
    assert not nothing.any()


def test_lstm_and_caser_foresee_it_too():
    for kind, settings in (("rnn", {"cell": "lstm"}), ("cnn", {"filters": "caser"})):
        model = make(kind, **VIEWS, **settings, training={"epochs": 25, "batch": 8, "learning_rate": 0.02})
        model.fit([walkers().as_history()], [], RANKING)
        assert share_right(model) >= 0.9, kind


@every_kind
def test_tells_who_comes_back(kind: str):
    model = make(kind).fit([returners()], [returners(1)], ONCE)
    asked = returners(2)
    score = predict(model, asked, 0)["score"].to_numpy()
    n_loyal = int(score.size * 0.6)
    assert np.median(score[:n_loyal]) > np.median(score[n_loyal:]) + 1


@every_kind
def test_who_has_no_events_gets_the_base_rate(kind: str):
    train = returners()
    model = make(kind).fit([train], [], ONCE)
    nobody = replace(
        train, sequence=known_before(log_of([(0, "i1", "purchase", 1.0), (7, "i1", "purchase", -1.0)]))
    )
    score = predict(model, nobody, 0)["score"].to_numpy()
    share = float(customers().label.mean())
    assert score[1:] == pytest.approx(np.full(299, np.log(share / (1 - share))))
    assert score[0] != score[1]


@every_kind
def test_who_has_no_events_has_no_list(kind: str):
    model = make(kind, **VIEWS).fit([walkers().as_history()], [], RANKING)
    asked = sequences([(0, "i03", "view", 1.0), (2, "i04", "view", -1.0)], 3, ["i03", "i04"])
    assert set(first_items(model, asked)) == {"u0000"}


def test_a_new_item_is_known_by_its_category():
    categories = {f"i{n:02d}": "even" if n % 2 == 0 else "odd" for n in range(12)}
    rng = np.random.default_rng(0)
    # After an even item comes an odd one, whichever.
    events = [
        (user, f"i{2 * int(rng.integers(5)) + (user + step) % 2:02d}", "view", 9.0 - step)
        for user in range(60)
        for step in range(6)
    ]
    items = [f"i{n:02d}" for n in range(12)]
    train = sequences(events, 60, items, categories=categories)
    training = {"epochs": 20, "batch": 8, "learning_rate": 0.02}
    model = make("rnn", **VIEWS, shared_rows=0, training=training).fit([train], [], RANKING)
    asked = sequences([(0, "i02", "view", 1.0), (1, "i03", "view", 1.0)], 2, items, categories=categories)
    named = asked.matrix.items.with_columns(category=pl.col("item_id").replace_strict(categories))  # type: ignore[union-attr]
    asked = replace(asked, matrix=replace(asked.matrix, items=named))  # type: ignore[type-var]
    [(_, scores)] = model.scores(asked)
    new_even, new_odd = items.index("i10"), items.index("i11")
    assert scores[0, new_odd] > scores[0, new_even] + 1
    assert scores[1, new_even] > scores[1, new_odd] + 1


def test_a_new_item_without_a_category_has_no_score_where_nothing_is_shared():
    model = make("rnn", **VIEWS, shared_rows=0).fit([walkers().as_history()], [], RANKING)
    asked = sequences([(0, "i03", "view", 1.0)], 1, ["i03", "new"])
    [(_, scores)] = model.scores(asked)
    assert scores[0, 1] == -np.inf
    assert np.isfinite(scores[0, 0])


def test_what_was_had_before_may_count_more():
    data = walkers()
    plain, again = (
        make("rnn", **VIEWS, repeat_weight=weight).fit([data.as_history()], [], RANKING)
        for weight in (0, 2.0)
    )
    [(users, before)], [(_, after)] = plain.scores(data), again.scores(data)
    pairs = data.matrix.pairs  # type: ignore[union-attr]
    user, item = pairs["user"].to_numpy(), pairs["item"].to_numpy()
    had = np.zeros(before.shape, bool)
    had[user, item] = True
    assert users.size == before.shape[0]
    assert (after[had] > before[had]).all()
    assert (after[~had] == before[~had]).all()


@pytest.mark.parametrize("is_wanted", [True, False])
def test_how_much_it_counts_is_chosen_by_the_validation_window(tmp_path: Path, is_wanted: bool):
    """What comes next is what the user has had, or anything but that."""
    data = walkers()
    assert data.matrix is not None
    numbered = [
        frame.with_row_index(name).select(pl.col(name).cast(pl.UInt32), f"{name}_id")
        for name, frame in (("user", data.matrix.users), ("item", data.matrix.items))
    ]
    everything = numbered[0].join(numbered[1], how="cross")
    had = everything.join(data.matrix.pairs, on=["user", "item"], how="semi" if is_wanted else "anti")
    labels = had.select("user_id", "item_id")
    later = replace(data, matrix=replace(data.matrix, labels=labels))
    model: Any = make("rnn", **VIEWS, training={"epochs": 1, "learning_rate": 1e-6})
    model.fit([data.as_history()], [later], RANKING)
    assert (model.repeat_weight_ > 0) == is_wanted
    model.save(tmp_path)
    assert type(model).load(tmp_path, model.config).repeat_weight_ == model.repeat_weight_
    chosen = model.repeat_weight_
    assert model.fit([data.as_history()], [], RANKING).repeat_weight_ == chosen
    assert make("rnn", **VIEWS).fit([data.as_history()], [], RANKING).repeat_weight_ == 0  # type: ignore[attr-defined]


@every_kind
def test_an_answer_does_not_depend_on_who_else_is_asked(kind: str):
    model, data = make(kind, **VIEWS).fit([walkers().as_history()], [], RANKING), walkers(n_users=90, seed=3)
    [(_, together)] = model.scores(data)
    for user in (0, 41, 89):
        users = data.matrix.users.with_columns(is_asked=pl.int_range(pl.len()) == user)  # type: ignore[union-attr]
        alone = replace(data, matrix=replace(data.matrix, users=users))  # type: ignore[type-var]
        [(own, scores)] = model.scores(alone)
        assert own.tolist() == [user]
        assert (scores[0] == together[user]).all()


def test_pretraining_comes_first_and_sees_no_label():
    watching = Watching()
    options = Options(seed=0, threads=1, watcher=watching)
    make("rnn", pretrain={"epochs": 2}).fit([returners(), returners(1)], [returners(2)], options)
    names = [curves.name for curves in watching.curves]
    assert names == ["rnn, next items before labels", "rnn, events ahead", "rnn, labels"]
    assert [len(curves.loss) for curves in watching.curves[:2]] == [2, 5]
    assert [curves.metric for curves in watching.curves[:2]] == [(), ()]
    assert len(watching.curves[2].metric) == len(watching.curves[2].loss)


def test_pretraining_reads_the_first_cutoff_alone():
    """The second cutoff's histories change nothing of what the first weights become."""
    train, other = returners(), regulars(1)
    later = replace(returners(1), sequence=other.sequence)
    settings = {"training": {"epochs": 1, "learning_rate": 1e-12}, "shared_rows": 0}
    first, second = (
        make("rnn", **settings | {"pretrain": {"epochs": 1}}).fit([train, part, train], [], ONCE)
        for part in (train, later)
    )
    for name, value in first.net_.state_dict().items():
        # The head begins with a regression on the labels of all cutoffs.
        if name.startswith("head."):
            continue
        assert value.numpy() == pytest.approx(second.net_.state_dict()[name].numpy(), abs=1e-9), name


def test_no_pretraining_where_it_is_left_out():
    watching = Watching()
    options = Options(seed=0, threads=1, watcher=watching)
    make("rnn", pretrain={"epochs": 0, "horizons": []}).fit([returners()], [], options)
    assert [curves.name for curves in watching.curves] == ["rnn, labels"]


def test_no_pretraining_where_nothing_can_be_foreseen():
    watching = Watching()
    options = Options(seed=0, threads=1, watcher=watching)
    make("rnn", event_weights={"view": 1.0}, pretrain={"horizons": ["400d"]}).fit([returners()], [], options)
    assert [curves.name for curves in watching.curves] == ["rnn, labels"]


def test_stops_by_the_validation_window():
    watching = Watching()
    options = Options(seed=0, threads=1, output="ranking", watcher=watching)
    model = make("rnn", **VIEWS, training={"epochs": 60, "patience": 2, "batch": 8, "learning_rate": 0.02})
    model.fit([walkers().as_history()], [walkers(seed=1)], options)
    [curves] = watching.curves
    assert model.net_.ahead is None
    assert curves.ended == "patience"
    assert curves.metric_name == "ndcg@10"
    assert max(curves.metric) == curves.metric[curves.best - 1] > 0.9
    assert model.plan_.epochs == curves.best


def test_nothing_to_foresee():
    with pytest.raises(DataError) as caught:
        make("rnn", event_weights={"like": 1.0, "order": 1.0}).fit([walkers().as_history()], [], RANKING)
    assert str(caught.value) == (
        "rnn has nothing to learn from: nobody has an event of the type like or order with an item after another "
        "event; set model.event_weights to the log's event types, or bring more data"
    )


def test_nobody_of_the_population_has_events():
    train = replace(returners(), sequence=known_before(log_of([(0, "i1", "purchase", -1.0)])))
    with pytest.raises(DataError) as caught:
        make("cnn").fit([train], [], ONCE)
    assert str(caught.value) == (
        "cnn has nothing to learn from: nobody in the train populations has any event; bring more data"
    )


def test_a_width_that_its_heads_cannot_share():
    with pytest.raises(ValueError, match="width 12 does not divide into 4 heads of an even width"):
        make("transformer", **SETTINGS["transformer"] | {"width": 12, "heads": 4})


def test_no_validation_users_with_a_true_item():
    data = walkers()
    later = replace(data, matrix=replace(data.matrix, labels=data.matrix.labels.clear()))  # type: ignore[type-var, union-attr]
    model = make("rnn", **VIEWS).fit([data.as_history()], [later], RANKING)
    assert model.plan_.epochs == SETTINGS["rnn"]["training"]["epochs"]


def test_what_is_after_the_cutoff_is_not_read():
    """`walkers` go on backwards then: a net that read it would know other steps."""
    data = walkers()
    log = data.sequence.log  # type: ignore[union-attr]
    known = log.ts < CUTOFF.timestamp() * 1e6
    other = replace(
        log, item=np.where(known, log.item, 0).astype(np.int32), price=np.where(known, log.price, 9.0)
    )
    hidden = replace(data, sequence=replace(data.sequence, log=other))  # type: ignore[type-var]
    first, second = (make("rnn", **VIEWS).fit([d.as_history()], [], RANKING) for d in (data, hidden))
    for name, value in first.net_.state_dict().items():
        assert (value == second.net_.state_dict()[name]).all()
    assert model_class("rnn").inputs["ranking"] == "sequence"


@pytest.mark.parametrize(
    ("freeze", "learned"),
    [
        ("nothing", {"item", "of_events", "of_instants", "encoder", "ahead", "head"}),
        ("items", {"of_events", "of_instants", "encoder", "ahead", "head"}),
        ("body", {"ahead", "head"}),
    ],
)
def test_what_is_frozen_stays_as_it_was_pretrained(freeze: str, learned: set[str]):
    data = returners()
    # With a second event type, events differ in more than the item.
    log = data.sequence.log  # type: ignore[union-attr]
    types = replace(
        log, event_types=pl.Series(["purchase", "view"]), event_type=(log.item % 2).astype(np.int32)
    )
    data = replace(data, sequence=replace(data.sequence, log=types))  # type: ignore[type-var]
    once, more = (
        make("rnn", pretrain={"epochs": 1, "freeze": freeze}, training={"epochs": epochs, "batch": 64}).fit(
            [data], [], ONCE
        )
        for epochs in (1, 2)
    )
    before, after = once.net_.state_dict(), more.net_.state_dict()
    changed = {name.split(".")[0] for name, value in before.items() if not (value == after[name]).all()}
    assert changed == learned


def test_nothing_is_frozen_that_was_not_pretrained():
    with pytest.raises(
        ValueError, match="freeze: body keeps what pretraining has learned; set epochs above 0"
    ):
        make("rnn", pretrain={"epochs": 0, "freeze": "body"})
    model = make("rnn", pretrain={"epochs": 0}).fit([returners()], [], ONCE)
    assert model.net_.item.weight.requires_grad


@pytest.mark.parametrize(
    ("question", "item_vectors", "is_alike"),
    [
        ("items", "auto", True),
        ("items", "alike", True),
        ("items", "random", False),
        ("labels", "auto", False),
        ("labels", "alike", True),
        ("labels", "random", False),
        ("vectors", "auto", False),
        ("vectors", "alike", True),
    ],
)
def test_items_that_are_alike_begin_alike(question: str, item_vectors: str, is_alike: bool):
    """By default, where next items are the question."""
    nothing = {"epochs": 1, "learning_rate": 1e-9}
    how: dict[str, Any] = {"training": nothing, "pretrain": {"epochs": 0}} | VIEWS
    data, options = (returners(), ONCE) if question == "labels" else (walkers(), RANKING)

    def begun(begins: str) -> Any:
        model: Any = make("rnn", **how, item_vectors=begins)
        return model.fit_vectors(data, options) if question == "vectors" else model.fit([data], [], options)

    model, plain = begun(item_vectors), begun("random")
    added = (model.net_.item.weight - plain.net_.item.weight).detach().numpy()
    expected = 0.05 * item_vectors_of(model.vocabulary_, data.sequence, model.config.width, options.seed)
    np.testing.assert_allclose(added, expected * is_alike, atol=1e-6)
    assert np.abs(expected).max() > 0.05


def test_with_few_labels_a_net_says_what_a_logistic_regression_does():
    """At first, all that counts is what is known of the whole history."""
    data = returners()
    model: Any = make("rnn", pretrain={"horizons": []}, training={"epochs": 1, "learning_rate": 1e-9})
    model.fit([data], [], ONCE)
    reader = Reader(model.vocabulary_, [data.sequence])  # type: ignore[list-item]
    span = reader.histories(0, np.arange(data.table.n_rows), 8)  # type: ignore[union-attr]
    known, label = reader.query(0, span).astype(np.float64), data.table.label  # type: ignore[union-attr]
    scaled = (known - known.mean(axis=0)) / np.where(np.ptp(known, axis=0), known.std(axis=0), 1)
    by_hand = LogisticRegression(C=1.0, tol=1e-8).fit(scaled, label).decision_function(scaled)
    score = predict(model, data, 0)["score"].to_numpy()
    np.testing.assert_allclose(score, by_hand, atol=1e-3)


def test_labels_of_one_class_among_those_who_have_events():
    found = regression(np.arange(6.0).reshape(3, 2), np.ones(3, np.int8))
    np.testing.assert_allclose(found, [np.log(7), 0, 0])
