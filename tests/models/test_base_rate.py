"""The share of positives, for everybody."""

import math

import pytest
from planted import ONCE, make, table
from scipy.special import expit


def test_log_odds_of_all_train_cutoffs_together():
    first = table({"f": [1.0, 2.0, 3.0]}, [1, 0, 0])
    second = table({"f": [1.0, 2.0, 3.0, 4.0, 5.0]}, [1, 1, 0, 0, 0])
    scored = make("base_rate").fit([first, second], [second], ONCE).predict(second, 0)
    assert scored["score"].to_list() == [math.log((3 / 8) / (5 / 8))] * 5
    assert expit(scored["score"][0]) == pytest.approx(3 / 8)
