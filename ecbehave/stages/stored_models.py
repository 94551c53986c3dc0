"""Models of earlier runs, of this shop or another one, that a model begins with: `pretrain.source`."""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from ecbehave.artifacts import Artifact, Workspace
from ecbehave.config import Config
from ecbehave.config.model import ModelConfig
from ecbehave.errors import ArtifactError, DataError
from ecbehave.models.storage import check_folder, load_json, reading

#: Folders of what `train` publishes: the model that evaluate judges, the rule it is compared with, the model that
#: scores; and the file in each that says what it knows.
FITTED, BASELINE, REFIT = "fitted", "baseline", "refit"
META = "meta.json"

#: Keys of the config that each choose a model.
KEYS = ("model", "baseline")

_ARTIFACT = "model"

_KEY, _OUTER = "source", "pretrain"


def models_of(config: Config) -> dict[str, ModelConfig]:
    """Return the models of a config by their keys."""
    return {key: getattr(config, key) for key in KEYS}


def sources_of(models: Mapping[str, ModelConfig]) -> dict[str, Path]:
    """Return the folders of the runs that models begin with, by the key that names each.

    Args:
        models: by their own key in the config.
    """
    told = ((key, model.model_dump(mode="json")) for key, model in models.items())
    return {key: Path(source) for start, dumped in told for key, source in _walk(dumped, start)}


def _walk(value: Any, key: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == _OUTER and isinstance(inner, dict) and inner.get(_KEY) is not None:
                yield f"{key}.{_OUTER}.{_KEY}", inner[_KEY]
            yield from _walk(inner, f"{key}.{name}")
    elif isinstance(value, list):
        for n, inner in enumerate(value):
            yield from _walk(inner, f"{key}.{n}")


def source_fingerprints(models: Mapping[str, ModelConfig]) -> dict[str, str]:
    """Return the fingerprint of each source, as an input of what begins with it.

    Raises:
        ArtifactError: a folder holds no trained model.
    """
    return {key: _trained(folder, key).fingerprint for key, folder in sources_of(models).items()}


def without_source_places(model: Any) -> Any:
    """Return a model's part of the config with the names of the sources' folders only: the place decides nothing."""
    if isinstance(model, list):
        return [without_source_places(inner) for inner in model]
    if not isinstance(model, dict):
        return model
    found = {name: without_source_places(inner) for name, inner in model.items()}
    outer = found.get(_OUTER)
    if isinstance(outer, dict) and outer.get(_KEY) is not None:
        found[_OUTER] = {**outer, _KEY: Path(outer[_KEY]).name}
    return found


def stored_models(models: Mapping[str, ModelConfig]) -> Callable[[str, datetime], Path]:
    """Return what finds the part of a source that knows nothing from some time on.

    It raises:
        ArtifactError: the folder is not what `train` published.
        DataError: every part of it knows more.
    """
    keys = {str(folder): key for key, folder in sources_of(models).items()}

    def find(source: str, until: datetime) -> Path:
        key = keys[str(Path(source))]
        artifact = _trained(Path(source), key)
        check_folder(artifact.path)
        artifact.verify()
        known = dict(_knows_until(artifact))
        for part, time in known.items():
            if time <= until:
                return artifact.path / part
        first = min(known.values())
        raise DataError(
            f"{key}: {source} has learned from events until {first:%Y-%m-%d}, and may know none from "
            f"{until:%Y-%m-%d} on, which is what this fit learns to foresee; end the source's log earlier, or its "
            f"windows (a higher split.test there)"
        )

    return find


def _trained(folder: Path, key: str) -> Artifact:
    artifact = Workspace(folder).read(_ARTIFACT)
    if artifact is None or artifact.manifest["stage"] != "train":
        raise ArtifactError(
            f"{key}: there is no trained model in {folder}; name the folder of a run in its workspace, and train that "
            f"one first"
        )
    return artifact


def _knows_until(artifact: Artifact) -> Iterator[tuple[str, datetime]]:
    # The one that knows more comes first.
    for part in (REFIT, FITTED):
        if (artifact.path / part).is_dir():
            meta = load_json(artifact.path / part / META)
            with reading(artifact.path / part / META):
                time = datetime.fromisoformat(meta["knows_until"])
            yield part, time
