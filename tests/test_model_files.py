"""A model folder from a stranger, or from a failing disk: it is refused, and it cannot run code."""

import ast
import hashlib
import io
import json
import pickle
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from shops import PREFERENCE, Shop, data_files, shop_log
from stage_runs import Runs

import ecbehave
from ecbehave.artifacts import MANIFEST
from ecbehave.errors import ArtifactError

#: The command that reads a part of the model.
READER = {"fitted": "evaluate", "baseline": "evaluate", "refit": "predict"}
BINARY = [
    *(
        f"{part}/{file}"
        for part in ("fitted", "refit")
        for file in ("boosting.json", "meta.json", "transform.json", "trees.txt")
    ),
    *("baseline/meta.json", "baseline/rfm.json"),
]
RANKING = [
    *(
        f"{part}/{file}"
        for part in ("fitted", "refit")
        for file in ("item_knn.npz", "items.json", "meta.json")
    ),
    *("baseline/meta.json", "baseline/popularity.json"),
]
REMEDY = "train again, or take the folder from its source"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Runs]:
    """Both tasks with all stages done, on one workspace."""
    shop = Shop(tmp_path_factory.mktemp("trained") / "shop")
    shop.write(shop_log())
    shop.write_items()
    runs = {
        "binary": Runs(shop, shop.config("binary")),
        "ranking": Runs(shop, shop.config("ranking", **PREFERENCE)),
    }
    for run in runs.values():
        run.do("ingest", "clean", "features", "train", "evaluate", "predict")
    return runs


class Target:
    """A trained model whose folder may be tampered with, and a file that only an attack would write."""

    def __init__(self, runs: Runs, name: str, marker: Path) -> None:
        self.runs, self.marker = runs, marker
        self.model = runs.shop.workspace / name / "model"

    def pickled(self, protocol: int = 4) -> bytes:
        return pickle.dumps(Bomb(self.marker), protocol)

    def object_array(self) -> bytes:
        """An `.npz` whose arrays are pickles."""
        file = io.BytesIO()
        bombs = np.array([Bomb(self.marker)], dtype=object)
        np.savez(file, data=bombs, indices=bombs, indptr=bombs, allow_pickle=True)
        return file.getvalue()

    def skops(self) -> bytes:
        """A skops file that would call a function of ours."""
        schema = {
            "__class__": "system",
            "__module__": "os",
            "__loader__": "ObjectNode",
            "__id__": 1,
            "content": {"__class__": "str", "__module__": "builtins", "content": f"touch {self.marker}"},
        }
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as stored:
            stored.writestr("schema.json", json.dumps(schema))
            stored.writestr("model.pkl", self.pickled())
        return file.getvalue()

    def plant(self, name: str, content: bytes, *, is_listed: bool) -> None:
        """Write a file into the model folder; a forged manifest knows it."""
        path = self.model / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        if is_listed:
            manifest = json.loads((self.model / MANIFEST).read_text(encoding="utf-8"))
            sha256 = hashlib.sha256(content).hexdigest()
            manifest["files"][name] = {"rows": None, "bytes": len(content), "sha256": sha256, "columns": None}
            (self.model / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")

    def refusal(self, command: str) -> str:
        """Run a command that must refuse the folder; return its message."""
        before = data_files(self.runs.shop.workspace)
        with pytest.raises(ArtifactError) as caught:
            self.runs.do(command, force=True)
        assert not self.marker.exists()
        assert data_files(self.runs.shop.workspace) == before
        return str(caught.value)

    def unlike_published(self, what: str) -> str:
        return (
            f"{self.model} is not what the train stage published: {what}. "
            f"Nothing of it was used; make it again with --force"
        )

    def refused(self, name: str, why: str) -> str:
        return f"model file {self.model / name} was refused: {why}; {REMEDY}"


class Bomb:
    """Unpickling it writes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., None], tuple[Path]]:
        return Path.touch, (self.marker,)


@pytest.fixture
def target(trained: dict[str, Runs], tmp_path: Path) -> Iterator[Callable[[str], Target]]:
    """Give a model of a task to tamper with, and put its folder back after the test."""
    touched: list[Path] = []

    def give(name: str) -> Target:
        given = Target(trained[name], name, tmp_path / "marker")
        shutil.copytree(given.model, tmp_path / name)
        touched.append(given.model)
        return given

    yield give
    for model in touched:
        shutil.rmtree(model)
        shutil.copytree(tmp_path / model.parent.name, model)


def test_the_files_of_a_model_are_the_ones_tested_here(trained: dict[str, Runs]) -> None:
    for name, files in (("binary", BINARY), ("ranking", RANKING)):
        model = trained[name].shop.workspace / name / "model"
        found = [p.relative_to(model).as_posix() for p in model.rglob("*") if p.is_file()]
        assert sorted(found) == sorted([*files, MANIFEST])


@pytest.mark.parametrize(
    ("name", "file"), [*(("binary", f) for f in BINARY), *(("ranking", f) for f in RANKING)]
)
def test_a_flipped_byte_is_found_by_every_reader(
    target: Callable[[str], Target], name: str, file: str
) -> None:
    model = target(name)
    content = bytearray((model.model / file).read_bytes())
    content[len(content) // 2] ^= 0x04
    (model.model / file).write_bytes(content)
    for command in ("evaluate", "predict"):
        assert model.refusal(command) == model.unlike_published(f"{file} is changed")


@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_the_command_line_ends_with_code_4(target: Callable[[str], Target], command: str) -> None:
    model = target("binary")
    trees = model.model / "fitted" / "trees.txt"
    trees.write_bytes(trees.read_bytes().replace(b"tree", b"tred", 1))
    done = model.runs.shop.run(command, "--force", config=model.runs.config)
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr == f"error: {model.unlike_published('fitted/trees.txt is changed')}\n"


EXTRA = [
    "model.pkl",
    "fitted/model.joblib",
    "refit/trees.skops",
    "model.zip",
    "fitted/__init__.py",
    ".pkl",
    "fitted/x",
]


@pytest.mark.parametrize("is_listed", [False, True])
@pytest.mark.parametrize("file", EXTRA)
def test_a_planted_file_of_another_kind_is_refused(
    target: Callable[[str], Target], file: str, is_listed: bool
) -> None:
    model = target("binary")
    is_zip = file.endswith((".skops", ".zip"))
    model.plant(file, model.skops() if is_zip else model.pickled(), is_listed=is_listed)
    expected = model.refused(file, "a model holds .json, .npz, .txt, .yaml files only")
    for command in ("evaluate", "predict"):
        assert model.refusal(command) == expected


@pytest.mark.parametrize("file", ["fitted/x.npz", "x.json", "refit/new/x.txt"])
def test_a_planted_file_of_our_kinds_is_refused_or_never_read(
    target: Callable[[str], Target], file: str
) -> None:
    model = target("binary")
    content = model.object_array() if file.endswith(".npz") else model.pickled()
    model.plant(file, content, is_listed=False)
    for command in ("evaluate", "predict"):
        assert model.refusal(command) == model.unlike_published(f"{file} is not from this run")
    before = data_files(model.runs.shop.workspace / "binary" / "predictions")
    model.plant(file, content, is_listed=True)
    for command in ("evaluate", "predict"):
        assert model.runs.do(command, force=True).status == "done"
    assert data_files(model.runs.shop.workspace / "binary" / "predictions") == before
    assert not model.marker.exists()


@pytest.mark.parametrize(
    ("name", "file"), [*(("binary", f) for f in BINARY), *(("ranking", f) for f in RANKING)]
)
def test_a_pickle_in_place_of_a_model_file_does_not_run(
    target: Callable[[str], Target], name: str, file: str
) -> None:
    model, command = target(name), READER[Path(file).parts[0]]
    model.plant(file, model.pickled(), is_listed=False)
    assert model.refusal(command) == (
        f"{model.model} is damaged: {file} is missing or has another size than when it was published; "
        f"make it again with --force"
    )
    model.plant(file, model.pickled(), is_listed=True)
    why = (
        "File is not a zip file"
        if file.endswith(".npz")
        else "'utf-8' codec can't decode byte 0x80 in position 0: invalid start byte"
    )
    assert model.refusal(command) == model.refused(file, why)
    model.plant(file, model.pickled(protocol=0), is_listed=True)
    assert model.refusal(command).startswith(model.refused(file, "").removesuffix(f"; {REMEDY}"))


@pytest.mark.parametrize("part", ["fitted", "refit"])
def test_pickled_arrays_in_place_of_the_model_do_not_run(target: Callable[[str], Target], part: str) -> None:
    model, file = target("ranking"), f"{part}/item_knn.npz"
    model.plant(file, model.object_array(), is_listed=True)
    why = "Object arrays cannot be loaded when allow_pickle=False"
    assert model.refusal(READER[part]) == model.refused(file, why)
    # The bomb is live: a reader that allows pickles would have run it.
    with np.load(model.model / file, allow_pickle=True) as unsafe:
        unsafe["data"]
    assert model.marker.exists()


@pytest.mark.parametrize("is_listed", [False, True])
@pytest.mark.parametrize("is_folder", [False, True])
def test_a_link_in_a_model_is_refused(
    target: Callable[[str], Target], tmp_path: Path, is_folder: bool, is_listed: bool
) -> None:
    """Also with the very content that the manifest tells."""
    model = target("binary")
    file = "fitted" if is_folder else "fitted/trees.txt"
    if is_listed:
        (model.model / file).rename(tmp_path / "elsewhere")
    else:
        file = "refit/more.txt"
        (tmp_path / "elsewhere").mkdir() if is_folder else (tmp_path / "elsewhere").touch()
    (model.model / file).symlink_to(tmp_path / "elsewhere")
    expected = model.refused(file, "a model holds .json, .npz, .txt, .yaml files only")
    for command in ("evaluate", "predict"):
        assert model.refusal(command) == expected


# The package has no way to unpickle or to run text as code.

FORBIDDEN_MODULES = {
    *("pickle", "_pickle", "cPickle", "pickletools", "joblib", "dill", "cloudpickle", "shelve", "marshal"),
    *("jsonpickle", "pandas"),
}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}
FORBIDDEN_ATTRIBUTES = {
    *("torch.load", "np.load", "numpy.load", "yaml.load", "yaml.unsafe_load", "yaml.full_load"),
    *("os.system", "os.popen"),
}


def ways_to_run_code(source: str) -> list[str]:
    found: list[str] = []
    for node in ast.walk(ast.parse(source)):
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            modules = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        found += [m for m in modules if FORBIDDEN_MODULES & set(m.split(".")) or m in FORBIDDEN_ATTRIBUTES]
        if isinstance(node, ast.Name) and node.id in FORBIDDEN_CALLS:
            found.append(node.id)
        if isinstance(node, ast.Attribute) and ast.unparse(node) in FORBIDDEN_ATTRIBUTES:
            found.append(ast.unparse(node))
        if (
            isinstance(node, ast.keyword)
            and node.arg == "allow_pickle"
            and ast.unparse(node.value) != "False"
        ):
            found.append(f"allow_pickle={ast.unparse(node.value)}")
        if isinstance(node, ast.keyword) and node.arg == "shell" and ast.unparse(node.value) != "False":
            found.append("shell")
    return found


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import numpy, joblib as j",
        "from cloudpickle import loads",
        "from sklearn.externals import joblib",
        "def f():\n    import dill.source",
        "from torch import load",
        "x = torch.load('a')",
        "x = np.load('a')",
        "x = f('a', allow_pickle=True)",
        "x = f('a', allow_pickle=y)",
        "eval('1')",
        "run = exec",
    ],
)
def test_the_check_of_the_package_finds(source: str) -> None:
    assert len(ways_to_run_code(source)) > 0


def test_the_package_cannot_unpickle_or_run_text() -> None:
    files = sorted(Path(ecbehave.__file__).parent.rglob("*.py"))
    assert len(files) > 50
    found = {str(f): ways for f in files if (ways := ways_to_run_code(f.read_text(encoding="utf-8")))}
    assert found == {}
