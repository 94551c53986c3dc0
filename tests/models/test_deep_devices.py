"""Where nets compute, in which numbers, and how work is spread over threads."""

import threading
import time
from pathlib import Path

import pytest
import torch

from ecbehave.errors import ConfigError
from ecbehave.models.deep.devices import autocast, has_bfloat16, pick_device, pick_precision, workers

CPU = torch.device("cpu")


def test_a_cpu_is_a_cpu() -> None:
    assert pick_device("cpu") == CPU


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu() -> None:
    assert pick_device("auto") == CPU
    with pytest.raises(ConfigError) as caught:
        pick_device("cuda")
    assert str(caught.value) == (
        f"training.device is cuda, but torch {torch.__version__} sees no GPU here; set device: auto, or install a "
        f"torch that is built for the GPU's driver"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("processor : 0\nflags : fpu avx512f avx512_bf16\n", True),
        ("flags\t: fpu amx_bf16\n", True),
        ("Features\t: fp asimd bf16\n", True),
        ("flags : fpu avx512f\nbugs : avx512_bf16\n", False),
        ("", False),
    ],
)
def test_bfloat16_by_what_linux_says(tmp_path: Path, text: str, expected: bool) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    assert has_bfloat16(CPU, tmp_path / "cpuinfo") is expected
    assert not has_bfloat16(CPU, tmp_path / "none")


def test_precision(tmp_path: Path) -> None:
    able, unable = tmp_path / "able", tmp_path / "unable"
    able.write_text("flags : avx512_bf16\n")
    unable.write_text("flags : sse2\n")
    assert pick_precision("bfloat16", CPU, able) == torch.bfloat16
    assert pick_precision("auto", CPU, able) == torch.float32
    assert pick_precision("float32", CPU, able) == torch.float32
    with pytest.raises(ConfigError) as caught:
        pick_precision("bfloat16", CPU, unable)
    assert str(caught.value) == (
        "training.precision is bfloat16, but this CPU has no instructions for it and would only be slower; set "
        "precision: auto"
    )


def test_matrices_are_multiplied_in_the_precision() -> None:
    a = torch.ones(2, 2)
    with autocast(CPU, torch.bfloat16):
        assert (a @ a).dtype == torch.bfloat16
    with autocast(CPU, torch.float32):
        assert (a @ a).dtype == torch.float32


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_work_is_spread_and_comes_back_in_order(threads: int) -> None:
    who, meeting = set(), threading.Barrier(threads)

    def work(n: int) -> tuple[int, int, bool]:
        if n < threads:
            meeting.wait(10)  # so many are at work at once
        time.sleep(0.01 * (n % 2))
        who.add(threading.get_ident())
        return n, torch.get_num_threads(), torch.is_grad_enabled()

    with workers(threads) as mapped:
        assert list(mapped(work, range(9))) == [(n, 1, False) for n in range(9)]
        assert list(mapped(work, [])) == []
    assert len(who) == threads
    assert torch.is_grad_enabled()


def test_what_goes_wrong_in_a_thread_is_raised() -> None:
    with pytest.raises(ZeroDivisionError), workers(2) as mapped:
        list(mapped(lambda n: 1 / n, [1, 0, 2]))
