"""Lists for anonymous sessions: read in every form, scored as users of their own."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from planted import ONCE, SETTINGS, Pair, event_log, known_before, known_events, matrix, visitors
from shops import PREFERENCE
from stage_runs import Runs, table

from ecbehave.artifacts import Artifact
from ecbehave.errors import ConfigError, DataError
from ecbehave.inputs.barred import Filters
from ecbehave.inputs.types import Inputs
from ecbehave.models import PLAIN, model_class, reads
from ecbehave.models.making import make as make_predictor
from ecbehave.schema import MATRIX_USERS, PAIRS, SESSION_SCORES
from ecbehave.stages import sessions
from ecbehave.stages.lists import complete_lists
from ecbehave.stages.sessions import (
    Catalogue,
    check_sessions,
    event_of,
    in_blocks,
    read_sessions,
    unknown_items,
)

RANKED = replace(ONCE, output="ranking")
CopyOf = Callable[..., Runs]
ITEMS = ["a", "b", "c", "d", "e"]
#: a and b go together, and so do c and d; e is what most had.
HAD: list[Pair] = [
    *((user, item, "purchase", 1, 3.0) for user in range(6) for item in (0, 1)),
    *((user, item, "purchase", 1, 3.0) for user in range(6, 12) for item in (2, 3)),
    *((user, 4, "purchase", 1, 3.0) for user in range(12, 20)),
]
ROWS = [("s2", "a"), ("s1", "c"), ("s2", "zz"), ("s2", "b"), ("s1", "c"), ("s2", "a")]


def in_file(path: Path, content: str) -> Path:
    path.write_text(content, encoding="utf-8")
    return path


def of_lists(**items: list[str]) -> pl.DataFrame:
    rows = [(name, item) for name in sorted(items) for item in items[name] or [None]]
    return pl.DataFrame(rows, {"session_id": pl.String, "item_id": pl.String}, orient="row")


def catalogue(event_type: str = "purchase", filters: Filters | None = None, **changes: Any) -> Catalogue:
    night = replace(matrix(HAD, 20, ITEMS), **changes)
    rules = None if filters is None else filters.rules(night.items)
    return Catalogue(night, rules, event_type)


def test_rows_and_lists_say_the_same(tmp_path: Path) -> None:
    rows = pl.DataFrame(ROWS, ["session_id", "item_id"], orient="row")
    rows.write_csv(tmp_path / "rows.csv")
    rows.write_parquet(tmp_path / "rows.parquet")
    rows.write_ndjson(tmp_path / "rows.jsonl")
    lists = rows.group_by("session_id", maintain_order=True).agg(item_ids="item_id")
    lists.write_parquet(tmp_path / "lists.parquet")
    lists.write_ndjson(tmp_path / "lists.ndjson")
    expected = of_lists(s1=["c", "c"], s2=["a", "zz", "b", "a"])
    for path in sorted(tmp_path.iterdir()):
        assert read_sessions(path).equals(expected), path.name


def test_ids_that_are_numbers_are_text_as_in_the_log(tmp_path: Path) -> None:
    path = in_file(
        tmp_path / "s.jsonl", '{"session_id": 7, "item_ids": [3, 12]}\n{"session_id": 6, "item_ids": []}\n'
    )
    assert read_sessions(path).rows() == [("6", None), ("7", "3"), ("7", "12")]


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        (
            "s.csv",
            "session,item_id\n1,a\n",
            "{path} has no column session_id; it has session, item_id. Call the right one session_id",
        ),
        (
            "s.csv",
            "session_id,item\n1,a\n",
            "{path} has no column item_id; it has session_id, item. Call the right one item_id",
        ),
        ("s.csv", "session_id,item_id\n1,a\n,b\n,c\n", "2 rows of {path} have no session_id; give each one"),
        (
            "s.csv",
            "session_id,item_ids\n1,a b\n",
            "column item_ids of {path} has type String, not a list; give lists in Parquet or JSON lines, or a row for "
            "each item with columns session_id and item_id",
        ),
        (
            "s.jsonl",
            '{"session_id": "x", "item_ids": ["a"]}\n{"session_id": "y", "item_ids": []}\n' * 2,
            "2 sessions of {path} have more than one list (x, y); give each session one",
        ),
        (
            "s.jsonl",
            '{"session_id": "x", "item_ids": [1.5]}\n',
            "column item_id of {path} has type Float64; ids must be text or whole numbers",
        ),
    ],
)  # fmt: skip
def test_bad_files(tmp_path: Path, name: str, content: str, what: str) -> None:
    path = in_file(tmp_path / name, content)
    with pytest.raises(DataError) as error:
        read_sessions(path)
    assert str(error.value) == f"predict.sessions: {what.format(path=path)}"


def test_a_session_is_a_user_with_its_items_in_order() -> None:
    asked = of_lists(s1=["c", "zz", "a", "c", "b"], s2=["zz"], s3=["d"], s4=[])
    data = catalogue("view").as_users(asked)
    # Marked, as a user may be called the same.
    assert data.users.select("user_id", "is_asked").rows() == [(f"\0s{n}", True) for n in (1, 2, 3, 4)]
    assert data.users.schema == pl.Schema(MATRIX_USERS)
    assert data.items.equals(catalogue().night.items)
    assert data.pairs.select(
        "user", "item", "event_type", "n_events", "days_since", "place", "rating"
    ).rows() == [
        (0, 0, "view", 1, 0.0, 2, None),
        (0, 1, "view", 1, 0.0, 0, None),
        (0, 2, "view", 2, 0.0, 1, None),
        (2, 3, "view", 1, 0.0, 0, None),
    ]
    stored = {name: PAIRS[name] for name in data.pairs.columns if name in PAIRS}
    assert {name: data.pairs.schema[name] for name in stored} == stored


def test_a_session_is_a_sequence_whose_last_item_lies_at_the_cutoff() -> None:
    asked = of_lists(s1=["c", "zz", "a", "c", "b"], s2=["zz"], s3=["d"], s4=[])
    categories = pl.Series("category", ["x", None, "y", "x", None])
    night = catalogue().night
    known = catalogue("view", items=night.items.with_columns(categories))
    data = known.as_sequences(asked, "America/New_York")
    assert data.cutoff == night.cutoff
    assert data.target == "item"
    # In the same order as the users of the matrix; who has no item that is known has no row.
    users = known.as_users(asked).users["user_id"]
    assert data.rows(users).tolist() == [0, -1, 1, -1]
    found = known_events(data)
    seconds = ((found["ts"] - night.cutoff).dt.total_seconds()).to_list()
    columns = ["user_id", "item", "category", "event_type"]
    assert list(zip(*found.select(columns).get_columns(), seconds, strict=True)) == [
        ("\0s1", "c", "y", "view", -3),
        ("\0s1", "a", "x", "view", -2),
        ("\0s1", "c", "y", "view", -1),
        ("\0s1", "b", None, "view", 0),
        ("\0s3", "d", "x", "view", 0),
    ]
    assert (data.now == data.log.ts[data.ends - 1]).all()
    # The cutoff is a Friday's midnight in UTC: the evening of Thursday in New York.
    assert data.log.hour[-1] == 3 * 24 + 19
    assert np.isnan(data.log.price).all()


def test_sessions_that_know_nothing_are_no_sequences() -> None:
    data = catalogue().as_sequences(of_lists(s1=[], s2=["zz"]), "UTC")
    assert (data.log.n_events, data.ends.size, data.now.size) == (0, 0, 0)


def fitted(**settings: Any) -> Any:
    config = model_class("item_knn").config_class.model_validate(
        {"kind": "item_knn", "min_users": 1, "event_weights": {"purchase": 1.0}} | settings
    )
    return make_predictor(config, "ranking").fit(
        [Inputs(matrix([], 0, []).cutoff, matrix=matrix(HAD, 20, ITEMS))], [], ONCE
    )


def lists(path: Path) -> dict[str, list[str]]:
    found = pl.read_parquet(path).group_by("session_id", maintain_order=True).agg("item_id")
    return dict(zip(found["session_id"], found["item_id"].to_list(), strict=True))


def test_a_session_gets_what_goes_with_its_items_then_what_is_popular(tmp_path: Path) -> None:
    asked = of_lists(ab=["a"], cd=["d"], nothing=[], unknown=["zz"])
    counts = catalogue().write(tmp_path / "s.parquet", fitted(), asked, 3)
    found = pl.read_parquet(tmp_path / "s.parquet")
    assert found.schema == pl.Schema(SESSION_SCORES)
    assert counts == {"sessions": 4, "cold_sessions": 2}
    by_session = lists(tmp_path / "s.parquet")
    assert set(by_session["ab"][:2]) == {"a", "b"}
    assert set(by_session["cd"][:2]) == {"c", "d"}
    # Eight users had e, six each of the others had theirs.
    assert by_session["ab"][2] == by_session["cd"][2] == "e"
    assert by_session["nothing"] == by_session["unknown"] == ["e", "a", "b"]
    assert found.filter("is_cold")["session_id"].unique().sort().to_list() == ["nothing", "unknown"]
    assert found["rank"].to_list() == [1, 2, 3] * 4


def test_a_session_is_scored_as_the_user_with_the_same_history(tmp_path: Path) -> None:
    """The oracle: the session as one more user of the log."""
    pairs: list[Pair] = [*HAD, (20, 0, "purchase", 1, 0.0), (20, 2, "purchase", 2, 0.0)]
    data = matrix(pairs, 21, ITEMS, asked=[20])
    place = [2 if item == 0 else 0 for item in data.pairs.filter(user=20)["item"]]
    data = replace(
        data, pairs=data.pairs.with_columns(place=pl.Series([0] * len(HAD) + place, dtype=pl.UInt32))
    )
    model = fitted()
    expected = complete_lists(model.lists(Inputs(data.cutoff, matrix=data), 4), data, 4)
    catalogue().write(tmp_path / "s.parquet", model, of_lists(s=["c", "a", "c"]), 4)
    found = pl.read_parquet(tmp_path / "s.parquet")
    assert found.drop("session_id").equals(expected.drop("user_id"))


def test_blocks_and_the_order_of_sessions_change_no_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    named = {f"s{n:02}": [ITEMS[i] for i in rng.integers(0, 5, rng.integers(0, 4))] for n in range(23)}
    contents = []
    for at_once in (1, 7, 100):
        monkeypatch.setattr(sessions, "_AT_ONCE", at_once)
        shuffled = dict(sorted(named.items(), key=lambda _: rng.random()))
        catalogue().write(tmp_path / "s.parquet", fitted(), of_lists(**shuffled), 3)
        contents.append((tmp_path / "s.parquet").read_bytes())
    assert len(set(contents)) == 1


@pytest.mark.parametrize("kind", [kind for kind in PLAIN if sessions.serves(kind)])
def test_a_session_is_scored_by_itself(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of every kind that answers sessions, other sessions and users of the same name change nothing."""
    night = visitors(12, 8)
    had = night.pairs.select(
        pl.col("user").cast(pl.Int64),
        night.items["item_id"].gather(night.pairs["item"]),
        "event_type",
        "days_since",
    )
    known = Inputs(night.cutoff, matrix=night, sequence=known_before(event_log(had.rows())))
    is_sequential = reads(model_class(kind), "ranking") == "sequence"
    settings = SETTINGS.get(kind, {})
    config = model_class(kind).config_class.model_validate({"kind": kind} | settings)
    model = make_predictor(config, "ranking").fit([known], [], RANKED)
    asked = of_lists(u0001=["i03", "i00"], w=["i03", "i00"], x=["i05"], y=["i03", "zz"], z=[])
    contents = []
    for at_once in (1, 100):
        monkeypatch.setattr(sessions, "_AT_ONCE", at_once)
        of_night = Catalogue(night, None, "purchase", "UTC" if is_sequential else None)
        of_night.write(tmp_path / "s.parquet", model, asked, 4)
        contents.append((tmp_path / "s.parquet").read_bytes())
    assert contents[0] == contents[1]
    found = pl.read_parquet(tmp_path / "s.parquet").partition_by("session_id", as_dict=True)
    assert {name: rows.height for (name,), rows in found.items()} == dict.fromkeys(
        ["u0001", "w", "x", "y", "z"], 4
    )
    assert found["u0001",].drop("session_id").equals(found["w",].drop("session_id"))


def test_sessions_are_not_cut() -> None:
    asked = of_lists(s1=["a", "b"], s2=[], s3=["c"], s4=["a", "b", "c"])
    assert [part["session_id"].unique(maintain_order=True).to_list() for part in in_blocks(asked, 2)] == [
        ["s1", "s2"],
        ["s3", "s4"],
    ]
    assert pl.concat(in_blocks(asked, 3)).equals(asked)
    assert list(in_blocks(asked.clear(), 3)) == []


def test_what_is_barred_is_not_listed_to_a_session(tmp_path: Path) -> None:
    filters = Filters(exclude=("purchase",), deny=pl.Series(["e"]))
    catalogue(filters=filters).write(tmp_path / "s.parquet", fitted(), of_lists(s1=["a"], s2=[]), 5)
    found = lists(tmp_path / "s.parquet")
    assert found["s1"][0] == "b"
    assert sorted(found["s1"]) == ["b", "c", "d"]
    assert sorted(found["s2"]) == ["a", "b", "c", "d"]


def test_items_that_the_log_lacks() -> None:
    asked = of_lists(s1=["zz", "a", "yy"], s2=["zz"], s3=[])
    assert unknown_items(asked, catalogue().night).to_list() == ["yy", "zz"]


@pytest.mark.parametrize(
    ("weights", "event", "expected"),
    [
        ({"view": 0.2, "cart": 0.9, "purchase": 0.5}, "purchase", "cart"),
        ({"purchase": 1.0, "cart": 1.0}, "view", "purchase"),
        (None, "click", "click"),
        (None, "any", "view"),
    ],
)
def test_the_event_type_of_a_session(weights: dict[str, float] | None, event: str, expected: str) -> None:
    kind = "popularity" if weights is None else "item_knn"
    settings = {} if weights is None else {"event_weights": weights}
    config = model_class(kind).config_class.model_validate({"kind": kind} | settings)
    assert event_of(config, event) == expected


@pytest.mark.parametrize("kind", ["popularity", "boosting", "bagging"])
def test_kinds_that_need_more_than_a_session(kind: str) -> None:
    config = model_class(kind).config_class.model_validate({"kind": kind})
    with pytest.raises(ConfigError) as error:
        check_sessions(config)
    message = str(error.value)
    assert message.startswith(
        f"predict.sessions: {kind} needs to know more than the items of a session; these kinds do not: "
    )
    assert "item_knn" in message
    assert message.endswith(". Take the key out, or choose one of them")
    able = message.partition("do not: ")[2].partition(". Take")[0].split(", ")
    assert "popularity" not in able
    assert "boosting" not in able


def test_item_knn_answers_sessions() -> None:
    check_sessions(model_class("item_knn").config_class.model_validate({"kind": "item_knn"}))


# End to end


def published(runs: Runs) -> Artifact:
    found = runs.context().workspace.read("shop/predictions/as_of=2024-04-29")
    assert found is not None
    return found


def test_a_night_with_sessions_leaves_the_populations_scores_alone(listing: Runs, copy_of: CopyOf) -> None:
    runs = copy_of(listing, **PREFERENCE, predict={"sessions": "s.csv"})
    in_file(runs.shop.folder / "s.csv", "session_id,item_id\n1,i07\n1,nope\n2,zip\n2,zap\n2,zop\n")
    assert runs.do("predict").status == "done"
    said = runs.said
    assert table(published(runs), "scores.parquet").equals(table(published(listing), "scores.parquet"))
    found = table(published(runs), "sessions.parquet")
    assert found.group_by("session_id").len().sort("session_id").rows() == [("1", 20), ("2", 20)]
    assert found.filter(session_id="1", rank=1)["item_id"].to_list() == ["i07"]
    assert found.filter(pl.col("is_cold"))["session_id"].unique().to_list() == ["2"]
    assert said == [
        "predict: predict.sessions: passed over 4 items that the log has not (nope, zap, zip, ...)",
        f"predict: {published(runs).counts['users']} users scored as of {date(2024, 4, 29)} for the days up to "
        f"2024-05-13, and 2 sessions",
    ]
    assert published(runs).counts["cold_sessions"] == 1
    assert str(runs.shop.folder) not in (published(runs).path / "manifest.json").read_text()


def test_other_sessions_are_another_night(listing: Runs, copy_of: CopyOf) -> None:
    runs = copy_of(listing, **PREFERENCE, predict={"sessions": "s.csv"})
    path = in_file(runs.shop.folder / "s.csv", "session_id,item_id\n1,i07\n")
    runs.do("predict")
    assert runs.do("predict").status == "skipped"
    in_file(path, "session_id,item_id\n1,i08\n")
    assert runs.do("predict").status == "done"
    assert table(published(runs), "sessions.parquet").row(0)[2] == "i08"


def test_a_kind_that_cannot_is_refused_before_it_is_trained(listing: Runs, copy_of: CopyOf) -> None:
    runs = copy_of(listing, **PREFERENCE | {"model": {"kind": "popularity"}}, predict={"sessions": "s.csv"})
    for stage in ("features", "predict"):
        with pytest.raises(ConfigError, match=r"predict\.sessions: popularity needs to know more"):
            runs.do(stage)
