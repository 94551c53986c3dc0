"""Work on many parts at once, in threads: polars, numpy and pyarrow compute outside of Python's lock."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from types import TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")
R = TypeVar("R")


def in_order(function: Callable[[T], R], items: Iterable[T], threads: int, ahead: int = 0) -> Iterator[R]:
    """Yield the function's value for each item, in their order, while the next ones are being computed.

    Args:
        function: what is to be done; it runs in another thread.
        items: taken one by one, only as fast as the results are.
        threads: how many items are worked on at once; as many results at most wait to be taken.
        ahead: so many more may wait, to keep the threads busy where taking a result can take long.
    """
    if threads == 1:
        yield from map(function, items)
        return
    with ThreadPoolExecutor(threads) as pool:
        yield from through(pool, function, items, threads + ahead)


def through(
    pool: ThreadPoolExecutor, function: Callable[[T], R], items: Iterable[T], most: int
) -> Iterator[R]:
    """Do the same as `in_order`, in a pool that has other work before and after.

    Args:
        pool: its threads do the work.
        function: what is to be done.
        items: taken one by one.
        most: items that are worked on, or done and not yet taken.
    """
    running: deque[Future[R]] = deque()
    try:
        for item in items:
            running.append(pool.submit(function, item))
            if len(running) == most:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
    finally:
        for waiting in running:
            waiting.cancel()


class Closing:
    """Closes what a `with` block has used in another thread, while the next block already runs.

    At most one is being closed; what goes wrong is raised before the next one is.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._closing: Future[Any] | None = None

    @contextmanager
    def __call__(self, opened: AbstractContextManager[T]) -> Iterator[T]:
        """Enter a context that may be left later."""
        with ExitStack() as stack:
            entered = stack.enter_context(opened)
            yield entered
            self.wait()
            left = stack.pop_all()
        self._closing = self._thread.submit(left.close)

    def wait(self) -> None:
        """Wait until everything that was left is closed."""
        closing, self._closing = self._closing, None
        if closing:
            closing.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.wait()
        finally:
            self._thread.shutdown()
