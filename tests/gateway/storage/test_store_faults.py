"""A disk error at the n-th statement, for every n: nobody dies, nothing acknowledged is lost, order is kept."""

from __future__ import annotations

import errno
import functools
import pathlib
import sqlite3

import pytest

from loong_channels.waiting import Deadline
from loong_gateway.base.faults import CommandError, StoreUnwritable
from loong_gateway.base.threads import ThreadRegistry
from loong_gateway.storage import counters, inbox
from loong_gateway.storage.file import StoreFile, connect
from loong_gateway.storage.store import Store
from tests.gateway.storage.store_help import NOW_MS, events, message, opened
from tests.waiting import wait_until

ERRORS = {
    "full": lambda: sqlite3.OperationalError("database or disk is full"),
    "io": lambda: sqlite3.OperationalError("disk I/O error"),
    "readonly": lambda: sqlite3.OperationalError("attempt to write a readonly database"),
    "cantopen": lambda: sqlite3.OperationalError("unable to open database file"),
    "locked": lambda: sqlite3.OperationalError("database is locked"),
    "damaged": lambda: sqlite3.DatabaseError("database disk image is malformed"),
    "os": lambda: OSError(errno.EIO, "Input/output error"),
    "memory": MemoryError,
    "closed": lambda: sqlite3.ProgrammingError("Cannot operate on a closed database."),
}


class Disk:
    """Makes connections that fail at chosen statements, counted over all of them once it is armed."""

    def __init__(self) -> None:
        self.count = -1
        self.fail_at: range = range(0)
        self.after = False
        self.error = ERRORS["io"]

    def arm(self, fail_at: range, error: str, *, after: bool = False) -> None:
        self.fail_at, self.error, self.after = fail_at, ERRORS[error], after
        self.count = 0

    def connect(self, path: str) -> Connection:
        return Connection(self, connect(path))


class Connection:
    def __init__(self, disk: Disk, inner: sqlite3.Connection) -> None:
        self._disk = disk
        self._inner = inner

    @property
    def in_transaction(self) -> bool:
        return self._inner.in_transaction

    def execute(self, statement: str, *values: object) -> sqlite3.Cursor:
        disk = self._disk
        if disk.count < 0:
            return self._inner.execute(statement, *values)
        disk.count += 1
        fails = disk.count in disk.fail_at
        if fails and not disk.after:
            raise disk.error()
        cursor = self._inner.execute(statement, *values)
        if fails:
            raise disk.error()
        return cursor

    def close(self) -> None:
        self._inner.close()


def take(store: Store, event: str) -> None:
    """Store a message as a platform would have it: offered again until it is taken."""
    taken = []

    def once() -> bool:
        try:
            store.write(lambda conn: inbox.add(conn, [message(event)], NOW_MS))
        except StoreUnwritable:
            return False
        taken.append(event)
        return True

    wait_until(once)


def live(store: Store, life: int) -> list[str]:
    """Some work of every kind; returns the events in the order in which they were given."""
    given = []
    for n in range(5):
        given += [f"{life}-s{n}", f"{life}-w{n}"]
        store.submit(functools.partial(inbox.add, batch=[message(given[-2])], now_ms=NOW_MS))
        take(store, given[-1])
        store.submit_lazy(lambda conn: counters.bump(conn, "lazy"))
    return given


def check(path: pathlib.Path, given: list[str], *, exact: bool) -> None:
    with opened(path) as store:
        stored = store.read(events)
        for kind in "sw":
            assert [event for event in stored if kind in event] == [event for event in given if kind in event]
        counted = store.read(counters.counters)["lazy"]
        assert counted == len(given) / 2 if exact else counted >= len(given) / 2
        assert store.read(lambda conn: conn.execute("PRAGMA integrity_check").fetchone()[0]) == "ok"


@pytest.mark.parametrize(
    ("error", "after"), [("full", False), ("io", False), ("io", True), ("damaged", False)]
)
def test_one_error_at_any_statement_loses_nothing(tmp_path: pathlib.Path, error: str, after: bool) -> None:
    disk = Disk()
    given: list[str] = []
    with opened(tmp_path / "s", connect=disk.connect, probe_s=0.001) as store:
        for n in range(1, 61):
            disk.arm(range(n, n + 1), error, after=after)
            given += live(store, n)
            wait_until(lambda: store.unwritable_reason() is None)
        assert store.set_aside is None
    check(tmp_path / "s", given, exact=not after)


@pytest.mark.parametrize("error", [name for name in ERRORS if name != "damaged"])
def test_a_disk_that_fails_for_a_while_is_survived_and_the_connection_replaced(
    tmp_path: pathlib.Path, error: str
) -> None:
    disk = Disk()
    given: list[str] = []
    with opened(tmp_path / "s", connect=disk.connect, probe_s=0.001) as store:
        for n in range(1, 30, 4):
            disk.arm(range(n, n + 40), error)
            given += live(store, n)
            wait_until(lambda: store.unwritable_reason() is None)
            disk.count = -1
        assert store.set_aside is None
        assert store.read(counters.counters)["store_recoveries"] >= 1
    check(tmp_path / "s", given, exact=True)


def test_while_the_disk_fails_writes_are_refused_fast_and_submits_are_kept(tmp_path: pathlib.Path) -> None:
    told = []
    disk = Disk()
    with opened(
        tmp_path / "s", connect=disk.connect, probe_s=0.01, on_trouble=lambda: told.append(1)
    ) as store:
        take(store, "before")
        disk.arm(range(1, 1_000_000_000), "full")
        with pytest.raises(StoreUnwritable) as caught:
            store.write(lambda conn: inbox.add(conn, [message("w")], NOW_MS))
        assert "full" in str(caught.value)
        assert "full" in store.unwritable_reason()
        for n in range(100):
            store.submit(functools.partial(inbox.add, batch=[message(f"s{n:02}")], now_ms=NOW_MS))
        with pytest.raises(StoreUnwritable):
            store.write(lambda conn: None)
        probed = disk.count
        wait_until(lambda: disk.count > probed + 5)
        assert len(told) == 1
        disk.count = -1
        wait_until(lambda: store.unwritable_reason() is None)
        assert len(told) == 2
        take(store, "after")
        assert store.read(events) == ["before", *(f"s{n:02}" for n in range(100)), "after"]


def test_too_many_kept_operations_are_refused_so_that_memory_is_bounded(tmp_path: pathlib.Path) -> None:
    disk = Disk()
    with opened(tmp_path / "s", connect=disk.connect, probe_s=0.01) as store:
        disk.arm(range(1, 1_000_000_000), "full")
        with pytest.raises(StoreUnwritable):
            for _ in range(100_000):
                store.submit(lambda conn: counters.bump(conn, "n"))
        disk.count = -1
        wait_until(lambda: store.read(counters.counters).get("n", 0) >= 1000)


def test_closing_while_the_disk_fails_ends_and_says_so(tmp_path: pathlib.Path) -> None:
    disk, threads = Disk(), ThreadRegistry()
    store = Store.open(str(tmp_path / "s"), threads=threads, connect=disk.connect, probe_s=60)
    disk.arm(range(1, 1_000_000_000), "io")
    store.submit(lambda conn: counters.bump(conn, "n"))
    wait_until(lambda: store.unwritable_reason() is not None)
    assert store.close(Deadline(10)) is False
    assert threads.alive() == []


def test_a_last_try_is_made_when_the_store_is_closed_after_the_disk_came_back(tmp_path: pathlib.Path) -> None:
    disk = Disk()
    store = Store.open(str(tmp_path / "s"), threads=ThreadRegistry(), connect=disk.connect, probe_s=60)
    disk.arm(range(1, 1_000_000_000), "io")
    store.submit(lambda conn: counters.bump(conn, "n"))
    wait_until(lambda: store.unwritable_reason() is not None)
    disk.count = -1
    assert store.close(Deadline(10)) is True
    with opened(tmp_path / "s") as again:
        assert again.read(counters.counters)["n"] == 1


def test_a_listener_that_fails_does_not_stop_the_writer(tmp_path: pathlib.Path) -> None:
    def broken() -> None:
        raise ZeroDivisionError

    disk = Disk()
    with opened(tmp_path / "s", connect=disk.connect, probe_s=0.01, on_trouble=broken) as store:
        disk.arm(range(1, 3), "io")
        take(store, "a")
        take(store, "b")
        assert store.read(events) == ["a", "b"]


@pytest.mark.parametrize("error", list(ERRORS))
def test_an_error_at_any_statement_of_the_opening_is_one_clear_error_and_harms_nothing(
    tmp_path: pathlib.Path, error: str
) -> None:
    path = tmp_path / "s"
    with opened(path) as store:
        take(store, "a")
    for n in range(1, 25):
        disk = Disk()
        disk.arm(range(n, 1_000), error)
        file = StoreFile(str(path), connect=disk.connect)
        try:
            file.open()
        except CommandError as caught:
            assert (caught.code, caught.exit_code) in (("store.disk", 75), ("store.cannot_open", 78))
        finally:
            file.close()
        if error == "damaged":
            break
    if error != "damaged":
        with opened(path) as store:
            assert store.read(events) == ["a"]
