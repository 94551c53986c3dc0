"""A limit on how long a block may run."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class TimeUp(BaseException):
    """The time for the search is over. No error: like Ctrl-C it passes by whoever catches those."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Stop the block when its time is up; in the main thread only, where a signal can reach it.

    Raises:
        TimeUp: the block took longer.
    """
    if seconds == float("inf") or threading.current_thread() is not threading.main_thread():
        yield
        return
    is_inside = True

    def stop(*_: object) -> None:
        if is_inside:
            raise TimeUp

    before = signal.signal(signal.SIGALRM, stop)
    try:
        try:
            # Once more every second: a library may swallow what is raised while it calls back.
            signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.001), 1.0)
            yield
        finally:
            is_inside = False
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
