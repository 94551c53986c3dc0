"""Model files that cannot run code."""

import io
import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from ecbehave.errors import ArtifactError
from ecbehave.models.storage import check_folder, load_arrays, load_json, reading, save_arrays, save_json

REMEDY = "train again, or take the folder from its source"


class Bomb:
    """Unpickling it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


def test_arrays_come_back(tmp_path: Path):
    save_arrays(tmp_path / "a.npz", ids=np.arange(3), weights=np.array([[0.5, np.nan]]))
    loaded = load_arrays(tmp_path / "a.npz")
    assert list(loaded) == ["ids", "weights"]
    np.testing.assert_array_equal(loaded["ids"], [0, 1, 2])
    np.testing.assert_array_equal(loaded["weights"], [[0.5, np.nan]])


def test_objects_are_not_written(tmp_path: Path):
    with pytest.raises(ValueError, match="Object arrays cannot be saved when allow_pickle=False"):
        save_arrays(tmp_path / "a.npz", bad=np.array([{}], dtype=object))


def test_a_pickle_among_the_arrays_does_not_run(tmp_path: Path):
    member = io.BytesIO()
    np.save(member, np.array([Bomb(tmp_path / "ran")], dtype=object), allow_pickle=True)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
        file.writestr("data.npy", member.getvalue())
    with pytest.raises(ArtifactError, match="Object arrays cannot be loaded when allow_pickle=False"):
        load_arrays(tmp_path / "a.npz")
    assert not (tmp_path / "ran").exists()
    # The bomb is live: a reader that allows pickles would have run it.
    with np.load(tmp_path / "a.npz", allow_pickle=True) as unsafe:
        unsafe["data"]
    assert (tmp_path / "ran").exists()


def test_a_bare_pickle_does_not_run(tmp_path: Path):
    (tmp_path / "a.npz").write_bytes(pickle.dumps(Bomb(tmp_path / "ran")))
    with pytest.raises(ArtifactError) as caught:
        load_arrays(tmp_path / "a.npz")
    assert (
        str(caught.value) == f"model file {tmp_path / 'a.npz'} was refused: File is not a zip file; {REMEDY}"
    )
    assert not (tmp_path / "ran").exists()


def test_a_flipped_byte_in_the_arrays(tmp_path: Path):
    path = tmp_path / "a.npz"
    save_arrays(path, data=np.arange(1000.0))
    content = bytearray(path.read_bytes())
    content[4000] ^= 1
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"Bad CRC-32 for file 'data\.npy'"):
        load_arrays(path)


def test_json_is_sorted_text(tmp_path: Path):
    save_json(tmp_path / "a.json", {"b": [1, 2.5], "a": "ü"})
    assert list(json.loads((tmp_path / "a.json").read_bytes())) == ["a", "b"]
    assert load_json(tmp_path / "a.json") == {"a": "ü", "b": [1, 2.5]}


def test_json_that_is_no_object(tmp_path: Path):
    (tmp_path / "a.json").write_text("[1]", encoding="utf-8")
    with pytest.raises(ArtifactError) as caught:
        load_json(tmp_path / "a.json")
    assert (
        str(caught.value) == f"model file {tmp_path / 'a.json'} was refused: it is no JSON object; {REMEDY}"
    )


def test_json_that_is_missing(tmp_path: Path):
    with pytest.raises(ArtifactError, match=r"was refused: \[Errno 2\] No such file"):
        load_json(tmp_path / "a.json")


def test_reading_lets_an_interrupt_through(tmp_path: Path):
    with pytest.raises(KeyboardInterrupt), reading(tmp_path / "a.json"):
        raise KeyboardInterrupt


def test_a_folder_of_our_files_passes(tmp_path: Path):
    (tmp_path / "fitted").mkdir()
    for name in ("a.json", "fitted/b.npz", "fitted/c.txt", "d.yaml"):
        (tmp_path / name).touch()
    check_folder(tmp_path)


@pytest.mark.parametrize("name", ["model.pkl", "fitted/run.py", "fitted/noSuffix", "fitted/a.json.so"])
def test_a_folder_with_another_kind_of_file(name: str, tmp_path: Path):
    (tmp_path / "fitted").mkdir()
    (tmp_path / "a.json").touch()
    (tmp_path / name).touch()
    with pytest.raises(ArtifactError) as caught:
        check_folder(tmp_path)
    assert str(caught.value) == (
        f"model file {tmp_path / name} was refused: a model holds .json, .npz, .txt, .yaml files only; {REMEDY}"
    )


@pytest.mark.parametrize("target", ["elsewhere", "elsewhere/b.json"])
def test_a_folder_with_a_link(target: str, tmp_path: Path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/b.json").touch()
    (tmp_path / "model").mkdir()
    (tmp_path / "model/a.json").symlink_to(tmp_path / target)
    with pytest.raises(ArtifactError, match=r"model/a\.json was refused: a model holds"):
        check_folder(tmp_path / "model")
