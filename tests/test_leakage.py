"""Nothing that happens at or after a cutoff may change what was known before it: inputs, models, scores.

Two logs that are the same before a cutoff and different after it go through the same pipeline. The last section
plants leaks, and sees that these very comparisons find each of them.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml
from planted import known_events
from recent_kind import registered
from shops import ROOT, Shop, shop_log
from stage_runs import Runs

from ecbehave.inputs import sequence_writer, timeline
from ecbehave.inputs.histories import Timelines
from ecbehave.inputs.market import MarketSums
from ecbehave.inputs.matrix import read_matrix
from ecbehave.inputs.pair_market import PairMarketSums
from ecbehave.inputs.pairs import Asking, PairTable
from ecbehave.inputs.sequence import read_sequence
from ecbehave.models import COMPOSITE, KINDS, model_class, reads
from ecbehave.schema import EVENT_ORDER
from ecbehave.stages import clean, features, input_writer, weeks
from ecbehave.stages.bots import Past
from ecbehave.stages.candidates import CandidateLists
from ecbehave.stages.input_writer import InputWriter, Request

TEST_CUTOFF, VALIDATION_CUTOFF = "2024-04-16 00:00:00", "2024-04-02 00:00:00"
#: A day whose cutoff is the test cutoff: the judged model may answer, since it knows nothing from then on.
AS_OF = "2024-04-15"

TASKS: dict[str, dict[str, Any]] = {
    "churn": {"kind": "churn", "active_within": "21d", "horizon": "14d"},
    "purchase": {"kind": "purchase", "active_within": "21d", "horizon": "14d"},
    "purchase_category": {
        "kind": "purchase",
        "target": "category",
        "candidates": {"recent": "28d", "popular": 2},
        "active_within": "21d",
        "horizon": "14d",
    },
    "preference": {
        "kind": "preference",
        "candidates": {"recent": "28d", "similar": 3, "popular": 2},
        "active_within": "28d",
        "horizon": "14d",
    },
}
QUESTIONS = {"churn": "binary", "purchase": "binary", "purchase_category": "pairs", "preference": "ranking"}
CASES = [
    (t, k)
    for t, question in QUESTIONS.items()
    for k in KINDS
    if reads(model_class(k), question) or (k in COMPOSITE and t in ("churn", "preference"))
    # They share everything but the encoder with rnn.
    if k not in ("cnn", "transformer") or t in ("churn", "preference")
    # To a kind, a purchase of anything is the same question as churn.
    if t != "purchase" or k in ("rfm", "boosting")
]
#: A net over sequences that learns something in a moment.
SMALL_NET = {
    "width": 8,
    "layers": 1,
    "length": 16,
    "pretrain": {"epochs": 1, "horizon_epochs": 1},
    "training": {"epochs": 2},
}
#: Settings that let a kind learn from a small log; other kinds take their defaults.
SMALL: dict[str, dict[str, Any]] = {
    "random_forest": {"trees": 40, "min_rows_per_leaf": 5},
    "adaboost": {"max_trees": 40, "min_rows_per_leaf": 5},
    "boosting": {"max_trees": 40, "min_rows_per_leaf": 5},
    "item_knn": {"min_users": 2},
    "ease": {"min_users": 2},
    "cnn": SMALL_NET,
    "rnn": SMALL_NET,
    "transformer": SMALL_NET,
    "dnn": {"layers": 1, "width": 8, "pieces": 4, "training": {"epochs": 2}},
    "autoencoder": {"width": 8, "code": 4, "training": {"epochs": 2}},
    "bagging": {"base": {"kind": "boosting", "max_trees": 20, "min_rows_per_leaf": 5}, "n_models": 2},
}
SMALL["with_embeddings"] = {
    "base": {"kind": "boosting"} | SMALL["boosting"],
    "net": {"kind": "rnn"} | SMALL_NET,
}
SMALL |= {
    kind: {"members": [{"kind": k} | SMALL[k] for k in ("boosting", "adaboost")]}
    for kind in ("voting", "stacking")
}
INPUTS, MODELS = ("ingest", "clean", "features"), ("ingest", "clean", "features", "train")


# Logs that differ from a cutoff on.


def log_with_edges() -> pl.DataFrame:
    """The small shop's log, with events at the cutoffs to the second, and in the second before them."""
    log = shop_log()
    edges = [
        log.filter(pl.col("user").is_in([f"u{n:03d}" for n in range(0, 60, step)]))
        .unique("user", keep="last", maintain_order=True)
        .with_columns(time=pl.lit(time), kind=pl.lit("purchase"))
        for step, time in [
            (3, TEST_CUTOFF),
            (4, "2024-04-15 23:59:59"),
            (3, VALIDATION_CUTOFF),
            (4, "2024-04-01 23:59:59"),
        ]
    ]
    return pl.concat([log, *edges]).sort("time", "user", "kind", "item", "order", maintain_order=True)


def _split(log: pl.DataFrame, cutoff: str) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Cut a log in what was before the cutoff, what was from then on, and its last row, which ends the log."""
    last = log.sort("time", maintain_order=True).tail(1)
    rest = log.sort("time", maintain_order=True).head(-1)
    return rest.filter(pl.col("time") < cutoff), rest.filter(pl.col("time") >= cutoff), last


def scrambled(log: pl.DataFrame, cutoff: str) -> pl.DataFrame:
    """Give every event from the cutoff on another user, item, type, price and order; some rows come twice."""
    before, after, last = _split(log, cutoff)
    rng, n = np.random.default_rng(7), after.height
    users = np.array([f"u{i:03d}" for i in range(60)] + [f"new{i}" for i in range(20)])
    items = np.array([f"i{i:02d}" for i in range(20, 40)] + [f"x{i}" for i in range(30)])
    later = after.with_columns(
        user=pl.Series(rng.choice(users, n)),
        item=pl.Series(rng.choice(items, n)),
        kind=pl.Series(rng.choice(["view", "cart", "purchase", "return", "wish"], n)),
        price=pl.Series(rng.choice([0.01, 3.0, 900.0, 1e7], n)),
        quantity=pl.Series(rng.integers(1, 50, n)),
        order=pl.Series(rng.choice(["a", "b", "c"], n)),
    )
    robot = later.head(200).with_columns(user=pl.lit("u004"), time=pl.lit(cutoff))
    return pl.concat([before, later, later.head(40), robot, last])


def ended(log: pl.DataFrame, cutoff: str) -> pl.DataFrame:
    """Drop every event from the cutoff on but the very last, which says how far the log goes."""
    before, _, last = _split(log, cutoff)
    return pl.concat([before, last])


# What may not depend on them.


class Leaky(Shop):
    """A shop in which every rule of `clean` that looks at other rows has something to do."""

    def __init__(self, folder: Path, log: pl.DataFrame) -> None:
        super().__init__(folder)
        self.write(log)
        self.write_items()
        self.settings |= {
            "clean": {
                "max_events_per_user_day": 20,
                "outliers": {
                    "price": {"quantile": 0.9, "action": "clip"},
                    "amount": {"quantile": 0.98, "action": "quarantine"},
                },
            },
            "predict": {"as_of": AS_OF},
        }

    def do(self, task: str, kind: str, *stages: str) -> Path:
        """Run stages; returns the folder of the run's artifacts."""
        settings = {"task": TASKS[task], "model": {"kind": kind} | SMALL.get(kind, {})}
        # Kinds that read the same share the inputs; of models and scores, those of the last one are there.
        name = "-".join([task, *features.input_types(Runs(self, self.config(**settings)).context())])
        Runs(self, self.config(name, **settings)).do(*stages)
        return self.workspace / name


def _manifest(folder: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    return manifest


def _content(folder: Path, *parts: str) -> dict[str, bytes]:
    """Return the files below some folders, by their path."""
    files = [f for part in parts for f in sorted((folder / part).rglob("*")) if f.is_file()]
    return {f.relative_to(folder).as_posix(): f.read_bytes() for f in files}


def inputs_before(run: Path, split: str) -> dict[str, Any]:
    """Return all that the inputs hold of the time before the first cutoff of a split.

    Earlier splits have labels, which end by then; of the first cutoff itself it is all but its labels.
    """
    folder = run / "inputs"
    info = _manifest(folder)["info"]
    earlier = {"validation": ["train"], "test": ["train", "validation"]}[split]
    parts = [f"{kind}/{s}" for kind in ("table", "matrix") for s in earlier]
    found: dict[str, Any] = dict(_content(folder, *parts))
    for file in sorted((folder / "table" / split).glob("*.parquet"))[:1]:
        found[f"table/{split}/{file.name}"] = pl.read_parquet(file).drop("label")
    for cutoff in sorted((folder / "matrix" / split).glob("*"))[:1]:
        of_cutoff = _content(folder, f"matrix/{split}/{cutoff.name}")
        found |= {
            name: content for name, content in of_cutoff.items() if not name.endswith("/labels.parquet")
        }
    found |= _sequences(folder, earlier, split)
    return found | {key: info[key] for key in ("splits", "facts", "features")}


def _sequences(folder: Path, earlier: Sequence[str], split: str) -> dict[str, pl.DataFrame]:
    """Return the events that may be read at each cutoff; numbers of names and users may differ."""
    stored = sorted((folder / "sequence").glob("*/*/ends.npy"))
    known = {file.parent.relative_to(folder / "sequence").as_posix(): file.parent for file in stored}
    asked = [place for place in known if place.split("/")[0] in earlier]
    asked += [place for place in known if place.split("/")[0] == split][:1]
    return {
        f"sequence/{place}": known_events(
            read_sequence(
                folder / "sequence", place, datetime.fromisoformat(f"{known[place].name}T00:00:00Z")
            )
        )
        for place in asked
    }


def _is_same(a: Any, b: Any) -> bool:
    return a.equals(b) if isinstance(a, pl.DataFrame) and isinstance(b, pl.DataFrame) else bool(a == b)


def differing(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    """Return the names of what is not exactly the same, to the byte and to the last bit of every number."""
    assert len(a) > 3
    return [name for name in sorted(a.keys() | b.keys()) if not _is_same(a.get(name), b.get(name))]


def first_cutoff(run: Path, split: str) -> datetime:
    return datetime.fromisoformat(_manifest(run / "inputs")["info"]["splits"][split][0]["cutoff"])


def judged_model(run: Path) -> dict[str, bytes]:
    return _content(run / "model", "fitted", "baseline")


def test_scores(run: Path) -> pl.DataFrame:
    scores = pl.read_parquet(run / "evaluation" / "test_scores.parquet")
    scores = scores.filter(pl.col("cutoff") == first_cutoff(run, "test"))
    assert scores.height > 0
    return scores.select("user_id", "cutoff", pl.col("^(baseline_)?(score|probability)$"))


test_scores.__test__ = False  # type: ignore[attr-defined]


def nightly_scores(run: Path) -> bytes:
    return (run / "predictions" / f"as_of={AS_OF}" / "scores.parquet").read_bytes()


# The test cutoff, for every task and every kind.


@dataclass(frozen=True)
class Shops:
    """The same shop up to the test cutoff, with three futures."""

    real: Leaky
    scrambled: Leaky
    ended: Leaky


@pytest.fixture(scope="module")
def shops(tmp_path_factory: pytest.TempPathFactory) -> Shops:
    folder, log = tmp_path_factory.mktemp("leakage"), log_with_edges()
    return Shops(
        Leaky(folder / "real", log),
        Leaky(folder / "scrambled", scrambled(log, TEST_CUTOFF)),
        Leaky(folder / "ended", ended(log, TEST_CUTOFF)),
    )


@pytest.mark.parametrize(("task", "kind"), CASES)
def test_what_happens_from_the_test_cutoff_on_changes_nothing_before_it(
    shops: Shops, task: str, kind: str
) -> None:
    stages = (*MODELS, "evaluate", "predict")
    real, other = (shop.do(task, kind, *stages) for shop in (shops.real, shops.scrambled))
    ended = shops.ended.do(task, kind, *MODELS, "predict")
    assert differing(inputs_before(real, "test"), inputs_before(other, "test")) == []
    assert differing(judged_model(real), judged_model(other)) == []
    assert nightly_scores(real) == nightly_scores(other) == nightly_scores(ended)
    assert _manifest(real / "predictions" / f"as_of={AS_OF}")["info"]["model"] == "fitted"
    if QUESTIONS[task] != "ranking":
        assert test_scores(real).width == 6
        assert test_scores(real).equals(test_scores(other))
    assert _refit(real) != _refit(other) or kind in UNFITTED, "the logs do differ from the test cutoff on"


#: Kinds that learn nothing: the refit on later windows is the same empty file.
UNFITTED = ("popularity", "personal_frequency")


def _refit(run: Path) -> dict[str, bytes]:
    return _content(run / "model", "refit")


def test_the_rules_that_look_at_other_rows_had_something_to_do(shops: Shops) -> None:
    """Otherwise the tests above would say nothing about them."""
    shops.real.do("churn", "base_rate", *INPUTS)
    shops.scrambled.do("churn", "base_rate", *INPUTS)
    real, other = (_manifest(shop.workspace / "clean") for shop in (shops.real, shops.scrambled))
    assert other["counts"]["quarantined.bot_like"] > real["counts"].get("quarantined.bot_like", 0) + 100
    assert real["counts"]["quarantined.outlier_amount"] > 0
    assert other["counts"]["quarantined.outlier_amount"] > real["counts"]["quarantined.outlier_amount"]
    assert other["counts"]["duplicates"] > real["counts"]["duplicates"] > 0
    assert set(other["info"]["first_seen"]) - set(real["info"]["first_seen"]) == {"wish", "return"}
    clipped = [
        pl.read_parquet(shop.workspace / "clean" / "events" / "*.parquet").filter(pl.col("price") > 22)
        for shop in (shops.real, shops.scrambled)
    ]
    assert [c.height > 0 for c in clipped] == [True, True]


# The validation cutoff.


@pytest.mark.parametrize("change", [scrambled, ended])
@pytest.mark.parametrize(
    ("task", "kind"),
    [
        ("churn", "rfm"),
        ("purchase", "rfm"),
        ("preference", "item_knn"),
        ("preference", "boosting"),
        ("preference", "recent"),
    ],
)
def test_what_happens_from_the_validation_cutoff_on_changes_no_train_input(
    tmp_path: Path, shops: Shops, task: str, kind: str, change: Callable[[pl.DataFrame, str], pl.DataFrame]
) -> None:
    other = Leaky(tmp_path / "other", change(log_with_edges(), VALIDATION_CUTOFF)).do(task, kind, *INPUTS)
    real = shops.real.do(task, kind, *INPUTS)
    assert differing(inputs_before(real, "validation"), inputs_before(other, "validation")) == []
    assert differing(inputs_before(real, "test"), inputs_before(other, "test")) != []


# What a rule of `clean` may learn, one rule at a time.


def _planted(cutoff: str, **columns: pl.Expr | str | float) -> pl.DataFrame:
    """Return 300 rows of the five hours from a cutoff on, each of a user of its own unless told otherwise."""
    start = pl.lit(cutoff).str.to_datetime()
    row = {"user": _numbered("p"), "item": "i01", "kind": "view", "price": 5.0, "quantity": 1} | columns
    return (
        pl.DataFrame({"n": range(300)})
        .with_columns(
            pl.lit(v).alias(k) if not isinstance(v, pl.Expr) else v.alias(k) for k, v in row.items()
        )
        .with_columns(
            time=(start + pl.duration(minutes="n")).dt.strftime("%Y-%m-%d %H:%M:%S"),
            order=pl.lit(None, pl.String),
            quantity=pl.col("quantity").cast(pl.Int64),
        )
        .select("user", "item", "time", "kind", "price", "quantity", "order")
    )


def _numbered(prefix: str, n_different: int = 300) -> pl.Expr:
    return prefix + (pl.col("n") % n_different).cast(pl.String)


#: Rows to add after the test cutoff, and the count of `clean` that shows that they were seen.
PLANTS: dict[str, tuple[pl.DataFrame, str]] = {
    "a bot": (_planted(TEST_CUTOFF, user="u002"), "quarantined.bot_like"),
    "huge prices": (_planted(TEST_CUTOFF, kind="purchase", price=5000.0), "quarantined.outlier_amount"),
    "absurd prices": (_planted(TEST_CUTOFF, price=1e9), "quarantined.absurd_price"),
    "new event types": (_planted(TEST_CUTOFF, kind=_numbered("kind", 20)), "clean"),
    "new items": (_planted(TEST_CUTOFF, item=_numbered("a new one ")), "clean"),
    "duplicates": (log_with_edges().filter(pl.col("time") >= TEST_CUTOFF), "duplicates"),
}


@pytest.mark.parametrize("plant", PLANTS)
@pytest.mark.parametrize(("task", "kind"), [("churn", "rfm"), ("preference", "item_knn")])
def test_rows_planted_after_the_test_cutoff_change_no_earlier_input(
    tmp_path: Path, shops: Shops, task: str, kind: str, plant: str
) -> None:
    rows, counted = PLANTS[plant]
    log = log_with_edges()
    planted = Leaky(tmp_path / "planted", pl.concat([log, rows.select(log.columns)]))
    real, other = (shop.do(task, kind, *INPUTS) for shop in (shops.real, planted))
    before, after = (_manifest(r.parent / "clean")["counts"] for r in (real, other))
    assert after[counted] >= before.get(counted, 0) + 20
    assert differing(inputs_before(real, "test"), inputs_before(other, "test")) == []


def test_a_bot_in_the_afternoon_leaves_the_morning_as_it_was(tmp_path: Path) -> None:
    """A cutoff at noon lies within the bot's day."""
    split = {"step": "12h", "train": 2}
    task = {"kind": "purchase", "active_within": "21d", "horizon": "12h"}
    log = log_with_edges()
    morning, afternoon = (_planted(f"2024-04-29 {t}:00", user="u002") for t in ("06:00", "12:00"))
    morning = morning.head(10)
    runs = []
    for name, rows in (("real", morning), ("planted", pl.concat([morning, afternoon]))):
        shop = Leaky(tmp_path / name, pl.concat([log, rows.select(log.columns)]))
        Runs(shop, shop.config(task=task, split=split, model={"kind": "rfm"})).do(*INPUTS)
        runs.append(shop.workspace / "shop")
    assert _manifest(runs[0] / "inputs")["info"]["splits"]["test"][0]["cutoff"].startswith("2024-04-29T12:00")
    assert _manifest(runs[1].parent / "clean")["counts"]["quarantined.bot_like"] > 200
    assert differing(*(inputs_before(run, "test") for run in runs)) == []


# A log without any signal: whoever does better than chance has seen the answer.


def aimless_log(seed: int, n_users: int = 800, n_rows: int = 9_000) -> pl.DataFrame:
    """Every event belongs to anybody: what a user did says nothing about what the user will do."""
    rng = np.random.default_rng(seed)
    second = np.sort(rng.integers(0, 120 * 86_400, n_rows))
    time = pl.from_epoch(pl.Series(second)).dt.offset_by("54y")
    return pl.DataFrame(
        {
            "user": rng.choice([f"u{n}" for n in range(n_users)], n_rows),
            "item": rng.choice([f"i{n:02d}" for n in range(40)], n_rows),
            "kind": rng.choice(["view", "purchase"], n_rows),
            "time": time.dt.strftime("%Y-%m-%d %H:%M:%S"),
            "price": np.round(rng.uniform(1, 50, n_rows), 2),
            "quantity": np.ones(n_rows, dtype=np.int64),
            "order": [None] * n_rows,
        },
        schema_overrides={"order": pl.String()},
    )


def _auroc_without_signal(folder: Path, seed: int, kind: str) -> float:
    shop = Leaky(folder / f"{kind}-{seed}", aimless_log(seed))
    run = shop.do("purchase", kind, *MODELS, "evaluate")
    metrics = json.loads((run / "evaluation" / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["n_rows"] > 500
    auroc: float = metrics["metrics"]["auroc"]["value"]
    return auroc


N_SEEDS = 5
#: The deviation of the AUROC of 600 rows, half of them positive, is sqrt(601 / (12 * 300 * 300)) = 0.024 where
#: scores say nothing; that of a mean of five 0.0106. Four of these are a chance of 1 in 16,000.
TOLERANCE = 0.043


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["rfm", "boosting"])
def test_without_a_signal_the_test_auroc_is_one_half(tmp_path: Path, kind: str) -> None:
    scores = [_auroc_without_signal(tmp_path, seed, kind) for seed in range(N_SEEDS)]
    assert np.mean(scores) == pytest.approx(0.5, abs=TOLERANCE), scores


# Planted leaks, each of which the comparisons above must find.


_BEFORE = Timelines.before


def _reads_on(by: timedelta) -> Callable[..., Any]:
    """Read histories from later positions."""

    def leaky(rows: Timelines, instant: datetime, users: Any) -> Any:
        return _BEFORE(rows, instant + by, users)

    return leaky


def _never_again(when: Any, cutoff: datetime) -> Any:
    """Count what does not come again, in place of what has not come again by the cutoff."""
    return when == np.iinfo(np.int64).max


_KNOWN_ENDS = sequence_writer.known_ends


def _sequences_go_on(events: Any, instant: Any) -> Any:
    """Let a cutoff know what happens in its own instant."""
    return _KNOWN_ENDS(events, instant + 1)


_MOMENTS = MarketSums.partial


def _sales_of_next_week(sums: MarketSums, events: pl.LazyFrame) -> Any:
    """Count what sells, a week from the cutoff on."""
    return _MOMENTS(sums, events.with_columns(pl.col("ts") - timedelta(days=7)))


_PAIR_SUMS, _CANDIDATES = PairMarketSums.partial, PairTable._candidates


def _pairs_sold_next_week(sums: PairMarketSums, events: pl.LazyFrame) -> Any:
    return _PAIR_SUMS(sums, events.with_columns(pl.col("ts") - timedelta(days=7)))


def _candidates_of_next_week(table: PairTable, pairs: Any, asking: Asking, market: Any) -> Any:
    return _CANDIDATES(table, pairs, asking._replace(cutoff=asking.cutoff + timedelta(days=7)), market)


def _chosen_at_the_end(writer: InputWriter, requests: Sequence[Request], lists: CandidateLists) -> None:
    """Choose the candidates of every cutoff from all that the log has."""
    newest = writer._writers.folder / "matrix" / features.NEWEST
    for request in requests:
        lists.make(request.folder, read_matrix(newest, request.cutoff, has_labels=False))


def _a_week_later(cutoff: datetime, since: datetime | None = None) -> pl.Expr:
    before = pl.col("ts") < cutoff + timedelta(days=7)
    return before if since is None else before & (pl.col("ts") >= since)


def _all_types(log: Any, cutoff: Any) -> list[str]:
    return sorted(log.info["first_seen"])


def _limits_of_all_months(counts: pl.DataFrame, quantile: float) -> pl.DataFrame:
    values = counts.group_by("value").agg(pl.col("n").sum()).sort("value")
    limit = values.filter(pl.col("n").cum_sum() >= quantile * pl.col("n").sum())["value"].min()
    return counts.select(pl.col("month").unique()).with_columns(limit=pl.lit(limit, pl.Float64))


def _bot_for_ever(rows: pl.DataFrame, past: Past, config: Any, timezone: str) -> Any:
    """Refuse all of a week's events of a user who is bot-like on one of its days."""
    is_bot = pl.len().over("user_id", pl.col("ts").dt.date()) > config.max_events_per_user_day
    return rows.select(is_bot.max().over("user_id")).to_series().to_numpy()


def _last_item_wins(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Keep the last of a user's events with an item: what is kept depends on what comes later."""
    kept = rows.sort("ts").unique(["user_id", "item_id", "event_type"], keep="last").sort(EVENT_ORDER)
    return kept, rows.join(kept, on=["batch", "row"], how="anti")


LEAKS: dict[str, tuple[Any, str, Callable[..., Any]]] = {
    "who is asked depends on a week of the future": (input_writer, "history", _a_week_later),
    "features see a week of the future": (Timelines, "before", _reads_on(timedelta(days=7))),
    "features see the moment of the cutoff": (Timelines, "before", _reads_on(timedelta(microseconds=1))),
    "what comes again later is not distinct": (timeline, "newest", _never_again),
    "items are popular that will be": (MarketSums, "partial", _sales_of_next_week),
    "pairs: what sells next week": (PairMarketSums, "partial", _pairs_sold_next_week),
    "pairs: candidates of next week": (PairTable, "_candidates", _candidates_of_next_week),
    "a ranking: candidates by all that the log has": (InputWriter, "_choose", _chosen_at_the_end),
    "sequences: the moment of the cutoff is known": (sequence_writer, "known_ends", _sequences_go_on),
    "event types of the whole log": (features, "event_types_before", _all_types),
    "outlier limits of all months": (clean, "monthly_limits", _limits_of_all_months),
    "a bot was always a bot": (weeks, "bot_like", _bot_for_ever),
    "repeats are dropped in favour of the last": (weeks, "split_duplicates", _last_item_wins),
}


#: Task and kind that read what a leak is planted in, by the beginning of its name; otherwise churn and rfm.
READ_BY = {
    "pairs": ("purchase_category", "rfm"),
    "a ranking": ("preference", "boosting"),
    "sequences": ("churn", "recent"),
}


@pytest.fixture(autouse=True, scope="module")
def _registered() -> Iterator[None]:
    with registered():
        yield


@pytest.fixture
def two_futures(tmp_path: Path) -> tuple[Leaky, Leaky]:
    log = log_with_edges()
    return Leaky(tmp_path / "real", log), Leaky(tmp_path / "scrambled", scrambled(log, TEST_CUTOFF))


@pytest.mark.parametrize("leak", LEAKS)
def test_a_planted_leak_into_the_inputs_is_found(
    two_futures: tuple[Leaky, Leaky], monkeypatch: pytest.MonkeyPatch, leak: str
) -> None:
    monkeypatch.setattr(*LEAKS[leak])
    read_by = READ_BY.get(leak.partition(":")[0], ("churn", "rfm"))
    real, other = (shop.do(*read_by, *INPUTS) for shop in two_futures)
    assert differing(inputs_before(real, "test"), inputs_before(other, "test")) != []


def test_a_planted_leak_into_the_model_is_found(
    two_futures: tuple[Leaky, Leaky], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calibrated on the test window: the inputs are the same, the model is not."""
    read = features.read_inputs

    def leaky(inputs: Any, kind: Any, split: str, timezone: str, origin: int) -> list[Any]:
        return read(inputs, kind, "test" if split == "validation" else split, timezone, origin)

    monkeypatch.setattr(features, "read_inputs", leaky)
    real, other = (shop.do("churn", "rfm", *MODELS) for shop in two_futures)
    assert differing(inputs_before(real, "test"), inputs_before(other, "test")) == []
    assert differing(judged_model(real), judged_model(other)) == ["baseline/meta.json", "fitted/meta.json"]


def test_a_planted_leak_scores_better_than_chance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Timelines, "before", _reads_on(timedelta(days=7)))
    assert _auroc_without_signal(tmp_path, 0, "rfm") > 0.5 + 3 * TOLERANCE


# Real data, through the command line.


def _households(n: int) -> pl.DataFrame:
    files = sorted((ROOT / "data-samples" / "grocery").glob("transactions-*.csv.gz"))
    log = pl.concat([pl.read_csv(f, infer_schema=False) for f in files])
    chosen = log["household_id"].unique().sort().gather_every(log["household_id"].n_unique() // n)
    return log.filter(pl.col("household_id").is_in(chosen.implode()))


def _grocery(folder: Path, task: str, log: pl.DataFrame) -> Path:
    """Run a shipped config on other transactions; returns the folder of the run's artifacts."""
    shop = Shop(folder)
    log.write_csv(shop.raw / "transactions.csv")
    settings = [yaml.safe_load((ROOT / "configs" / f"{n}.yaml").read_text()) for n in ("grocery", task)]
    merged: dict[str, Any] = settings[0] | settings[1]
    events, *side_tables = merged["dataset"]["sources"]
    events["path"] = str(shop.raw / "*.csv")
    for source in side_tables:
        source["path"] = str((ROOT / "configs" / source["path"]).resolve())
    del merged["extends"], merged["workspace"]
    shop.settings = {"workspace": "work"} | merged
    shop.json("run", config=shop.config(task))
    return shop.workspace / task


@pytest.mark.slow
@pytest.mark.parametrize("task", [task for task in TASKS if task != "purchase"])
def test_the_sample_shop_does_not_leak(tmp_path: Path, task: str) -> None:
    log = _households(80)
    real = _grocery(tmp_path / "real", task, log)
    cutoff = first_cutoff(real, "test").strftime("%Y-%m-%d %H:%M:%S")
    is_future = pl.col("transaction_timestamp") >= cutoff
    later = log.filter(is_future)
    swapped = [
        pl.col(c).sample(fraction=1, shuffle=True, seed=n)
        for n, c in enumerate(["household_id", "product_id", "sales_value"])
    ]
    assert 0 < later.height < log.height
    other_log = pl.concat([log.filter(~is_future), later.with_columns(swapped)])
    other = _grocery(tmp_path / "other", task, other_log)
    assert differing(inputs_before(real, "test"), inputs_before(other, "test")) == []
    assert differing(judged_model(real), judged_model(other)) == []
    if QUESTIONS[task] != "ranking":
        assert test_scores(real).equals(test_scores(other))
    assert _refit(real) != _refit(other)
