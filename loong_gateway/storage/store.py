"""The durable store: what it took is on disk when it says so. One file, one writing thread, one reading connection."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from typing import Callable, Protocol, TypeVar, cast

from loong_channels.waiting import Deadline
from loong_gateway.base.faults import CommandError, StoreUnwritable
from loong_gateway.base.metrics import Histogram
from loong_gateway.base.threads import ThreadRegistry
from loong_gateway.storage.file import Connect, StoreFile, Trouble, connect, recheck, trouble_of
from loong_gateway.storage.lock import LockPlaces, StoreLock
from loong_gateway.storage.queue import LAZY_S, Operation, OperationQueue
from loong_gateway.storage.writer import GONE, Writer
from loong_gateway.texts.store import CANNOT_OPEN_FIXES

__all__ = ["Store", "StorePlaces", "run_once"]

T = TypeVar("T")

_MAX_QUEUED = 2_000
_SUBMIT_S = 5.0
# How much longer than asked a caller stays when its commit is under way: leaving then, it could not know the outcome.
_HUNG_DISK_S = 30.0
_READER_S = 5.0


class Store:
    """Thread-safe. An operation is a function of the connection that changes nothing else.

    It runs in the writer's thread, inside a transaction with others, and may be run again when that transaction
    fails; so it must be quick, must not begin or end transactions, and must be safe to repeat.
    """

    def __init__(self, file: StoreFile, queue: OperationQueue, writer: Writer) -> None:
        self._file = file
        self._queue = queue
        self._writer = writer
        self._thread: threading.Thread | None = None

    @classmethod
    def open(
        cls,
        path: str,
        *,
        threads: ThreadRegistry,
        on_trouble: Callable[[], None] | None = None,
        connect: Connect = connect,
        probe_s: float = 1.0,
    ) -> Store:
        """Open the file and start the writer. Blocks for the check of the file.

        `on_trouble` is called in the writer's thread whenever `unwritable_reason()` or `set_aside` has changed; it
        must be quick. While the disk refuses, writing is tried again every `probe_s`. Raises CommandError
        store.cannot_open, store.disk or store.newer (then the file is untouched).
        """
        file = StoreFile(path, connect=connect)
        file.open()
        queue = OperationQueue(limit=_MAX_QUEUED)
        writer = Writer(file, queue, probe_s=probe_s, on_trouble=on_trouble)
        store = cls(file, queue, writer)
        try:
            store._thread = threads.spawn("store", writer.run)
        except RuntimeError as error:
            file.close()
            raise CommandError(
                "store.cannot_open", reason=str(error), path=path, fix=CANNOT_OPEN_FIXES["other"]
            ) from error
        return store

    def write(self, operation: Callable[[sqlite3.Connection], T], *, timeout_s: float = 5.0) -> T:
        """Run an operation and return its result once it is on disk. Blocks.

        Raises StoreUnwritable when it is not on disk after `timeout_s`, at once while the disk refuses; it was not
        stored then. The one exception is a commit that hangs for more than 30 s: its outcome is unknown.
        Raises what the operation raised; then nothing of it was stored and other operations did not suffer.
        """
        task = Operation(operation, awaited=True)
        self._queue.put(task, timeout_s=timeout_s)
        latch = cast(threading.Lock, task.latch)
        if not latch.acquire(timeout=max(0.0, timeout_s)):
            if self._queue.withdraw(task):
                raise StoreUnwritable(f"the disk did not answer within {timeout_s:g} s")
            if not latch.acquire(timeout=_HUNG_DISK_S):
                raise StoreUnwritable("the disk does not answer; the outcome is unknown")
        if task.error is not None:
            raise task.error
        return cast(T, task.result)

    def submit(self, operation: Callable[[sqlite3.Connection], object]) -> None:
        """Run an operation soon, in order with all others; returns at once.

        While the disk refuses it is kept and tried again. Its own failure is logged. Raises StoreUnwritable when the
        store is closed, or when 2 000 operations wait and none of them was written for 5 s.
        """
        self._queue.put(Operation(operation), timeout_s=_SUBMIT_S)

    def submit_lazy(self, operation: Callable[[sqlite3.Connection], object]) -> None:
        """Like `submit`, but it waits up to 50 ms for another operation so that it needs no commit of its own."""
        self._queue.put(Operation(operation, due_s=time.monotonic() + LAZY_S), timeout_s=_SUBMIT_S)

    def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Run a query on one consistent state that includes every finished write. Blocks while others read.

        It must return values, not a cursor. A query that finds something to repair (a damaged row) is run again by
        the writer. Raises StoreUnwritable when the file cannot be read now, and what the query raises.
        """
        try:
            return self._read(query)
        except sqlite3.OperationalError as error:
            if not str(error).startswith("attempt to write a readonly database"):
                raise
        return self.write(query)

    @property
    def commits(self) -> Histogram:
        """How long the commits took."""
        return self._writer.commits

    def unwritable_reason(self) -> str | None:
        """Why nothing can be written now, or None."""
        return self._queue.refusal

    def is_gone(self) -> bool:
        """True while writing is refused because the file was removed or replaced."""
        return self._queue.refusal == GONE

    def look(self) -> None:
        """Have the writer see soon whether it can still write; returns at once."""
        if self._queue.refusal is None:
            with contextlib.suppress(StoreUnwritable):  # that is what `unwritable_reason` says from now on
                self.submit_lazy(_nothing)

    @property
    def set_aside(self) -> str | None:
        """Where the newest damaged file lies that an empty one replaced, None once nobody needs to look any more."""
        aside = self._file.set_aside
        return aside if aside and any(os.path.lexists(aside + suffix) for suffix in ("", "-wal")) else None

    def close(self, deadline: Deadline) -> bool:
        """Write what is queued, then close the file. Blocks until the deadline; True when all that was done.

        While the disk refuses, one last try is made. Idempotent.
        """
        self._queue.close()
        if self._thread is not None:
            self._thread.join(deadline.remaining())
            return not self._thread.is_alive() and self._queue.refusal is None
        return True

    def _read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        guard = self._file.reader_guard
        if not guard.acquire(timeout=_READER_S):
            raise StoreUnwritable("the disk does not answer")
        try:
            conn = self._file.reader
            if conn is None:
                raise StoreUnwritable(self._queue.refusal or "the store is closed")
            conn.execute("BEGIN")
            try:
                return query(conn)
            finally:
                # An I/O error has ended it already, and the failure of this must not hide that one.
                if conn.in_transaction:
                    conn.execute("ROLLBACK")
        except sqlite3.Error as error:
            trouble = trouble_of(error)
            if trouble is None or str(error).startswith("attempt to write a readonly database"):
                raise
            if trouble is Trouble.DAMAGED:
                self._report_damage()
            raise StoreUnwritable(str(error)) from error
        finally:
            guard.release()

    def _report_damage(self) -> None:
        with contextlib.suppress(StoreUnwritable):  # the reader is told that already
            self.submit(recheck)


def _nothing(conn: sqlite3.Connection) -> None:
    """An operation that changes nothing."""


class StorePlaces(LockPlaces, Protocol):
    """Where the store and its lock lie."""

    @property
    def store(self) -> str:
        """The path of the database file."""


def run_once(
    places: StorePlaces, operation: Callable[[sqlite3.Connection], T], *, timeout_s: float = 5.0
) -> T:
    """Run one operation on the store without an owner: lock, open, one transaction, close. Blocks.

    Raises CommandError store.locked when another process has the store for all of `timeout_s`, store.cannot_open,
    store.disk or store.newer; StoreUnwritable when the disk refuses; and what the operation raises.
    """
    with StoreLock.hold(places, timeout_s):
        file = StoreFile(places.store, check=False)
        file.open()
        try:
            conn = cast(sqlite3.Connection, file.writer)
            conn.execute("BEGIN IMMEDIATE")
            result = operation(conn)
            conn.execute("COMMIT")
        except (sqlite3.Error, OSError) as error:
            if trouble_of(error) is None:
                raise
            raise StoreUnwritable(str(error)) from error
        else:
            return result
        finally:
            file.close(checkpoint=True)
