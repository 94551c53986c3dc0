"""The lowest place of a quadratic with an L1 penalty, by the conditions that hold there and nowhere else."""

import numpy as np
import pytest

from ecbehave.models.ensemble.bowl import Bowl

#: What columns of data may be to one another, which makes the quadratic flat in some direction.
SHAPES = ("plain", "repeated", "mirrored", "nearly repeated", "of zeros")


def bowl_of(shape: str, seed: int, l1: float, n_columns: int = 12) -> Bowl:
    """The squares of a regression on as many columns, and one more without a penalty."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(60, n_columns))
    x[:, 1] = {"repeated": x[:, 0], "mirrored": -x[:, 0], "of zeros": np.zeros(60)}.get(shape, x[:, 1])
    if shape == "nearly repeated":
        x[:, 1] = x[:, 0] + rng.normal(0, 1e-4, 60)
    x = np.column_stack([x, np.ones(60)])
    y = x[:, 0] - 2 * x[:, 2] + rng.normal(size=60) + 3
    return Bowl(x.T @ x / 60, -x.T @ y / 60, np.append(np.full(n_columns, l1), 0.0))


def assert_lowest(bowl: Bowl, at: np.ndarray) -> None:
    slope = bowl.matrix @ at + bowl.slope
    is_in = at != 0
    np.testing.assert_allclose(slope[is_in], -(bowl.l1 * np.sign(at))[is_in], rtol=0, atol=1e-8)
    assert (np.abs(slope[~is_in]) <= bowl.l1[~is_in] + 1e-8).all()


@pytest.mark.parametrize("l1", [1e-4, 0.05, 0.5, 50.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_slope_is_met_by_the_penalty_wherever_it_starts(shape: str, l1: float) -> None:
    for seed in range(5):
        bowl, rng = bowl_of(shape, seed, l1), np.random.default_rng(seed)
        found = [bowl.lowest(start) for start in (np.zeros(13), *rng.normal(0, 5, (3, 13)), np.ones(13))]
        for at in found:
            assert_lowest(bowl, at)
        heights = [bowl.height(at) for at in found]
        np.testing.assert_allclose(heights, heights[0], rtol=0, atol=1e-12)


def test_with_a_penalty_that_is_too_high_only_the_free_one_is_left() -> None:
    at = bowl_of("plain", 0, 50.0).lowest(np.ones(13))
    assert np.flatnonzero(at).tolist() == [12]


@pytest.mark.parametrize(("start", "most"), [(0.0, 12), (-3.0, 30)])
def test_of_many_columns_no_one_is_moved_alone(
    start: float, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What makes it quick: systems of equations, and not thousands of moves of single coefficients."""
    monkeypatch.delattr(Bowl, "_swept")
    systems = 0
    solve = Bowl._with_signs

    def counted(self: Bowl, sign: np.ndarray) -> np.ndarray:
        nonlocal systems
        systems += 1
        return solve(self, sign)

    monkeypatch.setattr(Bowl, "_with_signs", counted)
    bowl = bowl_of("plain", 3, 0.1, n_columns=40)
    at = bowl.lowest(np.full(41, start))
    assert_lowest(bowl, at)
    assert 2 < np.count_nonzero(at) < 30
    assert systems <= most
