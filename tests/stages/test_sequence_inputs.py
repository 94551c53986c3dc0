"""Sequences through the stages: what is stored at each cutoff, and that every stage hands it on."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from planted import CUTOFF, ONCE, candidates, event_log, known_before, known_events, visitors
from recent_kind import registered
from shops import PREFERENCE, Shop, data_files, shop_log
from stage_runs import Runs

from ecbehave import memory
from ecbehave.artifacts import Artifact
from ecbehave.errors import ConfigError
from ecbehave.inputs.sequence import read_sequence
from ecbehave.inputs.types import Inputs, SequenceInput
from ecbehave.models import input_types, model_class
from ecbehave.models.making import make
from ecbehave.stages import features
from ecbehave.stages.input_writer import InputWriter, Request
from ecbehave.tables import TableWriters
from ecbehave.tasks import make_task
from ecbehave.windows import held_out

RECENT = {"model": {"kind": "recent"}}
LISTS = PREFERENCE | RECENT
CHURN = {"task": {"kind": "churn", "active_within": "21d", "horizon": "14d"}, **RECENT}
CATEGORIES = {
    "task": {
        "kind": "purchase",
        "target": "category",
        "candidates": {"recent": "14d", "popular": 2},
        "active_within": "21d",
        "horizon": "14d",
    },
    **RECENT,
}
ALL = ("ingest", "clean", "features", "train", "evaluate", "predict")


@pytest.fixture(autouse=True, scope="module")
def _registered() -> Iterator[None]:
    with registered():
        yield


def done(
    folder: Path, settings: dict[str, Any], *stages: str, threads: int = 1, log: pl.DataFrame | None = None
) -> Runs:
    shop = Shop(folder)
    shop.write(shop_log() if log is None else log)
    shop.write_items()
    runs = Runs(shop, shop.config(**settings), threads=threads)
    runs.do(*(stages or ALL))
    return runs


@pytest.fixture(scope="module")
def listing(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    folder = tmp_path_factory.mktemp("listing")
    sessions = pl.DataFrame(
        {"session_id": ["s1", "s2", "s3"], "item_ids": [["i03", "i01"], ["new"], ["i07"]]}
    )
    sessions.write_parquet(folder / "sessions.parquet")
    settings = LISTS | {"predict": {"sessions": str(folder / "sessions.parquet"), "k": 5}}
    return done(folder / "shop", settings)


def inputs_of(runs: Runs) -> Artifact:
    found = runs.context().workspace.read("shop/inputs")
    assert found is not None
    return found


def clean_log(runs: Runs) -> pl.DataFrame:
    return pl.read_parquet(runs.shop.workspace / "clean" / "events" / "*.parquet")


def known(data: SequenceInput) -> list[tuple[Any, ...]]:
    return known_events(data).select("user_id", "ts", "event_type", "item", "category").rows()


def before(log: pl.DataFrame, cutoff: datetime) -> list[tuple[Any, ...]]:
    columns = ["user_id", "ts", "event_type", "item_id", "category"]
    rows = log.filter(pl.col("ts") < cutoff).sort("user_hash", *columns)
    return rows.select(columns).rows()


def last_items(log: pl.DataFrame, cutoff: datetime) -> dict[str, str]:
    """Return each user's last item before a cutoff."""
    rows = before(log.filter(pl.col("item_id").is_not_null()), cutoff)
    return {row[0]: row[3] for row in rows}


def test_at_every_cutoff_it_is_the_log_before_it(listing: Runs) -> None:
    inputs, log = inputs_of(listing), clean_log(listing)
    for split in ("train", "validation", "test"):
        for data in features.read_inputs(inputs, "sequence", split, "UTC"):
            assert known(data) == before(log, data.cutoff)
            assert set(data.now.tolist()) == {int(data.cutoff.timestamp() * 1e6)}
            assert data.target == "item"
    newest = features.read_newest(inputs, ["table", "matrix", "sequence"])
    assert newest is not None
    assert newest.sequence is not None
    assert newest.matrix is not None
    assert known(newest.sequence) == before(log, newest.cutoff)
    assert newest.sequence.log is data.log
    assert newest.table is None


def test_what_no_request_may_know_is_not_stored(listing: Runs, tmp_path: Path) -> None:
    context, log = listing.context(), clean_log(listing)
    stored = context.workspace.read("clean")
    assert stored is not None
    cutoffs = [datetime(2024, 3, day, tzinfo=UTC) for day in (1, 20)]
    with TableWriters(tmp_path) as writers:
        facts = features.facts_before(stored, cutoffs[0])
        writer = InputWriter(context, make_task(context.config.task), stored, facts, writers)
        writer.build({"sequence": [Request(f"{cutoff.day}", cutoff) for cutoff in cutoffs]})
    for cutoff in cutoffs:
        data = read_sequence(tmp_path / "sequence", f"{cutoff.day}", cutoff)
        assert known(data) == before(log, cutoff)
    assert data.log.n_events == len(before(log, cutoffs[1])) < log.height


def test_prices_of_the_log_are_kept_to_four_digits(listing: Runs) -> None:
    (data,) = features.read_inputs(inputs_of(listing), "sequence", "test", "UTC")
    is_known = data.log.item >= 0
    number = data.log.items.str.slice(1).cast(pl.Float64).to_numpy()
    np.testing.assert_allclose(data.log.price[is_known], 5 + number[data.log.item[is_known]] * 0.5, rtol=1e-6)


def given(runs: Runs, part: str) -> Any:
    file = runs.shop.workspace / "shop" / "model" / part / "recent.json"
    return json.loads(file.read_text(encoding="utf-8"))["given"]


def n_before(runs: Runs, place: str) -> int:
    return clean_log(runs).filter(pl.col("ts") < datetime.fromisoformat(f"2024-{place}T00:00:00Z")).height


def test_a_ranking_is_fitted_on_matrix_and_sequences_and_refitted_on_the_newest(listing: Runs) -> None:
    ranked = ["matrix", "labels"]
    train, valid = given(listing, "fitted")
    (first, *_), (second, *_) = train
    assert [part[2:] for part in train] == [ranked, ["matrix"]]
    assert [part[2:] for part in valid] == [ranked]
    assert [part[1] for part in train] == [n_before(listing, first), n_before(listing, second)]
    refit, nothing = given(listing, "refit")
    assert nothing == []
    assert [part[2:] for part in refit] == [ranked, ranked, ranked, ["matrix"]]
    assert refit[-1][1] == n_before(listing, refit[-1][0]) > refit[-2][1]


def scores(runs: Runs, name: str = "scores.parquet") -> pl.DataFrame:
    (file,) = (runs.shop.workspace / "shop" / "predictions").rglob(name)
    return pl.read_parquet(file)


def test_lists_begin_with_the_last_item(listing: Runs) -> None:
    newest = features.read_newest(inputs_of(listing), ["sequence"])
    assert newest is not None
    expected = last_items(clean_log(listing), newest.cutoff)
    first = scores(listing).filter(pl.col("rank") == 1)
    assert first.height > 20
    assert dict(first.select("user_id", "item_id").rows()) == {u: expected[u] for u in first["user_id"]}
    assert first["score"].to_list() == [1.0] * first.height
    assert not list((listing.shop.workspace / "shop" / "predictions").rglob("*.npy"))


def test_sessions_are_sequences(listing: Runs) -> None:
    found = scores(listing, "sessions.parquet").filter(pl.col("score").is_not_null())
    assert found.select("session_id", "item_id", "score").rows() == [
        ("s1", "i01", 1.0),
        ("s1", "i03", 0.5),
        ("s3", "i07", 1.0),
    ]


def test_threads_and_buckets_do_not_matter(
    listing: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "FEWEST_ROWS", 1)
    monkeypatch.setattr(memory, "MOST_ROWS", 700)
    other = done(tmp_path / "other", LISTS, "ingest", "clean", "features", threads=2)
    stored, again = (data_files(r.shop.workspace / "shop" / "inputs" / "sequence") for r in (listing, other))
    assert len(stored) > 10
    assert stored == again


def test_binary_questions_have_a_table_beside_it(tmp_path: Path) -> None:
    runs = done(tmp_path / "shop", CHURN)
    assert not (runs.shop.workspace / "shop" / "inputs" / "matrix").exists()
    train, valid = given(runs, "fitted")
    assert [part[2:] for part in train] == [["table"]] * 4 + [[]]
    assert [part[2:] for part in valid] == [["table"]]
    refit, _ = given(runs, "refit")
    assert [part[2:] for part in refit] == [["table"]] * 6 + [[]]
    newest = features.read_newest(inputs_of(runs), ["table", "sequence"])
    assert newest is not None
    assert refit[-1][1] == len(before(clean_log(runs), newest.cutoff))
    last = {row[0]: row[1] for row in before(clean_log(runs), newest.cutoff)}
    found = scores(runs)
    days = [-(newest.cutoff - last[user]).total_seconds() / 86_400 for user in found["user_id"]]
    np.testing.assert_allclose(found["score"], days, rtol=1e-9)


def test_pairs_have_table_and_matrix_beside_it(tmp_path: Path) -> None:
    runs = done(tmp_path / "shop", CATEGORIES)
    (data,) = features.read_inputs(inputs_of(runs), "sequence", "test", "UTC")
    assert data.target == "category"
    train, _ = given(runs, "fitted")
    assert [part[2:] for part in train] == [["table", "matrix"]] * 4 + [["matrix"]]
    newest = features.read_newest(inputs_of(runs), ["sequence"])
    assert newest is not None
    ago: dict[tuple[str, str], int] = {}
    events: dict[str, int] = {}
    for user, _, _, _, category in reversed(before(clean_log(runs), newest.cutoff)):
        events[user] = events.get(user, 0) + 1
        ago.setdefault((user, category), events[user])
    found = scores(runs)
    assert found["category"].n_unique() == 4
    pairs = found.select("user_id", "category").rows()
    expected = [np.log1p(1 / ago[pair]) if pair in ago else 0.0 for pair in pairs]
    np.testing.assert_allclose(found["score"], expected, rtol=1e-9)


def test_a_vote_with_trees_is_told_apart_by_family(tmp_path: Path) -> None:
    """Permutation shuffles the table of the one, and leaves the sequences of the other alone."""
    net = {
        "kind": "rnn",
        "width": 8,
        "layers": 1,
        "training": {"epochs": 1},
        "pretrain": {"epochs": 0, "horizons": []},
    }
    members = [net, {"kind": "boosting", "max_trees": 5, "min_rows_per_leaf": 5}]
    settings = CHURN | {
        "model": {"kind": "voting", "members": members},
        "evaluate": {"bootstrap": 100, "permutation_rows": 1_000},
    }
    runs = done(tmp_path / "shop", settings, *ALL[:-1])
    metrics = json.loads((runs.shop.workspace / "shop/evaluation/metrics.json").read_text(encoding="utf-8"))
    assert metrics["permutation"]


def test_leave_one_out_is_the_lives_that_were_cut(tmp_path: Path) -> None:
    settings = LISTS | {
        "split": {"kind": "leave_one_out"},
        "task": {"kind": "preference", "event": "purchase"},
    }
    # Who has too few purchases is not asked, and known to the end.
    few = pl.DataFrame({"user": "few", "item": "i01", "kind": "purchase", "time": "2024-04-29 12:00:00"})
    raw = pl.concat([shop_log(), few], how="diagonal")
    runs = done(tmp_path / "shop", settings, "ingest", "clean", "features", "train", log=raw)
    inputs, log = inputs_of(runs), clean_log(runs)
    end = datetime.fromisoformat(inputs.info["end"])
    is_item = pl.col("item_id").is_not_null() & (pl.col("event_type") == "purchase")
    for split, n_later in (("validation", 1), ("test", 0)):
        (data,) = features.read_inputs(inputs, "sequence", split, "UTC")
        cut = held_out(log.lazy(), is_item, n_later, data.cutoff, end)
        user = np.repeat(np.arange(data.now.size), data.ends - data.starts)
        now = pl.from_epoch(pl.Series(data.now), "us").dt.replace_time_zone("UTC").gather(user)
        moved = [
            (row[0], row[1] + (data.cutoff - instant), *row[2:])
            for row, instant in zip(known(data), now.to_list(), strict=True)
        ]
        assert moved == before(cut.history.collect(), data.cutoff)
        n_own = (data.now != int(end.timestamp() * 1e6)).sum()
        assert n_own >= cut.population.collect().height > 30
    # The refit knows every event on its own day.
    newest = features.read_newest(inputs, ["sequence"])
    assert newest is not None
    assert newest.sequence is not None
    assert known(newest.sequence) == before(log, end)
    refit, _ = given(runs, "refit")
    assert [part[1] for part in refit] == [len(before(log, end))]


def test_scores_of_items_are_looked_up_for_candidates() -> None:
    sequence = known_before(
        event_log([(0, "i05", "view", 2.0), (0, "i03", "view", 1.0), (0, "i07", "view", 0)])
    )
    data = Inputs(CUTOFF, candidates(3), visitors(3), sequence)
    config = model_class("recent").config_class.model_validate({"kind": "recent"})
    model = make(config, "ranking").fit([data], [], ONCE)
    assert not model.reads_table
    none = -np.inf
    assert model.score(data).tolist() == [none, 1, 0.5, none, none, *[none] * 10]
    assert model.lists(data, 5).rows() == [("u0000", "i03", 1.0), ("u0000", "i05", 0.5)]
    ((users, scores),) = model.item_scores(data)
    assert users.tolist() == [0, 1, 2]
    assert scores.sum() == 1.5


def test_nothing_is_stored_for_kinds_that_read_none_of_it(tmp_path: Path) -> None:
    runs = done(tmp_path / "shop", CHURN | {"model": {"kind": "rfm"}}, "ingest", "clean", "features")
    assert not (runs.shop.workspace / "shop" / "inputs" / "sequence").exists()
    assert features.read_newest(inputs_of(runs), ["table"]) is None


def test_sequences_need_memory(tmp_path: Path) -> None:
    needed = []
    for kind in ("rfm", "recent"):
        runs = done(tmp_path / kind, CHURN | {"model": {"kind": kind}}, "ingest", "clean")
        runs.memory_bytes = 1_000_000
        with pytest.raises(ConfigError, match="too little for features") as error:
            runs.do("features")
        found = re.search(r"it takes (\d+)MB", str(error.value))
        assert found is not None
        needed.append(int(found[1]))
    # 200 bytes for each of 3,386 events, in two threads' worth.
    assert needed[1] - needed[0] in (1, 2)


@pytest.mark.parametrize(
    ("output", "forms"),
    [
        ("binary", {"table", "sequence"}),
        ("pairs", {"table", "matrix", "sequence"}),
        ("ranking", {"matrix", "sequence"}),
    ],
)
def test_what_says_who_is_asked_is_read_too(output: str, forms: set[str]) -> None:
    config = model_class("recent").config_class.model_validate({"kind": "recent"})
    assert input_types(config, "a task", output, "model") == forms
