"""The typed configuration: each key once, with its type, default, unit and a sentence.

`config_file.py` reads YAML into these classes; `models/__init__.py` adds the model kinds.
"""

import difflib
import re
from datetime import date, datetime, timedelta
from typing import Annotated, Any, ClassVar, Literal, Self, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    SerializeAsAny,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from ecbehave.schema import EVENT_COLUMNS, ITEMS, ORIGIN

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_DURATION = re.compile(r"([1-9][0-9]*)([smhdw])")


def parse_duration(value: object) -> timedelta:
    """Read a duration such as `7d`, `12h`, `30m`.

    Raises:
        ValueError: the text is not a positive whole number with one of the units s, m, h, d, w.
    """
    if isinstance(value, timedelta):
        return value
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"a duration is a whole number with a unit, such as 7d, 12h or 30m; got {value!r}")
    return timedelta(seconds=int(match[1]) * _UNITS[match[2]])


def format_duration(value: timedelta) -> str:
    """Write a duration the way the YAML does, in the largest unit up to days that fits: `7d`."""
    seconds = int(value.total_seconds())
    unit = next(u for u in ("d", "h", "m", "s") if seconds % _UNITS[u] == 0)
    return f"{seconds // _UNITS[unit]}{unit}"


def duration_in_words(value: timedelta) -> str:
    """Write a duration for people, in the unit of the YAML: `28 days`."""
    text = format_duration(value)
    n, unit = int(text[:-1]), {"d": "day", "h": "hour", "m": "minute", "s": "second"}[text[-1]]
    return f"{n} {unit}{'s' * (n != 1)}"


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "pattern": f"^{_DURATION.pattern}$"}),
]


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"unknown time zone {name!r}; use an IANA name such as Europe/Berlin") from None
    return name


TimeZone = Annotated[str, AfterValidator(_known_zone)]


def _parse_day(value: object) -> date:
    if isinstance(value, date):
        return value
    try:
        return datetime.strptime(str(value), "%Y-%m-%d").date()
    except ValueError:
        raise ValueError(f"a day is written as 2024-12-31; got {value!r}") from None


#: A date, also in strict validation, where pydantic takes no text for one.
Day = Annotated[date, BeforeValidator(_parse_day)]


class Section(BaseModel):
    """A part of the config: frozen, and strict about unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class EventTypeColumn(Section):
    """The event type stands in a column of the source."""

    column: str
    """Name of the source's column."""
    map: dict[str, str] = {}
    """Source value to event type, e.g. `{addtocart: cart}`; values not named pass through in lower case."""


class FileSource(Section):
    """Files on disk, named by a glob; each file is one batch."""

    kind: Literal["files"] = "files"
    """Where rows come from."""
    table: Literal["events", "items", "users"] = "events"
    """`events` is the log; `items` and `users` are side tables."""
    path: str
    """Glob of files, relative to the YAML file's folder or absolute."""
    format: Literal["csv", "jsonl", "parquet"] | None = None
    """File format; by default read off the suffix (`.csv.gz` is CSV, gzipped)."""
    columns: dict[str, str]
    """Our column: the source's column."""
    event_type: str | EventTypeColumn | None = None
    """Event type of every row (`purchase`), or the column that holds it."""
    timezone: TimeZone | None = None
    """Zone of timestamps that carry none; by default `dataset.timezone`."""
    time_format: str = "auto"
    """`auto` (ISO 8601 or epoch numbers), `epoch_s`, `epoch_ms`, or a pattern such as `%d.%m.%Y %H:%M`."""
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ","
    """Separator of a CSV file."""
    encoding: str = "utf-8"
    """Text encoding of CSV and JSON lines, e.g. `latin-1`."""
    timeless: bool = False
    """Of `users`: the attributes have always held (region, year of birth). Otherwise a row counts from its
    `known_from` on, or else from the time at which its file was written."""

    @field_validator("delimiter")
    @classmethod
    def _separates(cls, delimiter: str) -> str:
        if delimiter in '"\r\n':
            raise ValueError("a quote or a line end cannot separate the fields of a row")
        return delimiter

    @field_validator("time_format")
    @classmethod
    def _has_pattern(cls, time_format: str) -> str:
        if time_format not in ("auto", "epoch_s", "epoch_ms") and "%" not in time_format:
            raise ValueError(
                "time_format is auto, epoch_s, epoch_ms or a strptime pattern such as %d.%m.%Y %H:%M"
            )
        if re.search(r"(?<!\.)%f", time_format):
            raise ValueError("write the fraction of a second with its dot: .%f")
        return time_format

    known: ClassVar[dict[str, tuple[str, ...]]] = {
        "events": tuple(c for c in EVENT_COLUMNS if c != "event_type"),
        "items": tuple(ITEMS),
        "users": (),
    }
    required: ClassVar[dict[str, tuple[str, ...]]] = {
        "events": ("user_id", "ts"),
        "items": ("item_id",),
        "users": ("user_id",),
    }

    @model_validator(mode="after")
    def _check_columns(self) -> Self:
        missing = [c for c in self.required[self.table] if c not in self.columns]
        if missing:
            raise ValueError(f"columns must name the source's column for {', '.join(missing)}")
        known = self.known[self.table]
        unknown = [c for c in self.columns if known and c not in known]
        if unknown:
            close = difflib.get_close_matches(unknown[0], known, 1)
            hint = f"; did you mean {close[0]!r}?" if close else "."
            raise ValueError(
                f"columns has no place for {', '.join(unknown)} in table {self.table}{hint} "
                f"It takes {', '.join(known)}"
            )
        reserved = [c for c in self.columns if c in ORIGIN or c == "unparsed"]
        if reserved:
            raise ValueError(f"columns cannot name {', '.join(reserved)}: the tool writes that itself")
        if self.table == "events" and self.event_type is None:
            raise ValueError(
                "event_type is missing: a constant such as purchase, or {column: ..., map: {...}}"
            )
        if self.table != "events" and self.event_type is not None:
            raise ValueError(f"event_type has no meaning in table {self.table}")
        if self.timeless and (self.table != "users" or "known_from" in self.columns):
            raise ValueError("timeless is for a users table that maps no known_from")
        return self


class Dataset(Section):
    """The shop's raw data."""

    sources: Annotated[list[FileSource], Field(min_length=1)]
    """Where raw rows come from."""
    timezone: TimeZone = "UTC"
    """The shop's calendar: cutoffs are midnights in this zone."""
    changed_files: Literal["fail", "replace"] = "fail"
    """What to do when a file that was ingested before has other content now."""

    @field_validator("sources")
    @classmethod
    def _has_events(cls, sources: list[FileSource]) -> list[FileSource]:
        if not any(s.table == "events" for s in sources):
            raise ValueError("at least one source must have table: events")
        return sources


OutlierColumn = Literal["price", "quantity", "amount"]


class Outlier(Section):
    """Values above a quantile of all earlier calendar months; the first month is left as it is."""

    quantile: Annotated[float, Field(gt=0.5, lt=1)] = 0.999
    """Share of earlier values below the limit."""
    action: Literal["clip", "quarantine"] = "clip"
    """`clip` lowers the value to the limit, `quarantine` refuses the row."""


Share = Annotated[float, Field(ge=0, le=1)]


class Quality(Section):
    """What the data quality report makes `clean` fail for (exit 3); without a limit, it only reports."""

    max_null_share: dict[str, Share] = {}
    """Column of the log to the largest share of a source's rows in which it may be missing or unreadable."""
    max_duplicate_share: Share | None = None
    """Largest share of a source's rows that may be exact duplicates."""
    late_after: Duration = timedelta(days=7)
    """A row is late that comes so long after its time: after `received_at`, where a source maps it, or else after
    what earlier files of the source already reach to."""
    max_late_share: Share | None = None
    """Largest share of a source's rows that may be late."""
    max_bot_share: Share | None = None
    """Largest share of all rows that may be refused as bot-like."""
    max_gap: Duration | None = None
    """Longest believable run of whole days without an event, of a type that comes on most days."""
    max_volume_change: Annotated[float, Field(gt=1)] | None = None
    """Largest believable factor between a day's events of a type and what is usual on that weekday."""
    min_events_per_day: Annotated[int, Field(gt=0)] | None = None
    """Fewest believable events on a whole day of the log."""
    look_back: Duration | None = None
    """`max_gap`, `max_volume_change` and `min_events_per_day` look at this time before the log's end; by default at
    all of it."""

    @field_validator("max_null_share")
    @classmethod
    def _has_columns(cls, shares: dict[str, float]) -> dict[str, float]:
        unknown = [c for c in shares if c not in EVENT_COLUMNS]
        if unknown:
            close = difflib.get_close_matches(unknown[0], EVENT_COLUMNS, 1)
            hint = f"; did you mean {close[0]!r}?" if close else "."
            raise ValueError(
                f"the log has no column {', '.join(unknown)}{hint} It has {', '.join(EVENT_COLUMNS)}"
            )
        return shares


class Clean(Section):
    """What is refused, and what is cut."""

    earliest: Day = date(1990, 1, 1)
    """Events before this day are impossible; so are events a day after their file was written."""
    max_price: Annotated[float, Field(gt=0)] = 1_000_000
    """Highest believable price and amount, in the shop's currency."""
    max_quantity: Annotated[float, Field(gt=0)] = 1_000_000
    """Highest believable quantity."""
    max_events_per_user_day: Annotated[int, Field(gt=0)] = 2_000
    """A user with more events on one day is bot-like: refused from the first one too many on."""
    max_events_per_user: Annotated[int, Field(gt=0)] = 200_000
    """A user's events after this many are refused as bot-like."""
    max_refused_share: Annotated[float, Field(ge=0, le=1)] = 0.5
    """The stage fails when a larger share of the rows is refused."""
    outliers: dict[OutlierColumn, Outlier] = {}
    """Columns whose highest values are cut."""
    quality: Quality = Quality()
    """Limits of the data quality report."""


class ChurnTask(Section):
    """Which active customer stops?"""

    kind: Literal["churn"]
    """The question."""
    event: str = "purchase"
    """The event that makes a customer active; `any` for every event."""
    active_within: Duration = timedelta(days=28)
    """Who had the event in this time before the cutoff is asked about."""
    horizon: Duration = timedelta(days=28)
    """Who does not have it in this time from the cutoff on has churned."""


class Candidates(Section):
    """What each user is paired with, for `target: item` and `target: category`; the rest counts as not bought."""

    recent: Duration | None = timedelta(days=91)
    """All that the user had any event with in this time before the cutoff; null takes all history."""
    popular: Annotated[int, Field(ge=0)] = 0
    """And so many of what most users bought in the longest of `features.windows`."""


class PurchaseTask(Section):
    """Who buys?"""

    kind: Literal["purchase"]
    """The question."""
    target: Literal["any", "category", "item"] = "any"
    """What is bought: anything, or for each pair of a user and a candidate, that category or that item."""
    active_within: Duration = timedelta(days=28)
    """Who had any event in this time before the cutoff is asked about."""
    horizon: Duration = timedelta(days=7)
    """A purchase in this time from the cutoff on counts."""
    candidates: Candidates = Candidates()
    """What each user is paired with, where `target` is not `any`."""

    @model_validator(mode="after")
    def _has_use_for_candidates(self) -> Self:
        if self.target == "any" and self.candidates != Candidates():
            raise ValueError("candidates are for target: item or category; take them out, or set target")
        return self


class RankedCandidates(Candidates):
    """What is ranked for each user by kinds that learn from a table, such as `logistic` and `boosting`."""

    popular: Annotated[int, Field(ge=0)] = 20
    """And so many of what most users had the task's event with, or any event, in each of `features.windows`."""
    similar: Annotated[int, Field(gt=0)] = 100
    """And so many that go best with all that the user had, by `item_knn` as known at the cutoff."""


Category = Annotated[str, Field(pattern=r"^[^.]+(\.[^.]+)*$")]


class ListedItems(Section):
    """Which items may be listed; what may not is no true item either."""

    allow: str | None = None
    """File of the only items that may be: one id per line, or CSV or Parquet with a column `item_id`; relative to the
    YAML file's folder or absolute. Null allows all."""
    deny: str | None = None
    """File of items that may not be, likewise."""
    categories: list[Category] = []
    """Only items of these categories, as known at the cutoff, and of those below them: `home` covers `home.kitchen`.
    Empty takes all."""


class PreferenceTask(Section):
    """Which items does a user want next?"""

    kind: Literal["preference"]
    """The question."""
    feedback: Literal["implicit", "explicit"] = "implicit"
    """What shows the preference: `implicit`, that the user has the event with an item, and items are ranked; or
    `explicit`, the rating that the user gives an item, and ratings are predicted."""
    event: str = "purchase"
    """The event that shows the preference; with `explicit` by default `any`, which is whatever has a rating."""
    active_within: Duration = timedelta(days=91)
    """Who had any event in this time before the cutoff gets a list."""
    horizon: Duration = timedelta(days=14)
    """Items with the event in this time from the cutoff on are the true ones."""
    candidates: RankedCandidates = RankedCandidates()
    """What is ranked for each user by kinds that learn from a table; the others rank the whole catalogue."""
    exclude: list[str] = []
    """Event types: what a user had one of these with before the cutoff is neither listed nor true; `any` is every
    type. Empty keeps repeats, which groceries live on."""
    items: ListedItems = ListedItems()
    """Which items may be listed."""

    @model_validator(mode="before")
    @classmethod
    def _default_event(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("feedback") == "explicit":
            return {"event": "any"} | data
        return data

    @model_validator(mode="after")
    def _has_use_for_candidates(self) -> Self:
        if self.feedback == "explicit" and self.candidates != RankedCandidates():
            raise ValueError("candidates are for feedback: implicit; take them out, or set feedback")
        return self


TaskConfig = Annotated[ChurnTask | PurchaseTask | PreferenceTask, Field(discriminator="kind")]


class Split(Section):
    """Cutoffs, global in time; the latest complete horizon is the last test window."""

    kind: Literal["time", "leave_one_out"] = "time"
    """`leave_one_out` is for comparing with published tables only, since it leaks time: the test item is the last one
    that each user had `task.event` with, the validation item the second last, and a fit sees what others did later.
    It has no cutoffs, and takes of the keys below the last only. For preference, by kinds that rank all items."""
    step: Duration = timedelta(days=14)
    """Distance between the cutoffs of one split."""
    train: Annotated[int, Field(ge=1)] = 8
    """Number of train cutoffs."""
    validation: Annotated[int, Field(ge=1)] = 1
    """Number of validation cutoffs: early stopping, calibration, threshold. With several, no single one weighs as much
    where weeks differ from one another."""
    test: Annotated[int, Field(ge=1)] = 1
    """Number of test cutoffs."""
    rolling: bool = False
    """A fit for each test cutoff, with as many train and validation cutoffs before it: metrics with their spread over
    time, from the models as they would have been. Otherwise one fit is judged on all test cutoffs."""
    fit_on_validation: bool = False
    """With `leave_one_out`: judge a fit that has learned from the validation items too; published ones have not. Kinds
    that count when they score, such as `popularity`, know those of all users in any case."""

    @model_validator(mode="after")
    def _has_use_for_keys(self) -> Self:
        if self.kind == "time":
            if self.fit_on_validation:
                raise ValueError("fit_on_validation is for kind: leave_one_out; take it out, or set kind")
            return self
        cutoffs = ("step", "train", "validation", "test", "rolling")
        wrong = [key for key in cutoffs if getattr(self, key) != type(self).model_fields[key].default]
        if wrong:
            raise ValueError(f"{wrong[0]} is for kind: time, since leave_one_out has no cutoffs; take it out")
        return self


class Select(Section):
    """Which features a model is given; those that it reads by name stay out of this."""

    drop_constant: bool = True
    """Leave out features with the same value in all train rows."""
    max_correlation: Annotated[float, Field(gt=0, le=1)] | None = None
    """Leave out a number that follows an earlier one with at least this correlation on the train rows, and is
    unknown in the same rows; null keeps it."""
    by: Literal["gain", "mutual_information"] = "gain"
    """What `keep` goes by, on the validation window: `gain` is the rise of the log loss when the feature's
    contribution is taken out."""
    keep: Annotated[int, Field(gt=0)] | None = None
    """Number of features to keep, the best ones; null keeps all."""


Encode = Literal["one_hot", "ordinal", "frequency", "target"]
Normalise = Literal["none", "standard", "min_max", "robust"]
Impute = Literal["none", "median", "zero"]

#: The keys of `features` that train reads: they change what a model is given, but not the stored table.
PREPARATION = ("encode", "normalise", "log", "impute", "missing_flags", "max_categories", "select")


FeatureGroup = Literal[
    "sessions",
    "rhythm",
    "depth",
    "baskets",
    "prices",
    "price_level",
    "discounts",
    "coupons",
    "returns",
    "funnel",
    "abandonment",
    "ratings",
    "categories",
    "brands",
    "calendar",
    "popularity",
    "attributes",
]


class Features(Section):
    """The table input, and how a model is given it: everything of that is learned from the train rows alone."""

    windows: Annotated[list[Duration], Field(min_length=1)] = [
        timedelta(days=7),
        timedelta(days=28),
        timedelta(days=91),
    ]
    """Lengths of history that features are computed over, besides all of it."""
    groups: list[FeatureGroup] = list(get_args(FeatureGroup))
    """Groups of features to build, where the log supports them; counts, recency and orders always are. Tables of pairs
    (`task.target`) have features of their own, and do not read this."""
    session_gap: Duration = timedelta(minutes=30)
    """A longer time without an event ends a session, for events without a `session_id`."""
    encode: Encode | None = None
    """How categories become numbers; `target` takes the rate of labels known before the row's cutoff. By default
    what suits the kind of model; so for the next four keys."""
    normalise: Normalise | None = None
    """Scale of numbers: by mean and deviation, smallest and largest, or median and middle half of the train rows."""
    log: bool | None = None
    """Take the logarithm, log(1 + |x|) with the sign of x, of numbers whose skewness in the train rows is above 1."""
    impute: Impute | None = None
    """What stands in for an unknown number: the median of the train rows, or 0."""
    missing_flags: bool | None = None
    """Add a column that says where a number is unknown, for those that are somewhere in the train rows."""
    max_categories: Annotated[int, Field(gt=0)] = 20
    """Categories with a code of their own, the most frequent ones; rarer and new ones share the code `other`."""
    select: Select = Select()
    """Which features a model is given."""

    @field_validator("windows")
    @classmethod
    def _ascending(cls, windows: list[timedelta]) -> list[timedelta]:
        if sorted(set(windows)) != windows:
            raise ValueError("windows must ascend, each once")
        return windows


class ModelConfig(Section):
    """What every kind of model shares: its name."""

    kind: str

    def parts(self) -> "dict[str, ModelConfig]":
        """Return the models that this one is made of, by their keys below it; for most kinds there are none."""
        return {}


class Searched(Section):
    """What is tried of a key of the model: a range, or a list of values."""

    low: float | None = None
    """Smallest value of a range."""
    high: float | None = None
    """Largest value of a range."""
    log: bool = False
    """Try a range evenly on a log scale: as many values from 0.01 to 0.1 as from 0.1 to 1."""
    values: Annotated[list[bool | int | float | str | None], Field(min_length=1)] | None = None
    """The values themselves, instead of a range."""

    @model_validator(mode="after")
    def _is_range_or_list(self) -> Self:
        ends = [end for end in (self.low, self.high) if end is not None]
        if self.values is not None and (ends or self.log):
            raise ValueError("give either values, or low and high")
        if self.values is None and len(ends) < 2:
            raise ValueError("give low and high, or values")
        if ends and ends[0] >= ends[1]:
            raise ValueError(f"low must be below high, but they are {ends[0]:g} and {ends[1]:g}")
        if self.log and ends[0] <= 0:
            raise ValueError(f"on a log scale low must be above 0, but it is {ends[0]:g}")
        return self


class Tune(Section):
    """Search for better settings of the model before it is fitted, on windows before the test windows."""

    trials: Annotated[int, Field(ge=1)] = 50
    """Number of settings to try; the model's own come first, so that the result is not worse on these windows."""
    max_seconds: Annotated[float, Field(gt=0)] | None = None
    """Time for the search, in seconds; null sets no limit. With a limit, the number of trials is up to the machine."""
    origins: Annotated[int, Field(ge=1)] = 3
    """Cutoffs at which each trial is judged, the latest ones of train and validation; each is predicted by a model
    of what was known at that time."""
    space: Annotated[dict[str, Searched], Field(min_length=1)] | None = None
    """Key of the model to what is tried of it (a part's key with a dot); by default what the kind names itself."""


class Calibration(Section):
    """How scores become probabilities, learned on the validation windows; the order of the scores stays."""

    method: Literal["auto", "platt", "beta", "isotonic"] = "auto"
    """`platt` fits a logistic curve over the score, `beta` one that may bend differently at its two ends, `isotonic`
    whatever rises. `auto` takes `beta`, or another one that does clearly better on validation users that it was not
    fitted on; with fewer than 50 rows of either label, `platt`."""


class Targeting(Section):
    """What the ways to decide share."""

    control_share: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the targeted users to leave alone, drawn by the seed, so that the effect of targeting can be seen later
    by comparing them with the others."""


class F1Decision(Targeting):
    """Target from the probability on that had the best F1 on the validation windows."""

    kind: Literal["f1"] = "f1"
    """The rule."""


class CapacityDecision(Targeting):
    """Target the highest scores, as many as can be handled."""

    kind: Literal["capacity"]
    """The rule."""
    top: Annotated[int, Field(gt=0)]
    """Number of rows to target: users, or pairs of a user and an item or a category."""


class ProfitDecision(Targeting):
    """Target where it pays: where probability x `success_rate` x `value` is at least `cost`."""

    kind: Literal["profit"]
    """The rule."""
    value: Annotated[float, Field(gt=0)]
    """What a positive row is worth if targeting succeeds, in the shop's currency: the margin of a churner who stays."""
    cost: Annotated[float, Field(gt=0)]
    """What it costs to target a row, positive or not."""
    success_rate: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the targeted positive rows with which targeting succeeds."""

    @model_validator(mode="after")
    def _can_pay(self) -> Self:
        gain = self.value * self.success_rate
        if self.cost >= gain:
            raise ValueError(
                f"targeting would never pay: it costs {self.cost:g}, and brings value x success_rate = {gain:g} at "
                f"most; check the three"
            )
        return self


class ProbabilityDecision(Targeting):
    """Target from a probability on."""

    kind: Literal["probability"]
    """The rule."""
    threshold: Annotated[float, Field(gt=0, lt=1)]
    """Probability from which a row is targeted."""


DecisionConfig = Annotated[
    F1Decision | CapacityDecision | ProfitDecision | ProbabilityDecision, Field(discriminator="kind")
]


class Evaluate(Section):
    """How the test windows are judged."""

    bootstrap: Annotated[int, Field(ge=100)] = 1_000
    """Resamples of users behind each interval."""
    segments: list[str] | None = None
    """Features, or attributes of users, by whose values the probabilities are checked: each category, and quarters of
    a number. By default how long ago and on how many days the user had events."""
    k: Annotated[list[Annotated[int, Field(gt=0)]], Field(min_length=1)] = [5, 10, 20]
    """Lengths of the list at which a ranking is judged."""
    permutation_rows: Annotated[int, Field(ge=0)] = 10_000
    """About so many test rows, of users drawn at random, tell what each family of features is worth when it is
    shuffled; 0 leaves this out. For purchase and churn."""
    require_improvement: bool = False
    """Exit with code 5 when the model is not clearly better than the baseline."""
    truth: str | None = None
    """Folder `truth` of a log that `ecbehave simulate` wrote, relative to the YAML file's folder or absolute: what
    part of the reachable AUROC does the model reach? For purchase, and churn of purchases."""

    @property
    def deciding_k(self) -> int:
        """Length of the list at which rankings are compared."""
        return 10 if 10 in self.k else self.k[0]


class Predict(Section):
    """What is scored."""

    as_of: Literal["latest"] | Day = "latest"
    """Last day of history, included; `latest` is the last complete day of the log."""
    k: Annotated[int, Field(gt=0)] = 20
    """Items per user (preference)."""
    refit: bool = True
    """Fit once more, with the same settings, on the validation and test windows too, before scoring."""
    reasons: Annotated[int, Field(ge=0, le=3)] = 3
    """Reasons per targeted row, for kinds that can give them."""
    explain_rows: Annotated[int, Field(ge=0)] = 100_000
    """Reasons are computed for the targeted rows among this many with the highest scores."""
    similar_items: Annotated[int, Field(ge=0)] = 0
    """Items most like each item, in a table of their own: so many at most, by kinds that can tell (preference)."""
    similar_users: Annotated[int, Field(ge=0)] = 0
    """Users most like each user who is asked, likewise (preference)."""
    embeddings: bool = False
    """Write what a net over sequences knows of each user, as a vector, to `embeddings.parquet`."""
    sessions: str | None = None
    """File of anonymous sessions that get lists too: Parquet, CSV or JSON lines with `session_id` and `item_ids` (a
    list, the oldest first) or a row for each `session_id` and `item_id`; relative to the YAML file's folder or
    absolute (preference)."""


class Config(Section):
    """One run: dataset, task and model."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    """Folder of this run in the workspace; by default the name of the YAML file."""
    workspace: str
    """Folder of all artifacts, relative to the YAML file's folder or absolute."""
    dataset: Dataset
    clean: Clean = Clean()
    task: TaskConfig
    """The question, chosen by `kind`."""
    split: Split = Split()
    features: Features = Features()
    model: SerializeAsAny[ModelConfig]
    """The model, chosen by `kind`."""
    baseline: SerializeAsAny[ModelConfig]
    """The rule to beat; by default `rfm` for purchase and churn, `popularity` for preference, and for
    ratings `mean_rating`."""
    tune: Tune | None = None
    calibration: Calibration = Calibration()
    decision: DecisionConfig = F1Decision()
    """Who is targeted, chosen by `kind`; by default by `f1`."""
    evaluate: Evaluate = Evaluate()
    predict: Predict = Predict()
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of everything random."""

    @field_validator("name")
    @classmethod
    def _is_free(cls, name: str) -> str:
        if name in ("events_raw", "clean", "quality-failed"):
            raise ValueError(f"the folder {name} is about the log of all runs; set name to another one")
        return name

    @model_validator(mode="after")
    def _has_truth_for_task(self) -> Self:
        if self.evaluate.truth is None:
            return self
        if isinstance(self.task, PreferenceTask):
            raise ValueError("evaluate.truth is for the tasks purchase and churn; take it out for preference")
        if isinstance(self.task, PurchaseTask) and self.task.target != "any":
            raise ValueError(
                "evaluate.truth knows who purchases anything; take it out, or set task.target to any"
            )
        if isinstance(self.task, ChurnTask) and self.task.event != "purchase":
            raise ValueError(
                f"evaluate.truth knows who purchases; with task.event: {self.task.event}, take it out"
            )
        return self

    @model_validator(mode="after")
    def _has_probabilities_to_use(self) -> Self:
        if not isinstance(self.task, PreferenceTask):
            lists = ("similar_items", "similar_users", "sessions")
            wrong = [f"predict.{key}" for key in lists if getattr(self.predict, key)]
            if wrong:
                raise ValueError(f"{wrong[0]} is for the task preference; take it out for {self.task.kind}")
            return self
        used = {
            "calibration": self.calibration != Calibration(),
            "decision": self.decision != F1Decision(),
            "evaluate.segments": self.evaluate.segments is not None,
        }
        wrong = [key for key, is_used in used.items() if is_used]
        if wrong:
            raise ValueError(f"{wrong[0]} is for the tasks purchase and churn; take it out for preference")
        if self.task.feedback == "explicit" and self.predict.sessions is not None:
            raise ValueError(
                "predict.sessions is for feedback: implicit, since sessions have no ratings; take it out"
            )
        return self

    @model_validator(mode="after")
    def _can_leave_one_out(self) -> Self:
        if self.split.kind == "time":
            return self
        if not isinstance(self.task, PreferenceTask) or self.task.feedback == "explicit":
            raise ValueError(
                "split.kind: leave_one_out is for the task preference with feedback: implicit; set kind to time"
            )
        if self.tune is not None:
            raise ValueError(
                "tune looks for the best settings at cutoffs in time; take it out, or set split.kind"
            )
        return self

    @model_validator(mode="before")
    @classmethod
    def _default_baseline(cls, data: Any) -> Any:
        if isinstance(data, dict) and "baseline" not in data:
            task = data.get("task")
            asked = task if isinstance(task, dict) else {}
            rule = "rfm" if asked.get("kind") != "preference" else "popularity"
            if rule == "popularity" and asked.get("feedback") == "explicit":
                rule = "mean_rating"
            return data | {"baseline": {"kind": rule}}
        return data
