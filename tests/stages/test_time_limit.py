"""A block is stopped when its time is up, whatever it does, and nothing is left behind that could stop another."""

import signal
import threading
import time

import numpy as np
import pytest

from ecbehave.stages.time_limit import TimeUp, time_limit


def _handlers() -> object:
    return signal.getsignal(signal.SIGALRM), signal.getitimer(signal.ITIMER_REAL)


def _compute() -> None:
    while True:
        np.linalg.svd(np.ones((20, 20)))


def _deaf_to_errors() -> None:
    while True:
        try:
            time.sleep(60)
        except Exception:
            pytest.fail("the time is no error")


def _deaf_once(swallowed: list[bool]) -> None:
    try:
        time.sleep(60)
    except BaseException:
        swallowed.append(True)
    time.sleep(60)


def test_a_block_that_takes_longer_is_stopped() -> None:
    before, started = _handlers(), time.monotonic()
    with pytest.raises(TimeUp), time_limit(0.1):
        _compute()
    assert 0.1 <= time.monotonic() - started < 5
    assert _handlers() == before


def test_who_catches_every_error_does_not_catch_the_time() -> None:
    with pytest.raises(TimeUp), time_limit(0.05):
        _deaf_to_errors()


def test_what_swallows_everything_is_stopped_the_next_time() -> None:
    swallowed: list[bool] = []
    with pytest.raises(TimeUp), time_limit(0.05):
        _deaf_once(swallowed)
    assert swallowed == [True]


def test_a_block_in_time_is_left_alone() -> None:
    before = _handlers()
    with time_limit(0.2):
        pass
    assert _handlers() == before
    time.sleep(0.3)
    with time_limit(float("inf")):
        assert _handlers() == before, "without a limit there is no timer"


def test_an_error_of_the_block_comes_through() -> None:
    before = _handlers()
    with pytest.raises(ZeroDivisionError), time_limit(60):
        raise ZeroDivisionError
    assert _handlers() == before


def test_no_time_at_all() -> None:
    with pytest.raises(TimeUp), time_limit(-1.0):
        time.sleep(60)


def test_another_thread_is_not_stopped() -> None:
    done = []

    def work() -> None:
        with time_limit(0.01):
            time.sleep(0.1)
            done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [True]


def test_an_alarm_that_comes_after_the_block_is_ignored() -> None:
    with time_limit(60):
        late = signal.getsignal(signal.SIGALRM)
    assert callable(late)
    late(signal.SIGALRM, None)
