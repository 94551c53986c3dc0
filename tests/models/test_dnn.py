"""The perceptron against slow formulas, and planted patterns that it must find."""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from planted import CUTOFF, ONCE, candidates, customers, make, shoppers, table
from pydantic import ValidationError

from ecbehave.errors import ArtifactError
from ecbehave.inputs.types import Inputs, TableInput
from ecbehave.metrics.classification import auroc
from ecbehave.metrics.ranking import expected_per_user
from ecbehave.models.deep import dnn
from ecbehave.models.deep.noise import Noise, generator
from ecbehave.models.deep.perceptron import Perceptron, drivers, pieces_of
from ecbehave.models.deep.row_objectives import Candidates, Labels, log_sums, ndcg, parts_of
from ecbehave.models.deep.weights import initialise

RANKING = replace(ONCE, output="ranking")
QUICK = {"epochs": 5, "batch": 64, "learning_rate": 0.03, "patience": 12}


def squares(n_rows: int = 600, seed: int = 0) -> TableInput:
    """The label is whether exactly one of two features is high, whatever the third."""
    x = np.random.default_rng(seed).normal(size=(n_rows, 3))
    label = (x[:, 0] > 0) != (x[:, 1] > 0)
    return table(dict(zip("abc", x.T.tolist(), strict=True)), label.astype(int).tolist())


def fit(train: TableInput, valid: list[TableInput], options: Any = ONCE, **settings: Any) -> Any:
    return make("dnn", **settings).fit([train], valid, options)


def scores(model: Any, data: TableInput) -> np.ndarray:
    found: np.ndarray = model.predict(data)["score"].to_numpy()
    return found


def small_net(values: np.ndarray, activation: str = "relu", layers: int = 2) -> Perceptron:
    net = Perceptron.cut_by(values.astype(np.float32), 4, 6, layers, activation)
    initialise(net, generator(3))
    for name, weight in net.named_parameters():
        # So that no bias is 0, and no norm has the weights 1.
        if weight.ndim == 1:
            weight.data += 0.1 * torch.arange(len(weight)) * (1 if "bias" in name else -1)
    return net.double()


VALUES = np.random.default_rng(1).normal(size=(50, 3)).astype(np.float32)


# ---- pieces


def test_pieces_end_at_quantiles():
    values = np.array([[0, 1, 7], [1, 2, 7], [0, 3, 7], [1, 4, 7], [1, 5, 7]], np.float32)
    flag, number, same = pieces_of(values, 2)
    assert flag.tolist() == [0, 1]
    assert number.tolist() == [1, 3, 5]
    assert same.tolist() == [7]


def test_a_number_is_told_by_how_far_it_has_come_in_each_piece():
    net = Perceptron.cut_by(VALUES, 4, 6, 0, "relu")
    asked = np.concatenate([VALUES, [[-9, 0, 9]]]).astype(np.float32)
    found = net.encoded(torch.from_numpy(asked)).numpy()
    expected = []
    for row in asked:
        encoded = []
        for column, edges in enumerate(pieces_of(VALUES, 4)):
            for low, high in pairwise(edges):
                encoded.append(min(max((row[column] - low) / (high - low), 0), 1))
        expected.append(encoded)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert net.n_pieces == (4, 4, 4)
    np.testing.assert_allclose(net.usual.numpy(), np.mean(expected[:50], axis=0), atol=1e-6)


# ---- the net


def erf(x: np.ndarray) -> np.ndarray:
    return torch.erf(torch.from_numpy(x)).numpy()


ACTIVATIONS = {
    "relu": lambda x: np.maximum(x, 0),
    "gelu": lambda x: x * (1 + erf(x / np.sqrt(2))) / 2,
    "silu": lambda x: x / (1 + np.exp(-x)),
}


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_layers_compute_what_they_are_said_to(activation: str):
    net, act = small_net(VALUES, activation), ACTIVATIONS[activation]
    w = {name: value.numpy() for name, value in net.state_dict().items()}

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        spread = np.sqrt(x.var() + 1e-5)
        return (x - x.mean()) / spread * w[f"{name}.weight"] + w[f"{name}.bias"]

    def linear(x: np.ndarray, name: str) -> np.ndarray:
        return w[f"{name}.weight"] @ x + w[f"{name}.bias"]

    expected = []
    for row in net.encoded(torch.from_numpy(VALUES).double()).numpy():
        hidden = linear(row, "into")
        for block in ("blocks.0", "blocks.1"):
            inside = act(linear(norm(hidden, f"{block}.norm"), f"{block}.into"))
            hidden = hidden + linear(inside, f"{block}.back")
        expected.append(linear(act(norm(hidden, "norm")), "out")[0])
    with torch.no_grad():
        found = net(torch.from_numpy(VALUES).double()).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize("which", ["dropout", "input_dropout"])
def test_dropout_comes_with_noise_only(which: str):
    net, x = small_net(VALUES), torch.from_numpy(VALUES).double()
    usual = net(x)
    setattr(net, which, 0.5)
    assert torch.equal(net(x), usual)
    noisy = net(x, Noise(generator(0)))
    assert not torch.equal(noisy, usual)
    assert torch.equal(net(x, Noise(generator(0))), noisy)
    setattr(net, which, 0.0)
    assert torch.equal(net(x, Noise(generator(0))), usual)


def test_the_config_says_how_much_is_dropped():
    model = fit(customers(), [], dropout=0.3, input_dropout=0.1)
    assert (model.net_.dropout, model.net_.input_dropout) == (0.3, 0.1)


# ---- what is learned


def test_it_finds_what_no_feature_tells_alone():
    train, later, asked = (squares(seed=seed) for seed in range(3))
    model = fit(train, [later], width=16, pieces=8, training=QUICK | {"epochs": 10})
    assert auroc(asked.label, scores(model, asked)) > 0.97
    share = model.importance()
    assert min(share["a"], share["b"]) > 2 * share["c"]
    by_column = model.contributions(asked)
    np.testing.assert_allclose(by_column.sum(axis=1), scores(model, asked), atol=1e-9)


@pytest.mark.parametrize("weight", [None, np.array([1.0, 3.0, 1.0, 1.0, 2.0])])
def test_loss_of_labels(weight: Any):
    net, x = small_net(VALUES), VALUES[:5]
    label = np.array([0, 1, 1, 0, 1], np.int8)
    objective = Labels(x, label, weight, 2, 0.2)
    rows = np.array([0, 1, 4])
    loss, total = objective.loss(net.float(), rows, Noise(generator(0)))
    with torch.no_grad():
        chance = torch.sigmoid(net(torch.from_numpy(x))).numpy()[rows]
    counts = (np.ones(5) if weight is None else weight)[rows]
    target = np.where(label[rows] == 1, 0.9, 0.1)
    expected = -(counts * (target * np.log(chance) + (1 - target) * np.log(1 - chance))).sum()
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert float(total) == pytest.approx(counts.sum())


def test_a_row_comes_once_in_an_epoch_in_an_order_of_the_generator():
    objective = Labels(VALUES, np.zeros(50, np.int8), None, 16, 0.0)
    first, again, other = (
        np.concatenate(list(objective.batches(np.random.default_rng(seed)))) for seed in (0, 0, 1)
    )
    assert objective.n_batches == 4 == len(list(objective.batches(np.random.default_rng(0))))
    assert first.tolist() == again.tolist() != other.tolist()
    assert sorted(first) == sorted(other) == list(range(50))


def test_shards_are_the_batch_and_none_is_empty():
    assert [part.tolist() for part in parts_of(np.arange(5), 4)] == [[0, 1], [2], [3], [4]]
    assert [part.tolist() for part in parts_of(np.arange(2), 4)] == [[0], [1]]


LENGTHS = np.array([3, 2, 4, 1])
TRUE = np.array([0, 1, 1, 0, 0, 1, 0, 0, 0, 1], np.int8)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_loss_of_lists(smoothing: float):
    net, x = small_net(VALUES), VALUES[:10]
    objective = Candidates(x, TRUE, LENGTHS, 16, smoothing)
    assert objective.n_batches == 2  # Three lists have a true item; an eighth of 16 is 2.
    lists = np.concatenate(list(objective.batches(np.random.default_rng(0))))
    assert sorted(lists) == [0, 1, 2]
    loss, total = objective.loss(net.float(), np.array([2, 0, 1]), Noise(generator(0)))
    with torch.no_grad():
        score = net(torch.from_numpy(x)).numpy().astype(float)
    expected = 0.0
    for rows in ([0, 1, 2], [5, 6, 7, 8], [9]):
        logs = score[rows] - np.log(np.exp(score[rows]).sum())
        target = TRUE[rows] / TRUE[rows].sum() * (1 - smoothing) + smoothing / len(rows)
        expected -= (target * logs).sum()
    assert (loss.item(), total) == (pytest.approx(expected, rel=1e-5), 3.0)


def test_losses_are_summed_with_32_bits_where_products_have_16():
    net, label = small_net(VALUES).float(), TRUE[np.arange(50) % 10]
    for objective in (Labels(VALUES, label, None, 8, 0.0), Candidates(VALUES, label, np.full(5, 10), 8, 0.0)):
        exact = objective.loss(net, np.arange(5), Noise(generator(0)))[0]
        with torch.autocast("cpu", torch.bfloat16):
            rounded = objective.loss(net, np.arange(5), Noise(generator(0)))[0]
        assert rounded.dtype == torch.float32
        assert rounded.item() != exact.item()
        assert rounded.item() == pytest.approx(exact.item(), rel=0.01)


def test_log_sums_do_not_overflow():
    score = torch.tensor([1000.0, 999.0, -1000.0, 3.0])
    found = log_sums(score, torch.tensor([0, 0, 1, 1]), 2)
    assert found.tolist() == pytest.approx([1000 + np.log1p(np.exp(-1)), 3.0])


def test_lists_are_judged_as_evaluate_does():
    rng = np.random.default_rng(0)
    lengths = np.array([30, 5, 1, 12])
    score, label = rng.permutation(48).astype(float), (np.arange(48) % 3 == 0).astype(np.int8)
    label[30:35], label[35] = 0, 1
    owner = np.repeat(np.arange(4), lengths)
    n_higher = [int((score[owner == owner[n]] > score[n]).sum()) for n in range(48)]
    placed = pl.DataFrame(
        {"user_id": owner.astype(str), "item_id": np.arange(48).astype(str), "n_higher": n_higher}
    ).with_columns(cutoff=pl.lit(CUTOFF), n_tied=pl.lit(1))
    expected = expected_per_user(placed.filter(pl.Series(label == 1)), [10], {})["ndcg@10"]
    assert expected.len() == 3
    assert ndcg(score, label, lengths) == pytest.approx(expected.mean())
    assert ndcg(score, np.zeros(48, np.int8), lengths) == 0.0


def test_lists_come_in_the_order_of_the_users_taste():
    train, later, asked = (candidates(seed=seed) for seed in range(3))
    model = fit(train, [later], RANKING, training=QUICK)
    best = (
        asked.frame.with_columns(score=pl.Series(scores(model, asked)))
        .sort("score")
        .group_by("user_id")
        .last()
    )
    assert set(best["item_id"]) == {"i03"}


def test_the_metric_is_that_of_the_later_rows():
    net = small_net(VALUES).float()
    label = (VALUES[:, 0] > 0).astype(np.int8)
    rows, lists = Labels(VALUES, label, None, 8, 0.0), Candidates(VALUES, label, np.full(10, 5), 8, 0.0)
    assert rows.metric(net) is None
    assert lists.metric(net) is None
    with torch.no_grad():
        score = net(torch.from_numpy(VALUES)).numpy().astype(float)
    chance, weight = 1 / (1 + np.exp(-score)), np.where(label == 1, 3.0, 1.0)
    rows.judge_on(VALUES, label, weight)
    lists.judge_on(VALUES, label, np.full(10, 5))
    expected = np.average(np.where(label == 1, np.log(chance), np.log(1 - chance)), weights=weight)
    assert rows.metric(net) == pytest.approx(expected, rel=1e-5)
    assert lists.metric(net) == pytest.approx(ndcg(score, label, np.full(10, 5)))


# ---- settings


def flipped(data: TableInput) -> TableInput:
    return replace(data, frame=data.frame.with_columns(label=1 - pl.col("label")))


def stored(model: Any, folder: Path) -> dict[str, bytes]:
    folder.mkdir()
    model.save(folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_it_stops_where_later_rows_are_told_best_and_a_refit_stops_there_too(tmp_path: Path):
    training = {"epochs": 4, "patience": 2, "batch": 64, "learning_rate": 0.05}
    model = fit(customers(), [flipped(customers(seed=1))], training=training)
    assert model.plan_.epochs == 1
    first = stored(model, tmp_path / "first")
    once = fit(customers(), [], training=training | {"epochs": 1})
    assert stored(once, tmp_path / "once") == first
    assert stored(model.fit([customers()], [], ONCE), tmp_path / "refit") == first


def test_no_more_later_rows_are_judged_than_need_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    later = customers(seed=1)
    half = replace(later, frame=later.frame.gather_every(2))
    training = {"epochs": 4, "patience": 1, "batch": 64, "learning_rate": 0.05}
    # By the odd rows alone, one would stop at once.
    odd = pl.int_range(pl.len()) % 2 == 1
    mixed = replace(
        later, frame=later.frame.with_columns(label=pl.when(odd).then(1 - pl.col("label")).otherwise("label"))
    )
    expected = stored(fit(customers(), [half], training=training), tmp_path / "half")
    monkeypatch.setattr(dnn, "_JUDGED", 150)
    assert stored(fit(customers(), [mixed], training=training), tmp_path / "mixed") == expected
    monkeypatch.setattr(dnn, "_JUDGED", 300)
    assert stored(fit(customers(), [mixed], training=training), tmp_path / "all") != expected


def test_weight_of_positive_rows():
    train = customers()
    usual, heavy = (fit(train, [], positive_weight=weight, training=QUICK) for weight in (1.0, 8.0))
    assert scores(heavy, train).mean() > scores(usual, train).mean() + 1
    rare = replace(
        train, frame=train.frame.filter((pl.col("label") == 0) | (pl.int_range(pl.len()) % 6 == 0))
    )
    balanced = fit(rare, [], positive_weight="balanced", training=QUICK)
    assert abs(scores(balanced, rare).mean()) < abs(scores(fit(rare, [], training=QUICK), rare).mean())


def test_scores_begin_at_the_rate_of_all():
    train = customers()
    training = {"epochs": 1, "learning_rate": 1e-9}
    n_yes = int(train.label.sum())
    for weight, rate in ((1.0, n_yes / (300 - n_yes)), (4.0, 4 * n_yes / (300 - n_yes))):
        model = fit(train, [], positive_weight=weight, training=training)
        assert model.net_.out.bias.item() == pytest.approx(np.log(rate), rel=1e-5)


def test_smoothed_labels_make_modest_scores():
    usual, smooth = (fit(customers(), [], label_smoothing=e, training=QUICK) for e in (0.0, 0.4))
    assert np.abs(scores(smooth, customers())).max() < 0.7 * np.abs(scores(usual, customers())).max()


@pytest.mark.parametrize(
    "changes",
    [{"activation": "swish"}, {"dropout": 1.0}, {"pieces": 0}, {"width": 0}, {"training": {"momentum": 0.9}}],
)
def test_settings_out_of_range(changes: dict[str, Any]):
    with pytest.raises(ValidationError):
        make("dnn", **changes)


class Killer:
    """Ends the process, as it were, when an epoch is over."""

    def __init__(self, at: int) -> None:
        self.at = at

    def say(self, message: str) -> None:
        self.said = message

    def learned(self, curves: Any) -> None:
        self.curves = curves

    def show(self, moment: Any) -> None:
        if moment.is_epoch_end and moment.epoch == self.at:
            raise KeyboardInterrupt


@pytest.mark.parametrize("kind", ["dnn", "autoencoder"])
def test_a_killed_fit_goes_on_and_ends_as_it_would_have(kind: str, tmp_path: Path):
    data = Inputs(CUTOFF, customers(), shoppers()) if kind == "autoencoder" else customers()
    training = {"epochs": 4, "batch": 64}
    whole = make(kind, training=training).fit([data], [data], ONCE)
    kept = replace(ONCE, checkpoints=tmp_path / "kept")
    with pytest.raises(KeyboardInterrupt):
        make(kind, training=training).fit([data], [data], replace(kept, watcher=Killer(2)))
    watcher = Killer(99)
    resumed = make(kind, training=training).fit([data], [data], replace(kept, watcher=watcher))
    assert watcher.curves.name == kind
    assert watcher.said.startswith(f"train: {kind}: goes on in epoch 2")
    assert stored(resumed, tmp_path / "resumed") == stored(whole, tmp_path / "whole")


# ---- explanations


def test_the_integral_comes_near_to_the_difference_of_the_scores():
    net, x = small_net(VALUES, "silu"), torch.from_numpy(VALUES).double()
    with torch.no_grad():
        difference = net(x) - net.score(net.usual[None])
    coarse, fine = (drivers(net, x, steps).sum(1) for steps in (16, 256))
    assert (coarse - difference).abs().max() < 0.05 * difference.abs().max()
    assert (fine - difference).abs().max() < 1e-3 * difference.abs().max()


def test_a_column_that_the_net_does_not_look_at_drives_nothing():
    net = small_net(VALUES)
    net.into.weight.data[:, net.source == 1] = 0
    found = drivers(net, torch.from_numpy(VALUES).double()).numpy()
    assert np.abs(found[:, 1]).max() == 0
    assert np.abs(found[:, [0, 2]]).min() > 0


def test_what_the_integral_leaves_is_handed_out_by_size():
    model = fit(squares(), [], training=QUICK)
    values = squares(seed=1).values
    raw = drivers(model.net_.double(), torch.from_numpy(values).double()).numpy()
    model.net_.float()
    found = model.contributions(squares(seed=1))
    gap = found.sum(axis=1) - found[:, -1] - raw.sum(axis=1)
    assert np.abs(gap).max() > 1e-3
    expected = raw + gap[:, None] * np.abs(raw) / np.abs(raw).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found[:, :-1], expected, atol=1e-5)


def test_a_net_that_tells_nothing_explains_nothing():
    model = fit(customers(), [])
    model.net_.out.weight.data.zero_()
    model._weigh(customers().values)
    assert set(model.importance().values()) == {1 / 5}
    found = model.contributions(customers())
    assert np.abs(found[:, :-1]).max() == 0
    np.testing.assert_allclose(found.sum(axis=1), scores(model, customers()), atol=1e-9)


# ---- storage


def test_pieces_that_do_not_fit_the_columns_are_refused(tmp_path: Path):
    fit(customers(), []).save(tmp_path)
    path = tmp_path / "dnn.json"
    content = json.loads(path.read_text())
    content["pieces"].pop()
    path.write_text(json.dumps(content))
    with pytest.raises(ArtifactError) as caught:
        type(make("dnn")).load(tmp_path, make("dnn").config)
    assert str(caught.value) == (
        f"model file {path} was refused: there are not as many pieces and shares as columns; train again, or take the "
        f"folder from its source"
    )
