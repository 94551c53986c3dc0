"""train: `inputs/` -> `model/`: the judged model, its baseline, and the refit that scores."""

from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from ecbehave.artifacts import Artifact, Built, Outcome, Spec, changed_keys
from ecbehave.config import PREPARATION, ModelConfig
from ecbehave.errors import ArtifactError, DataError
from ecbehave.inputs.types import TableInput
from ecbehave.metrics.classification import best_f1_threshold
from ecbehave.models import input_type
from ecbehave.models.calibration import Calibration
from ecbehave.models.protocol import Explains, InputType, Model, Options, Scorer
from ecbehave.models.storage import check_folder, load_json, save_json
from ecbehave.stages import Context, clean, features, ingest, prepared, upstream
from ecbehave.stages.prepared import Prepared
from ecbehave.tasks import make_task

VERSION = 2

#: Folders of the artifact: the model that evaluate judges, the rule it is compared with, the model that scores.
FITTED, BASELINE, REFIT = "fitted", "baseline", "refit"
_META = "meta.json"

#: Stages before this one; their settings must be the same when the model scores.
MADE_WITH = (ingest, clean, features)


def name(context: Context) -> str:
    """Return the artifact's name."""
    return f"{context.config.name}/model"


def settings(context: Context) -> dict[str, Any]:
    """Return the part of the config that the stage reads."""
    public = context.public
    config = {key: public[key] for key in ("model", "baseline", "seed")}
    config["features"] = {key: public["features"][key] for key in PREPARATION}
    config["predict"] = {"refit": public["predict"]["refit"]}
    config["evaluate"] = {"threshold": public["evaluate"]["threshold"]}
    return config


def spec(context: Context) -> Spec:
    """Return what the model is made from."""
    inputs = upstream(context, "features", features.name(context), features.spec)
    return Spec("train", VERSION, settings(context), {features.name(context): inputs.fingerprint})


def run(context: Context) -> Outcome:
    """Fit the model, its baseline and the refit."""
    inputs = upstream(context, "features", features.name(context), features.spec)
    return context.workspace.produce(
        name(context),
        spec(context),
        lambda folder: _Training(context, inputs, folder).build(),
        force=context.force,
    )


class _Training:
    """One run of the stage."""

    def __init__(self, context: Context, inputs: Artifact, folder: Path) -> None:
        self.context, self.inputs, self.folder = context, inputs, folder
        self.task = make_task(context.config.task)
        self.options = Options(context.config.seed, context.threads)

    def build(self) -> Built:
        self.inputs.verify()
        config = self.context.config
        with self.context.progress.track("train", 2 + config.predict.refit) as advance:
            model, meta = self._fit(config.model, FITTED)
            advance(1)
            self._fit(config.baseline, BASELINE)
            advance(1)
            info: dict[str, Any] = {"kind": config.model.kind, "baseline": config.baseline.kind, FITTED: meta}
            if isinstance(model, Explains):
                info["importance"] = dict(model.importance())
            if isinstance(model, Prepared):
                info |= self._preparation(model)
            if config.predict.refit:
                self.context.progress.say(f"train: {config.model.kind} once more, on the later windows too")
                info[REFIT] = self._refit(model, meta)
                advance(1)
        info |= {key: self.inputs.info[key] for key in ("facts", "features")}
        info["made_with"] = {
            stage.__name__.split(".")[-1]: stage.settings(self.context) for stage in MADE_WITH
        }
        return Built({}, info, seed=config.seed)

    def _fit(self, config: ModelConfig, part: str) -> tuple[Model | Prepared, dict[str, Any]]:
        kind = input_type(config, self.task.name, self.task.output, "model")
        train, valid = self._read(kind, "train"), self._read(kind, "validation")
        self.context.progress.say(f"train: {config.kind} on {len(train)} cutoff{'s' * (len(train) != 1)}")
        if self.task.output == "binary":
            _check_validation(TableInput.concat(valid))
        newest = [replace(valid[-1], labels=None)] if kind == "matrix" else []
        model = prepared.make(config, self.context.config.features, self._ends())
        model.fit(train + newest, valid, self.options)
        until = features.windows_of(self.inputs, "validation")[-1].end
        meta = {"kind": config.kind, "knows_until": until.isoformat()}
        if self.task.output == "binary":
            meta |= self._calibrate(model, TableInput.concat(valid))
        self._save(model, part, meta)
        return model, meta

    def _ends(self) -> dict[datetime, datetime]:
        """Return the end of the label window of each cutoff."""
        splits = ("train", "validation", "test")
        return {w.cutoff: w.end for split in splits for w in features.windows_of(self.inputs, split)}

    def _preparation(self, model: Prepared) -> dict[str, Any]:
        """Return what the manifest and the report say of selection and transformation."""
        n_features, n_dropped = len(self.inputs.info["features"]), len(model.dropped_)
        if n_dropped:
            self.context.progress.say(f"train: {n_dropped} of {n_features} features left out")
        selection = [{"feature": feature} | asdict(reason) for feature, reason in model.dropped_.items()]
        return {"transform": asdict(model.settings), "selection": selection}

    def _calibrate(self, model: Scorer, later: TableInput) -> dict[str, Any]:
        """Learn probabilities and the threshold on the validation window."""
        score = model.predict(later, 0)["score"].to_numpy()
        calibration = Calibration.fit(score, later.label)
        threshold = self.context.config.evaluate.threshold
        if threshold == "f1":
            threshold = best_f1_threshold(later.label, calibration.apply(score))
        return {"calibration": calibration.to_dict(), "threshold": float(threshold)}

    def _refit(self, model: Model | Prepared, meta: dict[str, Any]) -> dict[str, Any]:
        """Fit with the settings that the first fit chose; its calibration is kept."""
        kind = input_type(self.context.config.model, self.task.name, self.task.output, "model")
        everything = [part for split in ("train", "validation", "test") for part in self._read(kind, split)]
        until = self.inputs.info["end"]
        if kind == "matrix":
            everything.append(
                features.read_input(self.inputs.path, kind, features.NEWEST, clean.instant(until), ())
            )
        model.fit(everything, [], self.options)
        refit = meta | {"knows_until": until}
        self._save(model, REFIT, refit)
        return refit

    def _read(self, kind: InputType, split: str) -> list[Any]:
        return features.read_inputs(self.inputs, kind, split, self.context.config.dataset.timezone)

    def _save(self, model: Model | Prepared, part: str, meta: dict[str, Any]) -> None:
        folder = self.folder / part
        folder.mkdir()
        model.save(folder)
        save_json(folder / _META, meta)


def _check_validation(later: TableInput) -> None:
    n_positive = int(later.label.sum())
    if later.n_rows == 0:
        raise DataError(
            "the validation population is empty: no user was active before any validation cutoff; "
            "lengthen task.active_within, set split.validation higher, or bring more data"
        )
    if n_positive in (0, later.n_rows):
        raise DataError(
            f"the validation labels have one class only: {n_positive:,} of {later.n_rows:,} rows are 1; "
            f"change task.horizon or task.active_within, or set split.validation higher"
        )


def load(context: Context, artifact: Artifact, part: str) -> tuple[Scorer, dict[str, Any]]:
    """Return a stored model and what is known of it, after checking every byte of it.

    Raises:
        ArtifactError: the folder is not what `train` published, or could run code.
    """
    check_folder(artifact.path)
    artifact.verify()
    config = context.config.baseline if part == BASELINE else context.config.model
    folder = artifact.path / part
    return prepared.load(folder, config, context.config.features), load_json(folder / _META)


def probabilities(meta: dict[str, Any], score: np.ndarray[Any, np.dtype[np.float64]]) -> Any:
    """Return calibrated probabilities [N] of scores [N]."""
    return Calibration.from_dict(meta["calibration"]).apply(score)


def trained(context: Context) -> Artifact:
    """Return the model, which may know an older state of the log, but was made with the settings of the config.

    Raises:
        ArtifactError: there is no model yet, or it was made with other settings.
    """
    remedy = f"run: ecbehave run --config {context.config_file}"
    artifact = context.workspace.read(name(context))
    if artifact is None:
        raise ArtifactError(f"{context.workspace.root / name(context)} does not exist yet; {remedy}")
    if artifact.manifest["stage_version"] != VERSION:
        raise ArtifactError(f"{artifact.path} was trained by another version of ecbehave; {remedy}")
    keys = changed_keys(artifact.manifest["config"], settings(context))
    for stage in MADE_WITH:
        made_with = artifact.info["made_with"][stage.__name__.split(".")[-1]]
        keys += changed_keys(made_with, stage.settings(context))
    if keys:
        raise ArtifactError(
            f"{artifact.path} was trained with other settings: {', '.join(keys[:5])}; train again, or take them back. "
            f"To train, {remedy}"
        )
    return artifact
