"""The autoencoder against slow formulas, and planted tastes that it must find."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from planted import CUTOFF, ONCE, Pair, customers, lists, make, matrix, predict, shoppers, table
from pydantic import ValidationError
from scipy.sparse import csr_array

from ecbehave.errors import DataError
from ecbehave.inputs.types import Inputs, MatrixInput
from ecbehave.metrics.classification import auroc
from ecbehave.models.deep import autoencoder, history_scores, judging
from ecbehave.models.deep.denoising import Autoencoder, Bag, divergence
from ecbehave.models.deep.fixed_blocks import exact
from ecbehave.models.deep.history_objectives import Drawing, Histories, Labelled
from ecbehave.models.deep.noise import Noise, generator
from ecbehave.models.deep.weights import initialise

RANKING = replace(ONCE, output="ranking")
TRAINING = {"epochs": 25, "batch": 16, "learning_rate": 0.03, "patience": 25}
LEARNS = {"width": 16, "code": 4, "training": TRAINING}
#: Three users over four items, and two levels; the last user had no item.
INPUTS = csr_array(
    np.array([[0.6, 0, 0.8, 0, 1, 0], [0, 1, 0, 0, 0.5, 0.5], [0, 0, 0, 0, 0, 2]], dtype=np.float64)
)


def net_of(n_levels: int = 2, *, is_variational: bool = False) -> Autoencoder:
    net = Autoencoder(4, n_levels, 5, 3, is_variational=is_variational)
    initialise(net, generator(1))
    for name, weight in net.named_parameters():
        if "bias" in name:
            weight.data += 0.1 * torch.arange(len(weight))
    return net


def slowly(net: Autoencoder, x: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return mean, log-variance (0 for none) and hidden layer of the mean."""
    w = {name: value.double().numpy() for name, value in net.state_dict().items()}
    hidden = np.tanh(x @ w["input"] + w["input_bias"])
    mean = hidden @ w["mean.weight"].T + w["mean.bias"]
    spread = np.zeros_like(mean)
    if net.log_variance is not None:
        spread = hidden @ w["log_variance.weight"].T + w["log_variance.bias"]
    return mean, spread, np.tanh(mean @ w["back.weight"].T + w["back.bias"])


def items_loss(net: Autoencoder, hidden: np.ndarray, x: np.ndarray) -> float:
    """Return the sum over users of the mean over their items of minus the logarithm of the chance."""
    logits = hidden @ net.items.detach().double().numpy().T + net.items_bias.detach().double().numpy()
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return -sum(row[had].mean() for row, had in zip(logs, x[:, :4] > 0, strict=True) if had.any())


def two_tastes(n_users: int = 40, seed: int = 0) -> MatrixInput:
    """Even users had four of the items a to e, odd ones four of f to j; `labels` has the fifth."""
    rng = np.random.default_rng(seed)
    pairs: list[Pair] = []
    left = []
    for user in range(n_users):
        own = (5 * (user % 2) + rng.permutation(5)).tolist()
        pairs += [(user, item, "purchase", 1, 1.0) for item in own[:4]]
        left.append("abcdefghij"[own[4]])
    users = [f"u{n:04d}" for n in range(n_users)]
    labels = pl.DataFrame({"user_id": users, "item_id": left})
    return replace(matrix(pairs, n_users, list("abcdefghij")), labels=labels)


def fit(data: MatrixInput, valid: list[MatrixInput], **settings: Any) -> Any:
    return make("autoencoder", **settings).fit([data], valid, RANKING)


# ---- the net


def test_layers_compute_what_they_are_said_to():
    net, x = net_of(), INPUTS.toarray()
    expected = slowly(net, x)[2]
    np.testing.assert_allclose(history_scores.hidden_of(exact(net), INPUTS), expected, rtol=1e-6)
    bag = Bag.of(INPUTS, torch.device("cpu"))
    with torch.no_grad():
        found = net(net.sums(bag, 0.0, Noise(generator(0)))).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    label = net.label
    assert label is not None
    odds = expected @ label.weight.detach().double().numpy()[0] + label.bias.item()
    np.testing.assert_allclose(history_scores.log_odds_of(net, INPUTS), odds, rtol=1e-5)


def test_divergence_is_that_of_normal_distributions():
    mean, log_variance = torch.randn(2, 3, 4, generator=generator(0))
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(
        normal(mean, (0.5 * log_variance).exp()), normal(torch.zeros(3, 4), torch.ones(3, 4))
    )
    assert divergence(mean, log_variance).item() == pytest.approx(expected.sum().item(), rel=1e-5)


def objective(net_levels: int = 2, **drawing: Any) -> Histories:
    inputs = INPUTS if net_levels else csr_array(INPUTS[:, :4])
    return Histories(inputs, 4, 2, Drawing(**{"input_dropout": 0.0} | drawing), lambda _: 0.25, "users", "x")


def test_loss_of_items():
    net, x = net_of(0), INPUTS.toarray()[:, :4]
    loss, weight = objective(0).loss(net, np.array([2, 0, 1]), Noise(generator(0)))
    assert loss.item() == pytest.approx(items_loss(net, slowly(net, x)[2], x), rel=1e-5)
    assert weight == 3.0


def test_loss_of_a_code_that_is_drawn():
    net, x = net_of(0, is_variational=True), INPUTS.toarray()[:2, :4]
    mean, spread, _ = slowly(net, x)
    drawn = Noise(generator(7)).normal(torch.zeros(2, 3)).numpy()
    code = mean + drawn * np.exp(spread / 2)
    w = {name: value.double().numpy() for name, value in net.state_dict().items()}
    hidden = np.tanh(code @ w["back.weight"].T + w["back.bias"])
    kl = divergence(torch.from_numpy(mean), torch.from_numpy(spread)).item()
    for step, share in ((0, 0.0), (5, 0.25), (20, 1.0), (99, 1.0)):
        found = objective(0, kl_weight=0.4, kl_steps=20).loss(
            net, np.array([0, 1]), Noise(generator(7), step)
        )[0]
        assert found.item() == pytest.approx(items_loss(net, hidden, x) + 0.4 * share * kl, rel=1e-5)


def test_loss_with_a_label():
    net, x = net_of(), INPUTS.toarray()
    label, weight = np.array([0, 1, 1], np.float32), np.array([1, 3, 2], np.float32)
    told = objective()
    told.tell_labels(Labelled(label, weight, 0.5))
    hidden = slowly(net, x)[2]
    chance = 1 / (1 + np.exp(-history_scores.log_odds_of(net, INPUTS)))
    expected = -(weight * np.where(label == 1, np.log(chance), np.log(1 - chance))).sum()
    loss, total = told.loss(net, np.arange(3), Noise(generator(0)))
    assert loss.item() == pytest.approx(expected + 0.5 * items_loss(net, hidden, x), rel=1e-5)
    assert float(total) == 6.0


@pytest.mark.parametrize("is_variational", [False, True])
def test_losses_are_summed_with_32_bits_where_products_have_16(is_variational: bool):
    net, told = net_of(is_variational=is_variational), objective(kl_weight=0.1)
    told.tell_labels(Labelled(np.array([0, 1, 1], np.float32), np.ones(3, np.float32), 0.5))
    exactly = told.loss(net, np.arange(3), Noise(generator(0)))[0]
    with torch.autocast("cpu", torch.bfloat16):
        rounded = told.loss(net, np.arange(3), Noise(generator(0)))[0]
    assert rounded.dtype == torch.float32
    assert rounded.item() != exactly.item()
    assert rounded.item() == pytest.approx(exactly.item(), rel=0.02)


def test_inputs_are_left_out_at_random_but_all_are_to_be_told():
    net = net_of(0)
    losses = {
        objective(0, input_dropout=p).loss(net, np.arange(2), Noise(generator(seed)))[0].item()
        for p, seed in ((0.5, 0), (0.5, 0), (0.5, 1), (0.0, 0), (0.0, 1))
    }
    assert len(losses) == 3


def test_an_objective_has_batches_and_a_judge():
    found = objective()
    assert found.n_batches == 2 == len(list(found.batches(np.random.default_rng(0))))
    assert sorted(np.concatenate(list(found.batches(np.random.default_rng(0))))) == [0, 1, 2]
    assert [part.tolist() for part in found.split(np.array([2, 0]), 4)] == [[2], [0]]
    assert found.metric(net_of()) == 0.25
    rows = (INPUTS.data, INPUTS.indices, INPUTS.indptr)
    assert all(np.array_equal(*both) for both in zip(found.arrays, rows, strict=True))
    label = np.zeros(3, np.float32)
    found.tell_labels(Labelled(label, label + 1, 0.5))
    assert [part.tolist() for part in found.arrays[3:]] == [[0, 0, 0], [1, 1, 1]]


# ---- lists


@pytest.mark.parametrize("variational", [None, {"kl_steps": 20}])
def test_it_tells_what_others_of_the_same_taste_had(variational: Any):
    model = fit(two_tastes(), [], repeat_weight=0.0, variational=variational, **LEARNS)
    asked = two_tastes(seed=1)
    best = lists(predict(model, asked, 5))
    for user in range(40):
        assert set(best[f"u{user:04d}"]) == set("abcde" if user % 2 == 0 else "fghij")
    assert (
        judging.ndcg(asked, model.scores(asked)) > 0.35
    )  # One of five, in any order: 0.59 / 1 at best place.


def test_score_is_a_share_of_the_likeliest_and_what_was_had_before_on_top():
    pairs = [
        (0, 0, "purchase", 4, 60.0),
        (0, 1, "view", 2, 0.0),
        (0, 2, "wish", 9, 0.0),
        (1, 0, "purchase", 1, 0.0),
    ]
    asked = matrix(pairs, 2, ["a", "new", "c"])
    plain, repeated = (
        np.concatenate([scores for _, scores in fit(two_tastes(), [], repeat_weight=w).scores(asked)])
        for w in (0.0, 0.5)
    )
    assert plain[:, [0, 2]].max() <= 1 + 1e-12
    assert (plain[:, [0, 2]] > 0).all()
    assert plain[:, 1].tolist() == [-np.inf, -np.inf]
    expected = plain.copy()
    expected[0, 0] += 0.5 * 4 * 0.5
    expected[0, 1] = 0.5 * 2 * 0.2
    expected[1, 0] += 0.5
    np.testing.assert_allclose(repeated, expected, rtol=1e-12)


def test_the_likeliest_of_all_items_has_one():
    model = fit(two_tastes(), [], repeat_weight=0.0)
    scores = np.concatenate([scores for _, scores in model.scores(two_tastes())])
    assert scores.max(axis=1).tolist() == [1.0] * 40


def test_who_had_nothing_that_is_known_has_no_other_scores():
    asked = matrix([(0, 0, "purchase", 1, 1.0)], 2, ["new", "a"])
    assert lists(predict(fit(two_tastes(), []), asked, 5)) == {"u0000": ["new"]}


def test_an_item_of_few_users_takes_no_part():
    data = two_tastes()
    rare = [(0, 10, "purchase", 1, 1.0), (1, 10, "purchase", 1, 1.0)]
    pairs = [*data.pairs.select("user", "item", "event_type", "n_events", "days_since").rows(), *rare]
    data = matrix(pairs, 40, list("abcdefghijk"))
    assert fit(data, [], min_users=3).items_.to_list() == list("abcdefghij")
    assert fit(data, [], min_users=2).items_.to_list() == list("abcdefghijk")
    assert {
        user for user, own in lists(predict(fit(data, [], min_users=3), data, 99)).items() if "k" in own
    } == {
        "u0000",
        "u0001",
    }


def test_nothing_to_learn_from():
    data = matrix([(0, 0, "wish", 1, 1.0)], 1, ["a"])
    with pytest.raises(DataError) as caught:
        fit(data, [])
    assert str(caught.value) == (
        "autoencoder has no events to learn from: none of view, click, cart, purchase occurs with an item; set "
        "model.event_weights to the log's event types"
    )
    with pytest.raises(DataError) as caught:
        fit(two_tastes(), [], min_users=41)
    assert str(caught.value) == (
        "autoencoder has no items to learn from: 41 users had none of the 10 items, and "
        f"{two_tastes().pairs['item'].value_counts()['count'].max()} the most frequent one; set model.min_users lower"
    )


# ---- when it stops


def test_it_stops_by_the_lists_of_later_users_and_a_refit_stops_there_too():
    data, settings = two_tastes(), LEARNS | {"repeat_weight": 0.0}
    # All that the user likes, and all that the others like: the worse, the more is learned.
    right, wrong = (
        [
            replace(
                data,
                labels=pl.DataFrame({"user_id": u, "item_id": list(own)} for u, own in likes.items()).explode(
                    "item_id"
                ),
            )
        ]
        for likes in ({f"u{n:04d}": "abcde" if n % 2 == of else "fghij" for n in range(40)} for of in (0, 1))
    )
    stopped = fit(data, wrong, **settings)
    assert stopped.plan_.epochs < fit(data, right, **settings).plan_.epochs
    n_epochs = stopped.plan_.epochs
    again = fit(data, [], **settings | {"training": TRAINING | {"epochs": n_epochs}})
    stopped.fit([data], [], RANKING)
    assert stopped.plan_.epochs == n_epochs
    np.testing.assert_array_equal(stopped.net_.items.detach(), again.net_.items.detach())


def test_without_labels_every_epoch_is_run():
    unlabelled = replace(two_tastes(), labels=None)
    model = make("autoencoder", training={"epochs": 3}).fit([unlabelled], [unlabelled], RANKING)
    assert model.plan_.epochs == 3  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("per_item", "fewest", "most"),
    [(0, 37, 99), (37, 1, 99), (1_000, 1, 37)],
    ids=["large catalogue", "middling catalogue", "small catalogue"],
)
def test_no_more_lists_are_judged_than_need_be(
    monkeypatch: pytest.MonkeyPatch, per_item: int, fewest: int, most: int
):
    data = two_tastes()
    labels = data.labels.filter(pl.col("user_id") != "u0001")  # type: ignore[union-attr]
    asked = data.users.with_columns(is_asked=pl.col("user_id") != "u0002")
    # The other way round by hash.
    asked = asked.with_columns(user_hash=(39 - pl.int_range(pl.len())).cast(pl.UInt64))
    monkeypatch.setattr(judging, "_SCORES", per_item * data.items.height)
    monkeypatch.setattr(judging, "_FEWEST", fewest)
    monkeypatch.setattr(judging, "_MOST", most)
    found = judging.judged(replace(data, users=asked, labels=labels))
    chosen = found.users.filter("is_asked")["user_id"].to_list()
    assert chosen == [f"u{n:04d}" for n in range(3, 40)]
    assert set(found.labels["user_id"]) == set(chosen)  # type: ignore[index]
    nobody = replace(data, labels=data.labels.clear())  # type: ignore[union-attr]
    assert judging.ndcg(nobody, iter(())) == 0.0


# ---- labels


def by_activity(seed: int = 0) -> Inputs:
    """Who had something lately has label 1; the items say nothing."""
    rng = np.random.default_rng(seed)
    label = rng.random(200) < 0.5
    pairs: list[Pair] = [
        (user, int(item), "purchase", 1, float(rng.uniform(0, 5) if label[user] else rng.uniform(20, 80)))
        for user in range(200)
        for item in rng.choice(6, 2, replace=False)
    ]
    rows = table({"nothing": [0.0] * 200}, label.astype(int).tolist())
    return Inputs(CUTOFF, rows, matrix(pairs, 200, list("abcdef")))


def by_taste(seed: int = 0) -> Inputs:
    return Inputs(CUTOFF, customers(seed=seed), shoppers(seed=seed))


@pytest.mark.parametrize(("data", "at_least"), [(by_activity, 0.98), (by_taste, 0.85)])
def test_it_tells_labels(data: Any, at_least: float):
    training = {"epochs": 6, "batch": 64, "learning_rate": 0.03}
    model = make("autoencoder", width=16, code=4, training=training)
    # The last one has no labels yet.
    model.fit([data(), data(seed=1).as_history()], [data(seed=1)], ONCE)
    asked = data(seed=2)
    assert auroc(asked.table.label, predict(model, asked, 0)["score"].to_numpy()) > at_least


def test_beside_a_label_the_most_frequent_items_take_part(monkeypatch: pytest.MonkeyPatch):
    data = by_taste()
    counts = data.matrix.pairs["item"].value_counts().sort("count", "item", descending=[True, False])  # type: ignore[union-attr]
    monkeypatch.setattr(autoencoder, "_MOST_ITEMS", 3)
    model: Any = make("autoencoder").fit([data], [], ONCE)
    assert model.items_.to_list() == sorted(f"i{n:02d}" for n in counts["item"][:3])
    assert fit(data.matrix, []).items_.len() == 10  # type: ignore[arg-type]


def test_a_weight_of_positive_rows_makes_higher_scores():
    training = {"epochs": 4, "batch": 64, "learning_rate": 0.03}
    usual, heavy = (
        make("autoencoder", width=8, code=4, positive_weight=w, training=training).fit([by_taste()], [], ONCE)
        for w in (1.0, 8.0)
    )
    low, high = (predict(model, by_taste(), 0)["score"].mean() for model in (usual, heavy))
    assert high > low + 0.5  # type: ignore[operator]


def test_it_stops_by_the_labels_of_later_rows(tmp_path: Path):
    later = by_taste(seed=1)
    rows = later.table.frame.with_columns(label=1 - pl.col("label"))  # type: ignore[union-attr]
    flipped = replace(later, table=replace(later.table, frame=rows))  # type: ignore[type-var]
    training = {"epochs": 4, "batch": 64, "learning_rate": 0.05, "patience": 4}
    epochs = [
        make("autoencoder", training=training).fit([by_taste()], [part], ONCE).plan_.epochs  # type: ignore[attr-defined]
        for part in (later, flipped)
    ]
    assert epochs[0] > epochs[1]


def test_no_more_rows_are_judged_than_need_be(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(autoencoder, "_JUDGED_ROWS", 150)
    parts = autoencoder._thinned([by_taste(), by_taste(seed=1)])
    assert [part.table.n_rows for part in parts] == [75, 75]  # type: ignore[union-attr]
    assert parts[0].table.frame["user_id"].to_list() == [f"u{n:04d}" for n in range(0, 300, 4)]  # type: ignore[union-attr]
    assert parts[0].matrix is not None


@pytest.mark.parametrize("changes", [{"input_dropout": 1.0}, {"code": 0}, {"variational": {"kl_weight": 0}}])
def test_settings_out_of_range(changes: dict[str, Any]):
    with pytest.raises(ValidationError):
        make("autoencoder", **changes)
