"""Work in threads: the order stays, errors come out, and nothing begins after one."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ecbehave.parallel import Closing, in_order

THREADS = [1, 2, 3, 8]


@pytest.mark.parametrize("threads", THREADS)
def test_results_come_in_the_order_of_the_items(threads: int) -> None:
    def slow_at_first(n: int) -> int:
        time.sleep(0.02 if n % 3 == 0 else 0)
        return n * n

    assert list(in_order(slow_at_first, range(20), threads)) == [n * n for n in range(20)]


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("n", [0, 1, 2])
def test_few_items(threads: int, n: int) -> None:
    assert list(in_order(str, range(n), threads)) == [str(i) for i in range(n)]


@pytest.mark.parametrize("threads", [2, 3])
def test_so_many_items_are_worked_on_at_once(threads: int) -> None:
    """Each waits until all others of its group have begun; with fewer threads this would time out."""
    together = threading.Barrier(threads, timeout=10)

    def meet(n: int) -> int:
        together.wait()
        return n

    assert list(in_order(meet, range(2 * threads), threads)) == list(range(2 * threads))


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("ahead", [0, 3])
def test_items_are_taken_only_as_fast_as_results_are(threads: int, ahead: int) -> None:
    taken = []

    def items() -> Iterator[int]:
        for n in range(20):
            taken.append(n)
            yield n

    most = 0
    for n_results, _ in enumerate(in_order(str, items(), threads, ahead), 1):
        assert len(taken) <= n_results - 1 + threads + ahead
        most = max(most, len(taken) - n_results + 1)
    assert len(taken) == 20
    assert most == (threads + ahead if threads > 1 else 1)


class PlantedError(Exception):
    pass


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("kind", [PlantedError, KeyboardInterrupt])
def test_an_error_comes_out_where_its_result_would_and_nothing_begins_after_it(
    threads: int, kind: type[BaseException]
) -> None:
    begun, results = [], []

    def fail_at_5(n: int) -> int:
        begun.append(n)
        if n == 5:
            raise kind("planted")
        return n

    def take_all() -> None:
        for result in in_order(fail_at_5, range(100), threads):
            results.append(result)

    with pytest.raises(kind, match="planted"):
        take_all()
    assert results == [0, 1, 2, 3, 4]
    assert max(begun) < 5 + threads


@pytest.mark.parametrize("threads", THREADS)
def test_an_error_of_the_items_comes_out(threads: int) -> None:
    def items() -> Iterator[int]:
        yield 1
        raise PlantedError("no second")

    with pytest.raises(PlantedError, match="no second"):
        list(in_order(str, items(), threads))


@pytest.mark.parametrize("threads", [2, 3])
def test_whoever_stops_early_leaves_no_thread_at_work(threads: int) -> None:
    before = threading.active_count()
    running = threading.Semaphore(0)

    def work(n: int) -> int:
        time.sleep(0.01)
        running.release()
        return n

    results = in_order(work, range(100), threads)
    assert next(results) == 0
    assert isinstance(results, Iterator)
    results.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before
    assert sum(iter(lambda: running.acquire(blocking=False), False)) <= threads


def test_one_thread_is_the_callers_own() -> None:
    assert list(in_order(lambda _: threading.current_thread(), [0], 1)) == [threading.current_thread()]
    (other,) = in_order(lambda _: threading.current_thread(), [0], 2)
    assert other is not threading.current_thread()


# Closing


class Book:
    """Notes what is opened and closed, and in which thread."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.threads: set[threading.Thread] = set()
        self.may_close = threading.Event()
        self.may_close.set()

    @contextmanager
    def page(self, name: str, error: BaseException | None = None) -> Iterator[str]:
        self.notes.append(f"open {name}")
        try:
            yield name
        except BaseException:
            self.notes.append(f"broken {name}")
            raise
        assert self.may_close.wait(10)
        self.threads.add(threading.current_thread())
        self.notes.append(f"close {name}")
        if error:
            raise error


def test_the_next_block_runs_while_the_last_one_is_being_closed() -> None:
    book = Book()
    book.may_close.clear()
    with Closing() as closing:
        with closing(book.page("a")) as name:
            assert name == "a"
        with closing(book.page("b")):
            assert book.notes == ["open a", "open b"]
            book.may_close.set()
        closing.wait()
        assert book.notes == ["open a", "open b", "close a", "close b"]
    assert threading.current_thread() not in book.threads
    assert len(book.threads) == 1


def test_what_is_left_is_closed_at_the_end() -> None:
    book = Book()
    before = threading.active_count()
    with Closing() as closing, closing(book.page("a")):
        pass
    assert book.notes == ["open a", "close a"]
    assert threading.active_count() == before


def test_an_error_while_closing_is_raised_before_the_next_one_is_closed() -> None:
    book = Book()
    before = threading.active_count()

    def two_pages() -> None:
        with Closing() as closing:
            with closing(book.page("a", PlantedError("no room"))):
                pass
            with closing(book.page("b")):
                pass
            book.notes.append("after b")

    with pytest.raises(PlantedError, match="no room"):
        two_pages()
    assert sorted(book.notes) == ["broken b", "close a", "open a", "open b"]
    assert threading.active_count() == before


def test_an_error_while_closing_the_last_one_is_raised_at_the_end() -> None:
    with (
        pytest.raises(PlantedError, match="no room"),
        Closing() as closing,
        closing(Book().page("a", PlantedError("no room"))),
    ):
        pass


def test_an_error_is_raised_once() -> None:
    with Closing() as closing:
        with closing(Book().page("a", PlantedError("no room"))):
            pass
        with pytest.raises(PlantedError):
            closing.wait()
        closing.wait()


@pytest.mark.parametrize("kind", [PlantedError, KeyboardInterrupt])
def test_a_block_that_fails_is_left_with_its_error_and_the_one_before_is_closed(
    kind: type[BaseException],
) -> None:
    book = Book()
    before = threading.active_count()

    def two_pages() -> None:
        with Closing() as closing:
            with closing(book.page("a")):
                pass
            with closing(book.page("b")):
                raise kind("planted")

    with pytest.raises(kind, match="planted"):
        two_pages()
    assert sorted(book.notes) == ["broken b", "close a", "open a", "open b"]
    assert threading.active_count() == before


def test_the_error_of_the_block_counts_for_more_than_one_of_closing() -> None:
    def page_and_interrupt() -> None:
        with Closing() as closing:
            with closing(Book().page("a", PlantedError("no room"))):
                pass
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        page_and_interrupt()
