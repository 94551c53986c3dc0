"""Buy till you drop out: how often a customer buys and how long they have been silent, without any label.

BG/NBD: while alive, a customer buys at a rate of their own; after each purchase they may stop for good. Rates
differ as a gamma distribution, and chances to stop as a beta distribution.

Source: Fader, Hardie and Lee (2005), "Counting Your Customers" the Easy Way, Marketing Science 24(2).
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import polars as pl
from scipy.special import expit

from ecbehave.config.model import ModelConfig
from ecbehave.errors import DataError
from ecbehave.inputs.types import TableInput
from ecbehave.models.baseline.repeat_buying import Customers, Floats, RepeatBuying
from ecbehave.models.labels import pooled
from ecbehave.models.protocol import InputType, Options
from ecbehave.models.storage import load_json, reading, save_json

_DAY = timedelta(days=1)


class BgnbdConfig(ModelConfig):
    """BG/NBD: probability of a purchase within the horizon, from a customer's number of purchase days, and the
    first and the last of them."""

    kind: Literal["bgnbd"]


class Bgnbd:
    """Fitted by maximum likelihood on the newest train cutoff, on which every customer stands once.

    Reads three features of purchases, or of any event where the log has no purchases; where pairs are asked, those
    of the pair. The labels say only whether a 1 means that somebody buys or, as with churn, that they do not; and
    what to answer for those who have never bought, of whom the model knows nothing.
    """

    config_class: ClassVar[type[ModelConfig]] = BgnbdConfig
    inputs: ClassVar[Mapping[str, InputType]] = {"binary": "table"}

    def __init__(self, config: BgnbdConfig) -> None:
        self.config = config
        self.columns_: list[str] = []
        self.parameters_ = RepeatBuying(1.0, 1.0, 1.0, 1.0)
        self.horizon_days_ = 1.0
        self.sign_ = 1.0
        self.never_bought_ = 0.0

    def fit(self, train: Sequence[TableInput], valid: Sequence[TableInput], options: Options) -> Self:
        """Fit the four parameters, and learn what the labels mean.

        Raises:
            DataError: nobody has bought on two days, so that nothing is known of repeat buying.
        """
        del valid
        table = pooled(train)
        self.columns_ = _columns(table.features)
        known = _purchases(table, self.columns_)
        cutoff: Any = table.frame["cutoff"].max()
        newest = known.filter(table.frame["cutoff"] == cutoff).drop_nulls()
        n_repeated = newest.filter(pl.col("n_repeats") > 0).height
        if n_repeated == 0:
            raise DataError(
                f"bgnbd learns from repeat purchases, and of {newest.height:,} buyers before the newest train cutoff "
                f"none has bought on two days; choose another kind, or bring more data"
            )
        counted = newest.group_by(pl.all()).len("n").sort(pl.all())
        self.parameters_ = RepeatBuying.fit(_customers(counted), counted["n"].to_numpy().astype(np.float64))
        self.horizon_days_ = (options.ends[cutoff] - cutoff) / _DAY
        self._learn_labels(known, table.label.astype(np.float64))
        return self

    def _learn_labels(self, known: pl.DataFrame, label: Floats) -> None:
        """Learn whether those who are likelier to buy have label 1 or 0, and the label of those who never have."""
        has_bought = known["age"].is_not_null().to_numpy()
        # As if one more of them had the usual label: there may be none.
        of_never = (label[~has_bought].sum() + label.mean()) / (label.size - has_bought.sum() + 1)
        self.never_bought_ = float(np.log(of_never / (1 - of_never)))
        chance = expit(self._log_odds(known.filter(has_bought)))
        bought = label[has_bought]
        self.sign_ = 1.0 if (chance * (bought - bought.mean())).sum() >= 0 else -1.0

    def _log_odds(self, known: pl.DataFrame) -> Floats:
        return self.parameters_.log_odds(_customers(known), self.horizon_days_)

    def predict(self, data: TableInput, k: int = 0) -> pl.DataFrame:
        """Return the keys with the log-odds of label 1 as `score`."""
        del k
        known = _purchases(data, self.columns_)
        has_bought = known["age"].is_not_null().to_numpy()
        score = np.full(data.n_rows, self.never_bought_)
        score[has_bought] = self.sign_ * self._log_odds(known.filter(has_bought))
        return data.keys.with_columns(score=pl.Series(score, dtype=pl.Float64))

    def save(self, folder: Path) -> None:
        """Write the parameters, in days."""
        stored = {
            "columns": self.columns_,
            "r": self.parameters_.r,
            "alpha": self.parameters_.alpha,
            "a": self.parameters_.a,
            "b": self.parameters_.b,
            "horizon_days": self.horizon_days_,
            "sign": self.sign_,
            "never_bought": self.never_bought_,
        }
        save_json(folder / "bgnbd.json", stored)

    @classmethod
    def load(cls, folder: Path, config: BgnbdConfig) -> Self:
        """Read what `save` wrote."""
        model = cls(config)
        stored = load_json(folder / "bgnbd.json")
        with reading(folder / "bgnbd.json"):
            model.columns_ = list(stored["columns"])
            model.parameters_ = RepeatBuying(*(float(stored[name]) for name in ("r", "alpha", "a", "b")))
            model.horizon_days_ = float(stored["horizon_days"])
            model.sign_ = float(stored["sign"])
            model.never_bought_ = float(stored["never_bought"])
        return model


def _columns(features: Sequence[str]) -> list[str]:
    """Return the features for the days with a purchase, and the days since the first and the last one."""
    of = next(
        (p for p in ("item_", "category_") if any(f.startswith(f"{p}tenure_days_") for f in features)), ""
    )
    start = f"{of}tenure_days_"
    events = [f.removeprefix(start).removesuffix("_all") for f in features if f.startswith(start)]
    event = next((e for e in ("purchase", "any") if e in events), events[0])
    return [f"{of}{measure}_{event}_all" for measure in ("days", "tenure_days", "recency_days")]


def _purchases(data: TableInput, columns: Sequence[str]) -> pl.DataFrame:
    """Return [N] `n_repeats`, `last_repeat` and `age`: days with a purchase after the first one, and the age of the
    customer at the last of them and now; null for those who have never bought.

    Ages are whole days after the first one, up to the last complete day, as the published figures count them.
    """
    days, first, last = (pl.col(column).cast(pl.Float64) for column in columns)
    # Permutation importance gives users the feature of somebody else, which does not fit to the others.
    has_bought = (days >= 1) & first.is_not_null() & last.is_not_null()
    age, since_last = (since.ceil() - 1 for since in (first, last))
    known = {"n_repeats": days - 1, "last_repeat": (age - since_last).clip(0), "age": age}
    return data.frame.select(pl.when(has_bought).then(value).alias(name) for name, value in known.items())


def _customers(known: pl.DataFrame) -> Customers:
    return Customers(*(known[column].to_numpy() for column in ("n_repeats", "last_repeat", "age")))
