"""train: `inputs/` -> `model/`: the judged model, its baseline, and the refit that scores."""

from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ecbehave.artifacts import Artifact, Built, Outcome, Spec, changed_keys
from ecbehave.config.features import PREPARATION
from ecbehave.config.model import ModelConfig
from ecbehave.errors import ArtifactError, DataError
from ecbehave.inputs.types import Inputs, TableInput
from ecbehave.metrics.classification import best_f1_threshold
from ecbehave.models import COMPOSITE, making, model_class
from ecbehave.models.calibration import restored, stored
from ecbehave.models.calibration.choice import fit_calibration
from ecbehave.models.labels import labels_of
from ecbehave.models.prepared import transform_for
from ecbehave.models.protocol import Options, Predictor
from ecbehave.models.storage import check_folder, load_json, reading, save_json
from ecbehave.stages import Context, clean, features, ingest, processes, tuning, upstream
from ecbehave.stages.long_fits import LongFits
from ecbehave.stages.stored_models import (
    BASELINE,
    FITTED,
    KEYS,
    META,
    REFIT,
    models_of,
    source_fingerprints,
    stored_models,
    without_source_places,
)
from ecbehave.tasks import make_task

VERSION = 9

#: Stages before this one; their settings must be the same when the model scores.
MADE_WITH = (ingest, clean, features)


def name(context: Context) -> str:
    """Return the artifact's name."""
    return f"{context.config.name}/model"


def settings(context: Context) -> dict[str, Any]:
    """Return the part of the config that the stage reads."""
    public = context.public
    config = {key: public[key] for key in ("tune", "calibration", "seed")}
    config |= {key: without_source_places(public[key]) for key in KEYS}
    config["features"] = {key: public["features"][key] for key in PREPARATION}
    config["predict"] = {"refit": public["predict"]["refit"]}
    config["split"] = {"fit_on_validation": public["split"]["fit_on_validation"]}
    return config


def spec(context: Context) -> Spec:
    """Return what the model is made from."""
    inputs = upstream(context, "features", features.name(context), features.spec)
    read = {features.name(context): inputs.fingerprint} | source_fingerprints(models_of(context.config))
    return Spec("train", VERSION, settings(context), read)


def run(context: Context) -> Outcome:
    """Fit the model, its baseline and the refit.

    Of several processes only the first one publishes; checkpoints of fits are kept until then.
    """
    inputs = upstream(context, "features", features.name(context), features.spec)
    made_from = spec(context)
    fits = LongFits(context.workspace.root / context.config.name, made_from.fingerprint, context.progress)
    if processes.is_follower():
        return _follow(context, made_from, lambda folder: _Training(context, inputs, folder, fits).build())
    if context.force:
        fits.forget()
    outcome = context.workspace.produce(
        name(context),
        made_from,
        lambda folder: _Training(context, inputs, folder, fits).build(),
        force=context.force,
    )
    if outcome.status == "done":
        fits.forget()
    return outcome


def _follow(context: Context, made_from: Spec, build: Callable[[Path], Built]) -> Outcome:
    """Do what the first process does, for its gradients, and throw away what comes of it."""
    published = None if context.force else context.workspace.read(name(context), check_sizes=False)
    if published and published.fingerprint == made_from.fingerprint and published.is_whole():
        return Outcome("skipped", published)
    with TemporaryDirectory() as folder:
        built = build(Path(folder))
    return Outcome("done", Artifact(context.workspace.root / name(context), {"info": built.info}))


class _Training:
    """One run of the stage."""

    def __init__(self, context: Context, inputs: Artifact, folder: Path, fits: LongFits) -> None:
        self.context, self.inputs, self.folder, self.fits = context, inputs, folder, fits
        self.task = make_task(context.config.task)
        self.kinds = features.input_types(context)
        self.options = Options(
            context.config.seed,
            context.threads,
            self.task.question,
            context.config.features,
            self._ends(),
            stored=stored_models(models_of(context.config)),
        )

    def build(self) -> Built:
        self.inputs.verify()
        config = self.context.config
        chosen, info = self._tune()
        n_fits = len(features.origins_in(self.inputs))
        with self.context.progress.track("train", 2 * n_fits + config.predict.refit) as advance:
            for origin in range(n_fits):
                model, meta = self._fit(chosen, FITTED, origin)
                advance(1)
                self._fit(config.baseline, BASELINE, origin)
                advance(1)
            info |= {"kind": config.model.kind, "baseline": config.baseline.kind, FITTED: meta}
            if model.explains:
                info["importance"] = dict(model.importance())
            info |= self._preparation(model)
            if config.predict.refit:
                self.context.progress.say(f"train: {config.model.kind} once more, on the later windows too")
                info[REFIT] = self._refit(model, meta)
                advance(1)
        if self.fits.curves:
            info["training"] = self.fits.curves
        info |= {key: self.inputs.info[key] for key in ("facts", "features")}
        info["made_with"] = {
            stage.__name__.split(".")[-1]: stage.settings(self.context) for stage in MADE_WITH
        }
        return Built({}, info, seed=config.seed)

    def _tune(self) -> tuple[ModelConfig, dict[str, Any]]:
        """Return the model with the settings that tuning found, where the config says `tune`, and what it came to."""
        config = self.context.config
        if config.tune is None:
            return config.model, {}
        tuned = tuning.search(self.context, config.tune, self.inputs, self.options)
        (self.folder / tuning.FILE).write_text(tuning.winning_yaml(self.context, tuned), encoding="utf-8")
        return tuned.model, {"tuning": tuned.info}

    def _fit(self, config: ModelConfig, part: str, origin: int) -> tuple[Predictor, dict[str, Any]]:
        train, valid = self._read("train", origin), self._read("validation", origin)
        n_fits = len(features.origins_in(self.inputs))
        which = f", fit {origin + 1} of {n_fits}" if n_fits > 1 else ""
        on = f"{len(train)} cutoff{'s' * (len(train) != 1)}{which}"
        if self._leaves_one_out:
            on = f"all but the last {'item' if self._fits_on_validation else 'two items'} of each user"
        self.context.progress.say(f"train: {config.kind} on {on}")
        if self.task.output == "binary":
            _check_validation(labels_of(valid))
        model, place = making.make(config, self.task.question), place_of(part, self.inputs, origin)
        with self.fits.follow(place, self.options) as options:
            model.fit([*train, valid[-1].as_history()], valid, options)
        if self._fits_on_validation:
            with self.fits.follow(f"{place}/again", self.options) as options:
                model.fit([self._read("test", origin)[-1].as_history()], [], options)
        until = features.windows_of(self.inputs, "validation", origin)[-1].end.isoformat()
        meta = {
            "kind": config.kind,
            "config": without_source_places(config.model_dump(mode="json")),
            # Each life was cut at an instant of its own, so the fit has seen others to the end.
            "knows_until": self.inputs.info["end"] if self._leaves_one_out else until,
        }
        if self.task.output == "binary":
            meta |= self._calibrate(model, valid)
        self._save(model, place, meta)
        return model, meta

    @property
    def _leaves_one_out(self) -> bool:
        return self.context.config.split.kind == "leave_one_out"

    @property
    def _fits_on_validation(self) -> bool:
        return self.context.config.split.fit_on_validation

    def _ends(self) -> dict[datetime, datetime]:
        """Return the end of the label window of each cutoff."""
        windows = (w for o in features.origins_in(self.inputs) for part in o.named().values() for w in part)
        return {w.cutoff: w.end for w in windows}

    def _preparation(self, model: Predictor) -> dict[str, Any]:
        """Return what the manifest and the report say of selection and transformation, where there was any."""
        kind = self.context.config.model.kind
        if kind not in COMPOSITE and not hasattr(model_class(kind), "transform"):
            return {}
        n_features, left_out = len(self.inputs.info["features"]), model.left_out()
        if left_out:
            self.context.progress.say(f"train: {len(left_out)} of {n_features} features left out")
        info: dict[str, Any] = {"selection": [{"feature": f} | dict(why) for f, why in left_out.items()]}
        if kind not in COMPOSITE:
            info["transform"] = asdict(transform_for(model_class(kind), self.context.config.features))
        return info

    def _calibrate(self, model: Predictor, valid: list[Inputs]) -> dict[str, Any]:
        """Learn probabilities on the validation windows, and the threshold with the best F1 there."""
        score, label = np.concatenate([model.score(part) for part in valid]), labels_of(valid)
        users = np.concatenate(
            [cast("TableInput", part.table).frame["user_hash"].to_numpy() for part in valid]
        )
        calibration, losses = fit_calibration(self.context.config.calibration.method, score, label, users)
        return {
            "calibration": stored(calibration),
            "calibration_log_loss": losses,
            "f1_threshold": best_f1_threshold(label, calibration.apply(score)),
        }

    def _refit(self, model: Predictor, meta: dict[str, Any]) -> dict[str, Any]:
        """Fit with the settings that the first fit chose; its calibration is kept."""
        # Lives that were moved in time for leave-one-out are of no use here: the newest history has all of them.
        splits = () if self._leaves_one_out else ("train", "validation", "test")
        everything = [part for split in splits for part in self._read(split)]
        newest = features.read_newest(self.inputs, self.kinds)
        with self.fits.follow(REFIT, self.options) as options:
            model.fit(everything if newest is None else [*everything, newest], [], options)
        refit = meta | {"knows_until": self.inputs.info["end"]}
        self._save(model, REFIT, refit)
        return refit

    def _read(self, split: str, origin: int = -1) -> list[Inputs]:
        timezone = self.context.config.dataset.timezone
        return features.read_all(self.inputs, self.kinds, split, timezone, origin)

    def _save(self, model: Predictor, part: str, meta: dict[str, Any]) -> None:
        folder = self.folder / part
        folder.mkdir(parents=True)
        model.save(folder)
        save_json(folder / META, meta)


def place_of(part: str, inputs: Artifact, origin: int) -> str:
    """Return the folder of one of several fits; the last one, which is refitted, has no number."""
    return part if origin == len(features.origins_in(inputs)) - 1 else f"origin-{origin + 1}/{part}"


def _check_validation(label: NDArray[np.int8]) -> None:
    n_positive = int(label.sum())
    if label.size == 0:
        raise DataError(
            "the validation population is empty: no user was active before any validation cutoff; "
            "lengthen task.active_within, set split.validation higher, or bring more data"
        )
    if n_positive in (0, label.size):
        raise DataError(
            f"the validation labels have one class only: {n_positive:,} of {label.size:,} rows are 1; "
            f"change task.horizon or task.active_within, or set split.validation higher"
        )


def load(context: Context, artifact: Artifact, part: str) -> tuple[Predictor, dict[str, Any]]:
    """Return a stored model and what is known of it, after checking every byte of it.

    Raises:
        ArtifactError: the folder is not what `train` published, or could run code.
    """
    check_folder(artifact.path)
    artifact.verify()
    folder = artifact.path / part
    meta = load_json(folder / META)
    with reading(folder / META):
        config = model_class(meta["kind"]).config_class.model_validate(meta["config"])
    return making.load(folder, config, make_task(context.config.task).question), meta


def probabilities(meta: dict[str, Any], score: NDArray[np.float64]) -> Any:
    """Return calibrated probabilities [N] of scores [N]."""
    return restored(meta["calibration"]).apply(score)


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
