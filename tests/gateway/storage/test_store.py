from __future__ import annotations

import functools
import os
import pathlib
import sqlite3
import threading

import pytest

from loong_channels.waiting import Deadline
from loong_gateway.base.faults import CommandError, StoreUnwritable
from loong_gateway.base.threads import ThreadRegistry
from loong_gateway.storage import counters, inbox, outbox, retention
from loong_gateway.storage.file import connect
from loong_gateway.storage.lock import StoreLock
from loong_gateway.storage.queue import LAZY_S
from loong_gateway.storage.store import Store, run_once
from tests.gateway.storage.store_help import NOW_MS, events, keep, message, opened, part
from tests.waiting import wait_until


class Places:
    def __init__(self, directory: pathlib.Path) -> None:
        self.store = str(directory / "loong.sqlite3")
        self.store_lock = str(directory / "store.lock")


class Gate:
    """An operation that holds the writer until it is let go."""

    def __init__(self, store: Store) -> None:
        self._entered = threading.Event()
        self._open = threading.Event()
        store.submit(self._wait)
        assert self._entered.wait(10)

    def _wait(self, conn: sqlite3.Connection) -> None:
        self._entered.set()
        assert self._open.wait(10)

    def open(self) -> None:
        self._open.set()


class Commits:
    """Counts the transactions that a store's connections commit."""

    def __init__(self) -> None:
        self.count = 0

    def connect(self, path: str) -> sqlite3.Connection:
        connection = connect(path)
        connection.set_trace_callback(self._see)
        return connection

    def _see(self, statement: str) -> None:
        self.count += statement == "COMMIT"


def in_threads(*bodies) -> list[threading.Thread]:
    threads = [threading.Thread(target=body) for body in bodies]
    for thread in threads:
        thread.start()
    return threads


def test_a_write_returns_the_result_and_is_there_after_reopening(tmp_path: pathlib.Path) -> None:
    with opened(tmp_path / "s") as store:
        rows = store.write(lambda conn: inbox.add(conn, [message("a")], NOW_MS))
        assert rows[0].inbound == message("a")
        assert store.read(events) == ["a"]
    with opened(tmp_path / "s") as store:
        assert store.read(events) == ["a"]
        assert store.set_aside is None
        assert store.unwritable_reason() is None


def test_writes_and_submits_of_one_thread_are_committed_in_order(tmp_path: pathlib.Path) -> None:
    with opened(tmp_path / "s") as store:
        for n in range(200):
            add = functools.partial(inbox.add, batch=[message(f"m{n:03}")], now_ms=NOW_MS)
            (store.submit, store.submit_lazy, store.write)[n % 3](add)
    with opened(tmp_path / "s") as store:
        assert store.read(events) == [f"m{n:03}" for n in range(200)]


def commits_of(directory: pathlib.Path, queued: int) -> int:
    """How many commits it takes to write, in order, what was queued while the writer was busy."""
    commits = Commits()
    with opened(directory / "s", connect=commits.connect) as store:
        gate = Gate(store)
        for n in range(queued):
            store.submit(functools.partial(inbox.add, batch=[message(f"m{n:03}")], now_ms=NOW_MS))
        before = commits.count
        gate.open()
        wait_until(lambda: len(store.read(events)) == queued)
        # One of them is the gate's own.
        taken = commits.count - before - 1
        assert store.read(events) == [f"m{n:03}" for n in range(queued)]
    return taken


def test_what_is_queued_while_the_writer_is_busy_becomes_one_commit(tmp_path: pathlib.Path) -> None:
    assert commits_of(tmp_path, 50) == 1


def test_more_than_a_batch_is_committed_in_several(tmp_path: pathlib.Path) -> None:
    assert commits_of(tmp_path, 130) == 3


def test_a_failing_operation_fails_alone(tmp_path: pathlib.Path) -> None:
    def bad(conn: sqlite3.Connection) -> None:
        inbox.add(conn, [message("half")], NOW_MS)
        raise ZeroDivisionError("mine")

    with opened(tmp_path / "s") as store:
        gate = Gate(store)
        outcomes: dict[str, object] = {}

        def write(name: str, operation) -> None:
            try:
                outcomes[name] = store.write(operation)
            except ZeroDivisionError as error:
                outcomes[name] = error

        good = [functools.partial(keep, store, f"g{n}") for n in range(5)]
        threads = in_threads(*good[:3], lambda: write("bad", bad), *good[3:])
        store.submit(bad)
        gate.open()
        for thread in threads:
            thread.join(10)
        assert isinstance(outcomes["bad"], ZeroDivisionError)
        assert sorted(store.read(events)) == [f"g{n}" for n in range(5)]
        keep(store, "later")


@pytest.mark.parametrize(
    "error", [SystemExit(3), KeyboardInterrupt(), RecursionError(), sqlite3.OperationalError("x")]
)
def test_no_error_of_an_operation_ends_the_writer(tmp_path: pathlib.Path, error: BaseException) -> None:
    def bad(conn: sqlite3.Connection) -> None:
        raise error

    with opened(tmp_path / "s") as store:
        with pytest.raises(type(error)):
            store.write(bad)
        keep(store, "later")
        assert store.unwritable_reason() is None


def test_a_broken_statement_and_a_broken_rule_are_the_operations_own_fault(tmp_path: pathlib.Path) -> None:
    with opened(tmp_path / "s") as store:
        with pytest.raises(sqlite3.OperationalError):
            store.write(lambda conn: conn.execute("SELECT * FROM nothing"))
        with pytest.raises(sqlite3.IntegrityError):
            store.write(lambda conn: conn.execute("INSERT INTO cursor(name, value) VALUES('a', NULL)"))
        assert store.unwritable_reason() is None


@pytest.mark.parametrize("statement", ["COMMIT", "ROLLBACK", "BEGIN", "ROLLBACK TO operation"])
def test_an_operation_that_meddles_with_the_transaction_fails_alone(
    tmp_path: pathlib.Path, statement: str
) -> None:
    def bad(conn: sqlite3.Connection) -> None:
        inbox.add(conn, [message("bad")], NOW_MS)
        conn.execute(statement)

    with opened(tmp_path / "s") as store:
        gate = Gate(store)
        store.submit(functools.partial(inbox.add, batch=[message("a")], now_ms=NOW_MS))
        store.submit(bad)
        store.submit(functools.partial(inbox.add, batch=[message("b")], now_ms=NOW_MS))
        gate.open()
        keep(store, "c")
        assert [event for event in store.read(events) if event != "bad"] == ["a", "b", "c"]
        assert store.unwritable_reason() is None


def test_an_operation_that_misses_a_file_of_its_own_is_not_taken_for_a_full_disk(
    tmp_path: pathlib.Path,
) -> None:
    with opened(tmp_path / "s") as store:
        with pytest.raises(FileNotFoundError):
            store.write(lambda conn: os.stat(tmp_path / "none"))
        assert store.unwritable_reason() is None


def test_a_lazy_operation_rides_with_the_next_commit_and_goes_alone_in_the_end(
    tmp_path: pathlib.Path,
) -> None:
    commits = Commits()
    with opened(tmp_path / "s", connect=commits.connect) as store:
        gate = Gate(store)
        store.submit_lazy(lambda conn: counters.bump(conn, "lazy"))
        before = commits.count
        threads = in_threads(lambda: keep(store, "a"))
        gate.open()
        threads[0].join(10)
        assert store.read(counters.counters) == {"lazy": 1}
        assert commits.count - before <= 2
        store.submit_lazy(lambda conn: counters.bump(conn, "lazy"))
        wait_until(lambda: store.read(counters.counters) == {"lazy": 2})


def test_a_lazy_operation_wakes_a_writer_that_had_nothing_to_do_for_long(tmp_path: pathlib.Path) -> None:
    with opened(tmp_path / "s") as store:
        threading.Event().wait(4 * LAZY_S)
        store.submit_lazy(lambda conn: counters.bump(conn, "lazy"))
        wait_until(lambda: store.read(counters.counters) == {"lazy": 1})


def test_a_write_that_was_not_begun_in_time_is_never_done(tmp_path: pathlib.Path) -> None:
    with opened(tmp_path / "s") as store:
        gate = Gate(store)
        with pytest.raises(StoreUnwritable):
            keep(store, "late", timeout_s=0.05)
        gate.open()
        keep(store, "next")
        assert store.read(events) == ["next"]


def test_a_write_that_was_begun_in_time_is_waited_for(tmp_path: pathlib.Path) -> None:
    with opened(tmp_path / "s") as store:
        begun, go = threading.Event(), threading.Event()

        def slow(conn: sqlite3.Connection) -> str:
            begun.set()
            go.wait(10)
            inbox.add(conn, [message("slow")], NOW_MS)
            return "done"

        results: list[str] = []
        threads = in_threads(lambda: results.append(store.write(slow, timeout_s=0.05)))
        assert begun.wait(10)
        threads[0].join(0.2)
        assert results == []
        go.set()
        threads[0].join(10)
        assert results == ["done"]


def test_closing_writes_what_is_queued_and_refuses_what_comes_later(tmp_path: pathlib.Path) -> None:
    threads = ThreadRegistry()
    store = Store.open(str(tmp_path / "s"), threads=threads)
    for n in range(100):
        store.submit_lazy(functools.partial(inbox.add, batch=[message(f"m{n}")], now_ms=NOW_MS))
    assert store.close(Deadline(10)) is True
    assert store.close(Deadline(10)) is True
    with pytest.raises(StoreUnwritable):
        keep(store, "late")
    with pytest.raises(StoreUnwritable):
        store.submit(lambda conn: None)
    with pytest.raises(StoreUnwritable):
        store.read(events)
    assert threads.alive() == []
    assert sorted(os.listdir(tmp_path)) == ["s"]
    with opened(tmp_path / "s") as again:
        assert len(again.read(events)) == 100


def test_a_reader_sees_one_state_and_leaves_no_transaction_behind(tmp_path: pathlib.Path) -> None:
    with opened(tmp_path / "s") as store:
        keep(store, "a")

        def twice(conn: sqlite3.Connection) -> tuple:
            first = events(conn)
            other = in_threads(lambda: keep(store, "b"))
            other[0].join(10)
            return first, events(conn)

        assert store.read(twice) == (["a"], ["a"])
        assert store.read(events) == ["a", "b"]


def test_an_error_of_a_query_is_the_callers_and_reading_goes_on(tmp_path: pathlib.Path) -> None:
    with opened(tmp_path / "s") as store:
        with pytest.raises(sqlite3.OperationalError):
            store.read(lambda conn: conn.execute("SELECT * FROM nothing"))
        with pytest.raises(KeyError):
            store.read(lambda conn: {}["x"])
        assert store.read(events) == []


def test_a_damaged_row_found_by_a_reader_is_marked_by_the_writer(tmp_path: pathlib.Path) -> None:
    with opened(tmp_path / "s") as store:
        keep(store, "a")
        ((seq, _),) = store.read(inbox.pending_lanes)
        store.write(lambda conn: conn.execute("UPDATE inbox SET crc = crc + 1"))
        assert store.read(lambda conn: inbox.load(conn, seq)) is None
        assert store.read(inbox.counts) == {("telegram", "work"): {"failed": 1}}
        store.write(lambda conn: outbox.add(conn, [part("g")], now_ms=NOW_MS, first_sending=False))
        store.write(lambda conn: conn.execute("UPDATE outbox SET crc = crc + 1"))
        assert store.read(lambda conn: outbox.group(conn, "g")) == []
        assert store.read(lambda conn: outbox.state_of(conn, "g")) == "failed"


def test_many_threads_write_at_once_and_nothing_is_lost_or_done_twice(tmp_path: pathlib.Path) -> None:
    commits = Commits()
    with opened(tmp_path / "s", connect=commits.connect) as store:

        def writer(name: int) -> None:
            for n in range(40):
                keep(store, f"{name}-{n:02}")
                store.submit(lambda conn: counters.bump(conn, "n"))

        threads = in_threads(*(functools.partial(writer, name) for name in range(8)))
        for thread in threads:
            thread.join(30)
        store.write(lambda conn: None)
        stored = store.read(events)
        assert sorted(stored) == sorted(f"{name}-{n:02}" for name in range(8) for n in range(40))
        for name in range(8):
            own = [event for event in stored if event.startswith(f"{name}-")]
            assert own == sorted(own)
        assert store.read(counters.counters) == {"n": 320}
        assert commits.count < 640


def test_a_long_run_keeps_the_log_short_and_pruning_gives_space_back(tmp_path: pathlib.Path) -> None:
    class Keep:
        retention_days = 7
        retention_rows = 100

    path = tmp_path / "s"
    with opened(path) as store:
        for n in range(100):
            batch = [message(f"{n}-{i}", text="x" * 2000) for i in range(100)]
            store.write(lambda conn, batch=batch: inbox.add(conn, batch, 1000, state="done"))
        assert os.stat(f"{path}-wal").st_size < 32 << 20
        full = os.stat(path).st_size
        while store.write(lambda conn: retention.prune(conn, NOW_MS, Keep())):
            pass
        for _ in range(30):
            store.write(lambda conn: retention.prune(conn, NOW_MS, Keep()))
        assert store.read(events) == []
    assert os.stat(path).st_size < full / 2


def test_when_the_system_gives_no_thread_the_file_is_closed_and_the_command_ends_clearly(
    tmp_path: pathlib.Path,
) -> None:
    class NoThreads(ThreadRegistry):
        def spawn(self, *arguments: object, **options: object) -> threading.Thread:
            raise RuntimeError("can't start new thread")

    with pytest.raises(CommandError) as caught:
        Store.open(str(tmp_path / "s"), threads=NoThreads())
    assert caught.value.code == "store.cannot_open"
    assert os.listdir(tmp_path) == ["s"]


def test_one_transaction_without_an_owner_is_durable_and_leaves_no_lock(tmp_path: pathlib.Path) -> None:
    places = Places(tmp_path)
    for name in ("a", "b"):
        run_once(places, functools.partial(inbox.add, batch=[message(name)], now_ms=NOW_MS))
    assert run_once(places, events) == ["a", "b"]
    with pytest.raises(ZeroDivisionError):
        run_once(places, lambda conn: conn.execute("DELETE FROM inbox").rowcount / 0)
    assert run_once(places, events) == ["a", "b"]
    assert sorted(os.listdir(tmp_path)) == ["loong.sqlite3", "store.lock"]


def test_one_transaction_is_refused_while_an_owner_has_the_store(tmp_path: pathlib.Path) -> None:
    places = Places(tmp_path)
    with StoreLock.hold(places, 1), pytest.raises(CommandError) as caught:
        run_once(places, events, timeout_s=0.05)
    assert caught.value.code == "store.locked"
    assert not os.path.exists(places.store)
