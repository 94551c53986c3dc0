"""Small model inputs with a planted answer, built by hand."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import numpy as np
import polars as pl

from ecbehave.inputs.types import Inputs, MatrixInput, SequenceInput, SequenceLog, TableInput
from ecbehave.models import model_class
from ecbehave.models.protocol import Model, Options
from ecbehave.models.top_k import lists_of
from ecbehave.schema import MATRIX_USERS, TABLE_KEYS

CUTOFF = datetime(2024, 3, 1, tzinfo=UTC)
ONCE = Options(seed=0, threads=1, ends={CUTOFF: CUTOFF + timedelta(days=28)})
RANKING = replace(ONCE, output="ranking")
VIEWS = {"event_weights": {"view": 1.0}}
RFM = ("recency_days_purchase_all", "days_purchase_all", "amount_purchase_all")
TENURE = "tenure_days_purchase_all"

#: A net over sequences that learns in a moment.
_SMALL_NET: dict[str, Any] = {
    "width": 8,
    "layers": 1,
    "length": 8,
    "min_events": 1,
    "shared_rows": 4,
    "dropout": 0,
    "input_dropout": 0,
    "pretrain": {"epochs": 1, "horizon_epochs": 1},
    "training": {"epochs": 3, "batch": 16, "learning_rate": 0.02},
}
#: Settings that let a kind learn from a few hundred rows; every other kind takes its defaults.
SETTINGS: dict[str, dict[str, Any]] = {
    "random_forest": {"trees": 40, "min_rows_per_leaf": 5},
    "adaboost": {"max_trees": 40, "patience": 10, "min_rows_per_leaf": 5},
    "transformer": _SMALL_NET | {"heads": 2},
    "rnn": _SMALL_NET,
    "cnn": _SMALL_NET | {"reach": 2},
    "boosting": {"max_trees": 60, "patience": 10, "min_rows_per_leaf": 5, "learning_rate": 0.1},
    "dnn": {
        "layers": 1,
        "width": 8,
        "pieces": 4,
        "training": {"epochs": 2, "batch": 64, "learning_rate": 0.02},
    },
    "autoencoder": {
        "width": 8,
        "code": 4,
        "training": {"epochs": 2, "batch": 64, "learning_rate": 0.02},
    },
}


def make(kind: str, **settings: Any) -> Model:
    """Return an unfitted model; the settings come on top of `SETTINGS`."""
    found = model_class(kind)
    return found(found.config_class(kind=kind, **SETTINGS.get(kind, {}) | settings))


def table(features: Mapping[str, Sequence[float | None]], label: Sequence[int] | None = None) -> TableInput:
    """Return a table input; row n is user `u000n`."""
    n_rows = len(next(iter(features.values())))
    keys = {
        "user_hash": range(n_rows),
        "user_id": [f"u{n:04d}" for n in range(n_rows)],
        "cutoff": [CUTOFF] * n_rows,
    }
    frame = pl.DataFrame(keys, TABLE_KEYS)
    if label is not None:
        frame = frame.with_columns(pl.Series("label", label, pl.Int8))
    return TableInput(
        frame.with_columns(pl.Series(name, values, pl.Float32) for name, values in features.items()),
        tuple(features),
    )


def customers(n_rows: int = 300, seed: int = 0) -> TableInput:
    """The first 60 % of the rows are loyal, nine in ten of them with label 1; of the others it is one in ten."""
    rng = np.random.default_rng(seed)
    is_loyal = np.arange(n_rows) < n_rows * 0.6
    features = {
        RFM[0]: np.where(is_loyal, rng.uniform(0, 10, n_rows), rng.uniform(40, 90, n_rows)),
        RFM[1]: np.where(is_loyal, rng.integers(8, 20, n_rows), rng.integers(1, 4, n_rows)),
        RFM[2]: np.where(is_loyal, rng.uniform(200, 500, n_rows), rng.uniform(5, 60, n_rows)),
        "count_view_7d": rng.integers(0, 9, n_rows),
    }
    # A week from each day with a purchase to the next.
    features[TENURE] = features[RFM[0]] + 7 * (features[RFM[1]] - 1)
    label = rng.random(n_rows) < np.where(is_loyal, 0.9, 0.1)
    return table({name: values.tolist() for name, values in features.items()}, label.astype(int).tolist())


def candidates(n_users: int = 60, seed: int = 0) -> TableInput:
    """Five candidates for each user, those of `visitors`; everybody takes `i03`, bought time and again and lately."""
    rng = np.random.default_rng(seed)
    items = np.tile(["i01", "i03", "i05", "i07", "i09"], n_users)
    is_best, n_rows = items == "i03", items.size
    features = {
        f"item_{RFM[0]}": np.where(is_best, rng.uniform(0, 5, n_rows), rng.uniform(30, 90, n_rows)),
        f"item_{RFM[1]}": np.where(is_best, rng.integers(6, 12, n_rows), rng.integers(0, 3, n_rows)),
        f"item_{RFM[2]}": np.where(is_best, rng.uniform(50, 90, n_rows), rng.uniform(0, 20, n_rows)),
    }
    made = table({name: values.tolist() for name, values in features.items()}, is_best.astype(int).tolist())
    user = np.repeat(np.arange(n_users), 5)
    frame = made.frame.with_columns(
        pl.Series("user_hash", user, TABLE_KEYS["user_hash"]),
        pl.Series("user_id", [f"u{n:04d}" for n in user]),
        pl.Series("item_id", items),
    )
    return TableInput(frame.select(*TABLE_KEYS, "item_id", "label", *features), made.features)


#: One row of pairs: user, item, event type, number of events, days since the last one.
Pair = tuple[int, int, str, int, float]


def matrix(
    pairs: Iterable[Pair], n_users: int, items: Sequence[str], asked: Iterable[int] | None = None
) -> MatrixInput:
    """Return a matrix input; user n is `u000n`, and everybody is asked unless told otherwise."""
    chosen = set(range(n_users) if asked is None else asked)
    users = {
        "user_hash": range(n_users),
        "user_id": [f"u{n:04d}" for n in range(n_users)],
        "is_asked": [n in chosen for n in range(n_users)],
    }
    schema = {
        "user": pl.UInt32,
        "item": pl.UInt32,
        "event_type": pl.String,
        "n_events": pl.UInt32,
        "days_since": pl.Float32,
    }
    had = pl.DataFrame(list(pairs), schema, orient="row")
    return MatrixInput(
        CUTOFF,
        pl.DataFrame(users, MATRIX_USERS),
        pl.DataFrame({"item_id": items, "category": None}, {"item_id": pl.String, "category": pl.String}),
        had.with_columns(
            place=(pl.col("days_since").rank("dense").over("user") - 1).cast(pl.UInt32),
            rating=pl.lit(None, pl.Float32),
        ),
    )


#: One event: user, item (None for none), event type, days before the cutoff (at 0 or less it is not known yet).
Event = tuple[int, str | None, str, float]


def event_log(events: Iterable[Event], categories: Mapping[str, str] | None = None) -> SequenceLog:
    """Return a log of events; user n is `u000n`, and an item costs 1 and the digits of its name together."""
    schema = {"user": pl.UInt64, "item_id": pl.String, "event_type": pl.String, "days": pl.Float64}
    rows = pl.DataFrame(list(events), schema, orient="row")
    known = pl.DataFrame(
        list((categories or {}).items()), {"item_id": pl.String, "category": pl.String}, orient="row"
    )
    return SequenceLog.of(
        rows.join(known, on="item_id", how="left", maintain_order="left").select(
            user_hash="user",
            user_id="u" + pl.col("user").cast(pl.String).str.zfill(4),
            ts=pl.lit(CUTOFF, pl.Datetime("us", "UTC")) - pl.duration(microseconds=pl.col("days") * 86_400e6),
            event_type="event_type",
            item_id="item_id",
            category="category",
            price=1 + pl.col("item_id").str.extract(r"(\d+)").cast(pl.Float64),
        )
    )


def known_before(log: SequenceLog, cutoff: datetime = CUTOFF, target: Any = "item") -> SequenceInput:
    """Return the events of a log before a cutoff."""
    now = int(cutoff.timestamp() * 1e6)
    is_known = np.append(0, np.cumsum(log.ts < now))
    starts = log.offsets[:-1]
    ends = starts + is_known[log.offsets[1:]] - is_known[starts]
    return SequenceInput(cutoff, log, ends, np.full(starts.size, now), target)


def known_events(data: SequenceInput) -> pl.DataFrame:
    """Return the events that may be read, users and time ascending, with names in the place of numbers, and `now`."""
    log, n_known = data.log, data.ends - data.starts
    user = np.repeat(np.arange(n_known.size), n_known)
    place = np.arange(user.size) + (data.starts - np.cumsum(n_known) + n_known)[user]
    columns: dict[str, Any] = {"user_id": log.users["user_id"].gather(user), "now": data.now[user]}
    for name, names in (("event_type", log.event_types), ("item", log.items), ("category", log.categories)):
        numbers = pl.Series(getattr(log, name)[place].astype(np.int64))
        columns[name] = names.gather(numbers.replace(-1, None))
    columns |= {name: getattr(log, name)[place] for name in ("price", "dwell", "hour")}
    ts = pl.from_epoch(pl.Series(log.ts[place]), "us").dt.replace_time_zone("UTC")
    return pl.DataFrame(columns).insert_column(1, ts.alias("ts"))


def sequences(
    events: Sequence[Event],
    n_users: int,
    items: Sequence[str],
    asked: Iterable[int] | None = None,
    categories: Mapping[str, str] | None = None,
) -> Inputs:
    """Return the sequences and the matrix of some events; see `event_log` and `matrix`.

    Args:
        events: those from the cutoff on are in the log, but not known.
        n_users: users 0 to n - 1 are in the matrix; only those with an event are in the log.
        items: the matrix has these only.
        asked: users of the population; None for all.
        categories: of items.
    """
    had: dict[tuple[int, str, str], list[float]] = {}
    for user, item, event_type, days in events:
        if item in items and days > 0:
            had.setdefault((user, str(item), event_type), []).append(days)
    pairs = [
        (user, items.index(item), kind, len(days), min(days)) for (user, item, kind), days in had.items()
    ]
    data = matrix(sorted(pairs), n_users, items, asked)
    return Inputs(CUTOFF, matrix=data, sequence=known_before(event_log(events, categories)))


def walkers(n_users: int = 40, n_items: int = 10, seed: int = 0) -> Inputs:
    """Everybody walks from item `i00` on to `i01` and so on, round and round, a step a day from anywhere.

    The true item is the next one; what comes after the cutoff goes backwards.
    """
    rng = np.random.default_rng(seed)
    events: list[Event] = []
    following: dict[str, str] = {}
    for user in range(n_users):
        first, n_steps = int(rng.integers(n_items)), int(rng.integers(4, 12))
        for step in range(n_steps):
            events.append((user, f"i{(first + step) % n_items:02d}", "view", float(n_steps - step)))
        following[f"u{user:04d}"] = f"i{(first + n_steps) % n_items:02d}"
        events.extend(
            (user, f"i{(first - step) % n_items:02d}", "purchase", -float(step)) for step in range(3)
        )
    made = sequences(events, n_users, [f"i{n:02d}" for n in range(n_items)])
    labels = pl.DataFrame({"user_id": list(following), "item_id": list(following.values())})
    return replace(made, matrix=replace(cast("MatrixInput", made.matrix), labels=labels))


def first_items(model: Any, data: Inputs) -> dict[str, str]:
    """Return the best item of each user, by a kind over sequences."""
    listed = lists_of(cast("MatrixInput", data.matrix), model.scores(data), 1)
    return dict(zip(listed["user_id"], listed["item_id"], strict=True))


def share_right(model: Any) -> float:
    """Return of how many new walkers the next item comes first; by chance it is a tenth."""
    asked = walkers(seed=2)
    labels = cast("pl.DataFrame", cast("MatrixInput", asked.matrix).labels)
    true_items = dict(zip(labels["user_id"], labels["item_id"], strict=True))
    return float(np.mean([true_items[user] == item for user, item in first_items(model, asked).items()]))


def returners(seed: int = 0) -> Inputs:
    """The users of `customers` and their purchases, a week apart; the last one is as long ago as it says there."""
    asked = customers(seed=seed)
    rows = asked.frame.select(RFM[0], RFM[1]).rows()
    events: list[Event] = [
        (user, f"i{(user + n) % 7}", "purchase", max(recency, 0.01) + 7 * n)
        for user, (recency, n_days) in enumerate(rows)
        for n in range(int(n_days))
    ]
    return Inputs(CUTOFF, asked, sequence=known_before(event_log(events)))


def regulars(seed: int = 0) -> Inputs:
    """The users, items and candidates of `visitors`: after any other item, which was the last one, comes `i03`."""
    rng = np.random.default_rng(seed)
    data = visitors(seed=seed)
    others = [item for item in data.items["item_id"] if item != "i03"]
    events: list[Event] = []
    for user in range(data.users.height):
        for step in range(4):
            events.append((user, str(rng.choice(others)), "view", 9.0 - 2 * step))
            if step < 3:
                events.append((user, "i03", "purchase", 8.0 - 2 * step))
    labels = pl.DataFrame({"user_id": data.users["user_id"], "item_id": "i03"})
    return Inputs(CUTOFF, matrix=replace(data, labels=labels), sequence=known_before(event_log(events)))


def predict(model: Any, data: Any, k: int) -> pl.DataFrame:
    """Return the scores of rows; of a kind that scores items, the lists."""
    if isinstance(data, MatrixInput):
        return lists_of(data, model.scores(data), k)
    if isinstance(data, Inputs) and data.table is None and data.matrix is not None:
        return lists_of(data.matrix, model.scores(data), k)
    scored: pl.DataFrame = model.predict(data, k)
    return scored


def visitors(n_users: int = 24, n_items: int = 10, seed: int = 0) -> MatrixInput:
    """Everybody has bought item `i03` time and again, lately; the other items seldom, and long ago."""
    rng = np.random.default_rng(seed)
    pairs: list[Pair] = [(user, 3, "purchase", 9, 1.0) for user in range(n_users)]
    for user in range(n_users):
        for item in rng.choice([i for i in range(n_items) if i != 3], 3, replace=False):
            # Several types, whose weights add up to another last digit in another order.
            for event in ("view", "click", "cart", "purchase"):
                pairs.append((user, int(item), event, int(rng.integers(1, 3)), float(rng.uniform(60, 90))))
    return matrix(pairs, n_users, [f"i{n:02d}" for n in range(n_items)])


def shoppers(n_rows: int = 300, seed: int = 0) -> MatrixInput:
    """Items of the users of `customers`: the loyal ones had those from `i00` to `i04`, the others those after."""
    rng = np.random.default_rng(seed)
    pairs: list[Pair] = []
    for user in range(n_rows):
        first = 0 if user < n_rows * 0.6 else 5
        for item in rng.choice(5, 3, replace=False):
            pairs.append(
                (user, first + int(item), "purchase", int(rng.integers(1, 4)), float(rng.uniform(1, 60)))
            )
    return matrix(pairs, n_rows, [f"i{n:02d}" for n in range(10)])


def raters(n_users: int = 24, n_items: int = 10, seed: int = 0) -> MatrixInput:
    """Ratings from 1 to 5: users differ in how generous they are, items in how good, and one half of the users likes
    the one half of the items, the other half the others. Some of the items were bought, too."""
    rng = np.random.default_rng(seed)
    generous, good = np.linspace(-0.7, 0.7, n_users), np.linspace(-0.5, 0.5, n_items)
    pairs: list[Pair] = []
    ratings: list[float | None] = []
    for user in range(n_users):
        for item in rng.choice(n_items, n_items * 6 // 10, replace=False).tolist():
            taste = 1.0 if user % 2 == item % 2 else -1.0
            rating = round(3 + float(generous[user] + good[item]) + taste + float(rng.normal(0, 0.3)))
            pairs.append((user, item, "rating", 1, float(rng.uniform(1, 90))))
            ratings.append(float(min(max(rating, 1), 5)))
            if rng.random() < 0.3:
                pairs.append((user, item, "purchase", 1, float(rng.uniform(90, 99))))
                ratings.append(None)
    data = matrix(pairs, n_users, [f"i{n:02d}" for n in range(n_items)])
    return replace(data, pairs=data.pairs.with_columns(pl.Series("rating", ratings, pl.Float32)))


def lists(scored: pl.DataFrame) -> dict[str, list[str]]:
    """Return the items of each user, in the order of the rows."""
    found = scored.group_by("user_id", maintain_order=True).agg("item_id")
    return dict(zip(found["user_id"], found["item_id"].to_list(), strict=True))
