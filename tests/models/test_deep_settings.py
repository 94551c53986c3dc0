"""The part of the config that says how nets are trained."""

import subprocess
import sys

import pytest
from pydantic import ValidationError

from ecbehave.models.deep.settings import Training


def test_momentum_is_for_sgd() -> None:
    assert Training(optimizer="sgd", momentum=0.5).momentum == 0.5
    with pytest.raises(
        ValidationError, match="momentum is for optimizer: sgd; take it out, or set optimizer"
    ):
        Training(momentum=0.5)


@pytest.mark.parametrize(
    "wrong",
    [
        {"learning_rate": 0},
        {"weight_decay": 1},
        {"l1": -0.1},
        {"warmup": 1},
        {"epochs": 0},
        {"patience": 0},
        {"batch": 0},
        {"accumulate": 0},
        {"clip": 0},
        {"max_seconds": 0},
        {"optimizer": "lion"},
        {"rate": 1},
    ],
)
def test_what_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    [key] = wrong
    with pytest.raises(ValidationError, match=key):
        Training(**wrong)  # type: ignore[arg-type]


def test_the_config_is_known_without_torch() -> None:
    code = "import sys, ecbehave.models.deep.settings, ecbehave.models.deep.watching; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
