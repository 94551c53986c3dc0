"""What stands in a simulated log: the columns, the order, and visits that could have happened."""

import filecmp
import gzip
import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from ecbehave.schema import EVENT_TYPES, TS
from ecbehave.simulate.catalogue import Catalogue, draw_catalogue, on_shelf
from ecbehave.simulate.season import Season
from ecbehave.simulate.sessions import LONGEST_VISIT, draw_rows, rows_of_visit
from ecbehave.simulate.settings import Settings
from ecbehave.simulate.users import draw_users
from ecbehave.simulate.visits import Stretch, Visits, cut
from ecbehave.simulate.writer import simulate

Simulate = Callable[..., Path]

START = datetime(2024, 1, 1, tzinfo=UTC)
MONEY = ("price", "amount", "discount", "coupon")
IN_VISIT = ("view", "search", "click", "cart", "remove", "purchase", "question")


def all_files(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_the_folder(shop_folder: Path) -> None:
    assert all_files(shop_folder) == [
        "events/events-2024-01-01.parquet",
        "events/events-2024-01-11.parquet",
        "events/events-2024-01-21.parquet",
        "events/events-2024-01-31.parquet",
        "events/events-2024-02-10.parquet",
        "events/events-2024-02-20.parquet",
        "items.parquet",
        "truth/dirt.json",
        "truth/log.json",
        "truth/season.parquet",
        "truth/users.parquet",
        "users.parquet",
    ]
    assert [p.name for p in shop_folder.parent.iterdir()] == ["log"]


def test_columns(shop_folder: Path, events: pl.DataFrame) -> None:
    assert dict(events.schema) == {
        "user_id": pl.String(),
        "item_id": pl.String(),
        "event_type": pl.String(),
        "ts": TS,
        "session_id": pl.String(),
        "order_id": pl.String(),
        "price": pl.Float64(),
        "quantity": pl.Int32(),
        "amount": pl.Float64(),
        "discount": pl.Float64(),
        "coupon": pl.Float64(),
        "rating": pl.Int32(),
        "dwell_seconds": pl.Int32(),
    }
    users, items = (pl.read_parquet(shop_folder / f"{name}.parquet") for name in ("users", "items"))
    assert users.columns == ["user_id", "signed_up_at", "channel", "region", "device", "age_group"]
    assert items.columns == ["item_id", "category", "brand", "price", "title"]
    assert (users.height, items.height) == (2_000, 300)
    assert users["user_id"].is_unique().all()
    assert items["category"].str.contains(r"^[a-z]+\.[a-z-]+$").all()
    assert events["user_id"].is_in(users["user_id"].implode()).all()
    assert events["item_id"].drop_nulls().is_in(items["item_id"].implode()).all()
    assert users.null_count().sum_horizontal().item() == items.null_count().sum_horizontal().item() == 0


def test_which_event_has_which_value(events: pl.DataFrame) -> None:
    has = events.group_by("event_type").agg(pl.all().is_not_null().sum(), n=pl.len())
    columns = [c for c in events.columns if c != "event_type"]
    for row in has.to_dicts():
        # A value is there always, or never.
        assert {row[c] for c in columns} <= {0, row["n"]}
    filled = {r["event_type"]: {c for c in columns if r[c]} - {"user_id", "ts"} for r in has.to_dicts()}
    order = {"item_id", "order_id", "price", "quantity", "amount"}
    assert filled == {
        "search": {"session_id"},
        "click": {"session_id", "item_id"},
        "question": {"session_id", "item_id"},
        "view": {"session_id", "item_id", "price", "dwell_seconds"},
        "cart": {"session_id", "item_id", "price", "quantity"},
        "remove": {"session_id", "item_id", "price", "quantity"},
        "purchase": {"session_id", "discount", "coupon"} | order,
        "return": order,
        "rating": {"item_id", "order_id", "rating"},
        "review": {"item_id", "order_id", "rating"},
    }
    assert set(filled) == set(EVENT_TYPES)


def test_rows_are_in_the_order_of_time_and_in_the_file_of_their_day(
    shop_folder: Path, events: pl.DataFrame
) -> None:
    assert events["ts"].is_sorted()
    assert events["ts"].min() >= START
    assert events["ts"].max() < START + timedelta(days=60)
    for path in (shop_folder / "events").iterdir():
        first = datetime.fromisoformat(path.stem.removeprefix("events-")).replace(tzinfo=UTC)
        days = pl.read_parquet(path)["ts"]
        assert first <= days.min() < first + timedelta(hours=6)
        assert first + timedelta(days=10, hours=-2) < days.max() < first + timedelta(days=10)
        # The file came in when its last day was over.
        assert path.stat().st_mtime == (first + timedelta(days=10)).timestamp()


def test_no_row_comes_twice(events: pl.DataFrame) -> None:
    assert events.is_unique().all()


def test_the_log_has_the_size_that_is_asked_for(shop_folder: Path, crowd: Path) -> None:
    for folder, n in ((shop_folder, 2_000 * 25), (crowd, 30_000 * 15)):
        log = json.loads((folder / "truth" / "log.json").read_text())
        assert log["rows"] == sum(log["event_types"].values())
        assert (
            log["rows"] == pl.scan_parquet(folder / "events" / "*.parquet").select(pl.len()).collect().item()
        )
        assert log["rows"] == pytest.approx(n, rel=0.05)


def test_money_is_in_cents_and_adds_up(shop_folder: Path, events: pl.DataFrame) -> None:
    for column in MONEY:
        values = events[column].drop_nulls()
        assert (values == values.to_frame().select(pl.all().round(2)).to_series()).all()
    items = pl.read_parquet(shop_folder / "items.parquet").select("item_id", list_price="price")
    bought = events.filter(pl.col("event_type") == "purchase").join(items, on="item_id")
    cents = bought.select((pl.col(*MONEY, "list_price") * 100).round().cast(pl.Int64), "quantity")
    assert (cents["amount"] == cents["price"] * cents["quantity"]).all()
    assert (cents["discount"] == (cents["list_price"] - cents["price"]) * cents["quantity"]).all()
    # A tenth of the rows are on sale, at a fifth off; a coupon takes a tenth of the amount.
    assert 0.05 < (cents["discount"] > 0).mean() < 0.2
    assert (cents["price"] >= cents["list_price"] * 4 // 5).all()
    assert 0.06 < (cents["coupon"] > 0).mean() < 0.2
    assert ((cents["coupon"] == 0) | (cents["coupon"] == cents["amount"] // 10)).all()


def test_a_visit_is_one_users_and_ends_with_its_purchase(events: pl.DataFrame) -> None:
    visits = events.filter(pl.col("session_id").is_not_null()).group_by("session_id").agg(
        n_users=pl.col("user_id").n_unique(),
        seconds=(pl.col("ts").max() - pl.col("ts").min()).dt.total_seconds(),
        last=pl.col("ts").max(),
        bought=pl.col("ts").filter(pl.col("event_type") == "purchase").max(),
        n_searches=(pl.col("event_type") == "search").sum(),
        n_orders=pl.col("order_id").drop_nulls().n_unique(),
        n_views=(pl.col("event_type") == "view").sum(),
    )  # fmt: skip
    assert set(events["event_type"].unique()) - set(
        events.filter(pl.col("session_id").is_not_null())["event_type"]
    ) == {"return", "rating", "review"}
    assert (visits["n_users"] == 1).all()
    assert 60 < visits["seconds"].max() <= LONGEST_VISIT
    assert (visits["n_searches"] <= 1).all()
    assert (visits["n_orders"] <= 1).all()
    buyers = visits.filter(pl.col("bought").is_not_null())
    assert buyers.height > 500
    assert (buyers["bought"] == buyers["last"]).all()
    # About a fifth looks at one item only.
    assert 0.17 < (visits["n_views"] == 1).mean() < 0.28


def test_what_is_bought_was_in_the_cart_and_not_removed(events: pl.DataFrame) -> None:
    keys = ["session_id", "item_id"]
    of = {kind: events.filter(pl.col("event_type") == kind) for kind in EVENT_TYPES}
    for kind in ("cart", "remove", "purchase"):
        assert of[kind].select(keys).is_unique().all()
    carts = of["cart"].select(*keys, carted="ts", carted_quantity="quantity")
    for kind in ("remove", "purchase"):
        joined = of[kind].join(carts, on=keys, how="left")
        assert (joined["carted"] < joined["ts"]).all()
        assert (joined["carted_quantity"] == joined["quantity"]).all()
        assert joined["carted"].null_count() == 0
    assert of["purchase"].join(of["remove"], on=keys).height == 0
    orders = of["purchase"].group_by("session_id").agg(kept=pl.len())
    kept = (
        of["cart"].join(of["remove"], on=keys, how="anti").group_by("session_id").agg(kept_in_cart=pl.len())
    )
    assert (
        orders.join(kept, on="session_id")["kept"] == orders.join(kept, on="session_id")["kept_in_cart"]
    ).all()


def test_what_follows_a_purchase_is_about_it(events: pl.DataFrame) -> None:
    keys = ["user_id", "order_id", "item_id"]
    bought = events.filter(pl.col("event_type") == "purchase").select(*keys, bought="ts", paid="amount")
    for kind in ("return", "rating", "review"):
        later = events.filter(pl.col("event_type") == kind)
        joined = later.join(bought, on=keys)
        assert joined.height == later.height > 20
        days = (joined["ts"] - joined["bought"]).dt.total_seconds() / 86_400
        assert days.min() >= 1
        assert days.max() <= 45
        if kind == "return":
            assert (joined["amount"] == joined["paid"]).all()
        else:
            assert joined["rating"].is_between(1, 5).all()


def test_nobody_is_seen_out_of_their_time(shop_folder: Path, events: pl.DataFrame) -> None:
    users = pl.read_parquet(shop_folder / "truth" / "users.parquet")
    seen = events.filter(pl.col("event_type").is_in(IN_VISIT)).join(users, on="user_id")
    visit = timedelta(seconds=LONGEST_VISIT)
    assert seen.filter(pl.col("ts") < pl.col("joined_at") - visit).height == 0
    assert seen.filter(pl.col("ts") > pl.col("dropped_at") + timedelta(seconds=1)).height == 0
    signed_up = pl.read_parquet(shop_folder / "users.parquet")["signed_up_at"]
    assert (signed_up.clip(START, None) == users["joined_at"]).all()
    assert 0.5 < (signed_up < START).mean() < 0.7


def test_everybody_has_habits(shop_folder: Path, events: pl.DataFrame) -> None:
    """The top category of a user's first half of visits comes far more often in the second than another user's."""
    items = pl.read_parquet(shop_folder / "items.parquet").select("item_id", "category")
    views = events.filter(pl.col("event_type") == "view").join(items, on="item_id")
    middle = START + timedelta(days=30)
    top = (
        views.filter(pl.col("ts") < middle).group_by("user_id").agg(pl.col("category").mode().sort().first())
    ).sort("user_id")
    other = top.select("user_id", category=pl.col("category").shift(1))
    after = views.filter(pl.col("ts") >= middle)
    own, others = (after.join(t, on="user_id", suffix="_top") for t in (top, other))
    share = (own["category"] == own["category_top"]).mean()
    assert share > 0.3 > 3 * (others["category"] == others["category_top"]).mean()


@pytest.mark.parametrize("output_format", ["csv", "csv.gz"])
def test_csv_holds_the_same(log_of: Simulate, output_format: str) -> None:
    small = {"users": 60, "items": 40, "days": 20, "events_per_user": 20.0}
    parquet, csv = log_of(**small), log_of(**small, format=output_format)
    names = ("events/events-2024-01-01", "items", "users")
    for name in names:
        expected, path = pl.read_parquet(parquet / f"{name}.parquet"), csv / f"{name}.{output_format}"
        text = gzip.decompress(path.read_bytes()) if output_format == "csv.gz" else path.read_bytes()
        found = pl.read_csv(
            text, schema_overrides={c: pl.String for c, d in expected.schema.items() if d == TS}
        )
        times = [c for c, d in expected.schema.items() if d == TS]
        found = found.with_columns(
            pl.col(times).str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_unit="us", time_zone="UTC")
        )
        assert found.with_columns(pl.col(c).cast(d) for c, d in expected.schema.items()).equals(expected)
    assert filecmp.cmp(parquet / "truth/users.parquet", csv / "truth/users.parquet", shallow=False)


@pytest.mark.parametrize("output_format", ["parquet", "csv", "csv.gz"])
def test_same_seed_same_bytes_whatever_the_threads(tmp_path: Path, output_format: str) -> None:
    asked = {
        "users": 800,
        "items": 100,
        "days": 30,
        "dirt": 0.05,
        "format": output_format,
        "days_per_file": 4,
    }
    for name, threads, seed in (("one", 1, 7), ("three", 3, 7), ("other", 1, 8)):
        simulate(Settings(**asked, seed=seed), tmp_path / name, threads)
    files = all_files(tmp_path / "one")
    assert files == all_files(tmp_path / "three")
    assert filecmp.cmpfiles(tmp_path / "one", tmp_path / "three", files, shallow=False) == (files, [], [])
    same, _, _ = filecmp.cmpfiles(tmp_path / "one", tmp_path / "other", files, shallow=False)
    assert same == ["truth/season.parquet"]


def test_rows_do_not_depend_on_the_files(log_of: Simulate, crowd: Path) -> None:
    """Also where a file ends with a block: visits that end after midnight begin in the file before."""
    daily = log_of(users=30_000, items=300, days=60, events_per_user=15.0, days_per_file=1)
    assert [p.name for p in (crowd / "events").iterdir()] == ["events-2024-01-01.parquet"]
    assert len(list((daily / "events").iterdir())) == 60
    logs = [[pl.read_parquet(p) for p in sorted((folder / "events").iterdir())] for folder in (crowd, daily)]
    assert pl.concat(logs[1]).equals(pl.concat(logs[0]))


def test_every_visit_that_converts_buys_and_blocks_differ() -> None:
    """With few items, many come into a cart twice; whatever is taken out again, something is bought."""
    settings = Settings(users=3_000, items=5, days=1)
    season, catalogue = Season.of(settings.start, 1), draw_catalogue(settings)
    users = draw_users(settings, season, 1, rows_of_visit)
    n = settings.users
    visits = Visits(np.arange(n), np.full(n, settings.start + 50_000), np.arange(n) % 2 == 0)
    blocks = [Stretch(number, settings.start, settings.end) for number in (0, 1)]
    rows, others = (draw_rows(settings, users, catalogue, block, visits) for block in blocks)
    buyers = rows.filter(pl.col("type") == EVENT_TYPES.index("purchase"))["user"].unique().sort()
    assert buyers.to_list() == list(range(0, n, 2))
    assert not rows["item"].equals(others["item"])
    assert set(rows["session_id"].drop_nulls()).isdisjoint(others["session_id"].drop_nulls())


def test_what_is_popular_changes_slowly(log_of: Simulate) -> None:
    """The most viewed item of each shelf stays for a fortnight, and is mostly another one in the next."""
    folder = log_of(users=30_000, items=300, days=60, events_per_user=15.0)
    catalogue = draw_catalogue(Settings(users=30_000, items=300))
    ends = catalogue.first + catalogue.size
    views = pl.scan_parquet(folder / "events" / "*.parquet").filter(pl.col("event_type") == "view")
    days = (pl.col("ts") - START).dt.total_days()
    seen = views.select(item=pl.col("item_id").str.slice(1).cast(pl.Int64), day=days).collect()

    def top(first: int, after: int) -> list[int]:
        viewed = seen.filter(pl.col("day").is_between(first, after, closed="left"))["item"]
        counts = np.bincount(viewed.to_numpy(), minlength=300)
        wide = np.flatnonzero(catalogue.size >= 3)
        return [int(counts[catalogue.first[shelf] : ends[shelf]].argmax()) for shelf in wide]

    # An era is a fortnight since 1970: one begins on 4 January 2024.
    early, soon, late = top(3, 10), top(10, 17), top(17, 31)
    assert np.mean(np.equal(early, soon)) > 0.75
    assert np.mean(np.equal(early, late)) < 0.4


def test_a_day_that_is_too_large_is_cut_into_parts(tmp_path: Path) -> None:
    """A million and a half views on one day, in blocks of some hours and files of less than a million rows."""
    written = simulate(Settings(users=20_000, items=50, days=1, events_per_user=80.0), tmp_path / "log")
    names = [p.name for p in sorted((tmp_path / "log" / "events").iterdir())]
    assert names[0] == "events-2024-01-01.parquet"
    assert names[1].startswith("events-2024-01-01T")
    assert written.files == len(names) == 2
    parts = [pl.read_parquet(tmp_path / "log" / "events" / name) for name in names]
    assert max(p.height for p in parts) < 1_000_000
    assert pl.concat(parts)["ts"].is_sorted()
    assert sum(p.height for p in parts) == written.rows == pytest.approx(1_600_000, rel=0.1)
    assert pl.concat(parts)["session_id"].drop_nulls().n_unique() > 3 * 65_536


def test_stretches() -> None:
    season = Season(0, np.tile([1.0, 3.0], 48))
    day = 86_400
    assert [
        (s.number, s.start, s.end)
        for s in cut(0, season, np.array([4, 4, 9, 1]), enough=8, most=20, longest=3)
    ] == [
        (0, 0, 2 * day),
        (1, 2 * day, 3 * day),
        (2, 3 * day, 4 * day),
    ]
    few = cut(0, season, np.ones(4), enough=8, most=20, longest=3)
    assert [(s.start // day, s.end // day) for s in few] == [(0, 3), (3, 4)]
    large = cut(0, season, np.array([1, 25, 1, 1]), enough=8, most=10, longest=9)
    assert [s.start / day for s in large[:2]] == [0, 1]
    assert [round(s.end / day, 1) for s in large] == [1, 1.3, 1.7, 2, 4]
    clock = season.elapsed([s.end for s in large[:4]])
    assert np.diff(clock) == pytest.approx([clock[3] / 2 / 3] * 3, abs=1e-3)


def test_the_season_repeats_by_week_and_differs_by_hour() -> None:
    season = Season.of(int(START.timestamp()), 364)
    days = season.factors.reshape(364, 24)
    assert season.factors.mean() == pytest.approx(1, abs=0.02)
    assert (days.argmax(axis=1) == 20).all()
    # 6 January 2024 was a Saturday.
    assert (days.sum(axis=1).reshape(52, 7).argmax(axis=1) == 5).all()
    assert days[6].sum() > 1.2 * days[6 + 182].sum()
    first = season.elapsed(START.timestamp() + 3_600)
    assert first == pytest.approx(season.factors[0] / 24)
    assert season.instants(first) == pytest.approx(START.timestamp() + 3_600)


@pytest.fixture(scope="module")
def shelves() -> Catalogue:
    return draw_catalogue(Settings(users=1, items=1_000))


def test_items_are_chosen_by_rank_which_moves_on(shelves: Catalogue) -> None:
    n, draws = int(shelves.size.max()), 200_000
    shelf = np.full(draws, shelves.size.argmax())
    uniform = np.random.default_rng(0).random(draws)
    ranks = np.arange(n)
    expected = np.log((ranks + 2) / (ranks + 1)) / np.log(n + 1)
    for era in (0, 1, n + 1):
        place = on_shelf(shelves, shelf, uniform, era) - shelves.first[shelf[0]]
        found = np.bincount(place, minlength=n) / draws
        # Rank 0 stands at place 0 at first, and at the last place an era later.
        assert np.roll(found, era % n) == pytest.approx(expected, abs=5 * (0.25 / draws) ** 0.5)
    assert on_shelf(shelves, shelf[:1], np.array([1 - 1e-16]), 0) - shelves.first[shelf[0]] == n - 1


def test_shelves_cover_the_catalogue(shelves: Catalogue) -> None:
    ends = shelves.first + shelves.size
    assert shelves.first[0] == 0
    assert ends[-1] == 1_000
    assert (shelves.first[1:] == ends[:-1]).all()
    for shelf in range(len(shelves.first)):
        assert (shelves.category[shelves.first[shelf] : ends[shelf]] == shelf // 3).all()
    cheap, dear = (shelves.price[shelves.first[t] : ends[t]].mean() for t in (0, 2))
    assert cheap < dear / 2


@pytest.mark.parametrize(("users", "items", "days"), [(1, 1, 1), (3, 2, 2), (50, 5, 3), (1, 2_000, 90)])
def test_the_smallest_shops(tmp_path: Path, users: int, items: int, days: int) -> None:
    settings = Settings(users=users, items=items, days=days, events_per_user=5.0, first_day=date(2023, 2, 27))
    written = simulate(settings, tmp_path / "log")
    log = pl.read_parquet(tmp_path / "log" / "events" / "*.parquet")
    assert log.height == written.rows == sum(written.event_types.values())
    assert pl.read_parquet(tmp_path / "log" / "items.parquet").height == items
    assert log["ts"].is_sorted()
