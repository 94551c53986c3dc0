"""Trees that LightGBM grows from a table, keeps as text, and can be asked for scores and for what drove them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ecbehave.inputs.types import TableInput
from ecbehave.models.protocol import Options
from ecbehave.models.storage import load_json, reading, save_json

Floats = NDArray[np.float64]

_ROWS_PER_THREAD = 100_000
_TREES = "trees.txt"


@dataclass(frozen=True)
class Trees:
    """The first `n_trees` of what LightGBM has grown, on columns named `features`."""

    booster: Any
    features: tuple[str, ...]
    n_trees: int

    def predict(self, data: TableInput) -> Floats:
        """Return the sum over trees for each row [N]."""
        return self._apply(data, (data.n_rows,), raw_score=True)

    def contributions(self, data: TableInput) -> Floats:
        """Return what adds up to the sum over trees [N, F + 1], about a hundred times as slow as `predict`.

        The last column is the mean over the rows that the trees were grown on.

        Source: Lundberg et al. (2020), From local explanations to global understanding, algorithm 2 (TreeSHAP).
        """
        return self._apply(data, (data.n_rows, len(self.features) + 1), pred_contrib=True)

    def _apply(self, data: TableInput, shape: tuple[int, ...], **what: bool) -> Floats:
        if not data.n_rows:
            return np.empty(shape)
        threads = {"num_threads": 1} if _most_threads(data.n_rows) == 1 else {}
        found = self.booster.predict(data.values, num_iteration=self.n_trees, **what, **threads)
        return np.asarray(found, dtype=np.float64)

    def importance(self) -> dict[str, float]:
        """Return each feature's share of what all splits have gained."""
        gain = self.booster.feature_importance("gain", iteration=self.n_trees)
        return dict(zip(self.features, (gain / max(gain.sum(), 1e-12)).tolist(), strict=True))

    def save(self, folder: Path, name: str) -> None:
        """Write the trees as LightGBM's text, and the names of their columns as `name`.json."""
        text = self.booster.model_to_string(num_iteration=self.n_trees)
        text = re.sub(r"\[num_threads: \d+\]\n", "", text)  # the run's, not the model's
        (folder / _TREES).write_text(text, encoding="utf-8")
        save_json(folder / f"{name}.json", {"features": self.features, "n_trees": self.n_trees})

    @classmethod
    def load(cls, folder: Path, name: str) -> Self:
        """Read what `save` wrote.

        Raises:
            ArtifactError: a file is missing, or holds something else.
        """
        import lightgbm as lgb

        stored = load_json(folder / f"{name}.json")
        with reading(folder / f"{name}.json"):
            features, n_trees = tuple(stored["features"]), int(stored["n_trees"])
        with reading(folder / _TREES):
            text = (folder / _TREES).read_text(encoding="utf-8")
            return cls(lgb.Booster(model_str=text), features, n_trees)


def binned(
    table: TableInput,
    weight: Floats | None = None,
    group: Sequence[int] | None = None,
    like: Any = None,
    parameters: Mapping[str, Any] | None = None,
) -> Any:
    """Return a `lightgbm.Dataset`: the columns are read where they lie, so that only the bins take memory.

    Args:
        table: rows to learn from, or to stop by; all features are numbers.
        weight: of each row [N]; None for equal weights.
        group: numbers of rows that belong together, in their order; for rankings.
        like: the `Dataset` to learn from, where this one is to stop by.
        parameters: LightGBM's; `lightgbm.train` gives its own, but not so `lightgbm.Booster`.
    """
    import lightgbm as lgb

    # Own names: LightGBM refuses some characters that a feature's name may have.
    names = [f"Column_{n}" for n in range(len(table.features))]
    # As Polars gives it to LightGBM by itself, a table of several cutoffs would be copied.
    columns = table.frame.select(table.features).to_arrow()
    return lgb.Dataset(
        columns,
        table.label,
        weight=weight,
        group=group,
        reference=like,
        feature_name=names,
        params=None if parameters is None else dict(parameters),
        free_raw_data=True,
    )


def leaves_of(booster: Any) -> list[int]:
    """Return the number of leaves of each tree of a `lightgbm.Booster`."""
    return [
        int(found) for found in re.findall(r"^num_leaves=(\d+)$", booster.model_to_string(), re.MULTILINE)
    ]


def run_parameters(options: Options, n_rows: int) -> dict[str, Any]:
    """Return what the run decides.

    LightGBM promises equal results for any number of threads with `deterministic` and a fixed layout.
    """
    return {
        "seed": options.seed,
        "num_threads": min(_most_threads(n_rows), options.threads),
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
    }


def _most_threads(n_rows: int) -> int:
    """Return how many threads pay: on few rows they wait for one another, for seconds where other jobs run too."""
    return max(n_rows // _ROWS_PER_THREAD, 1)
