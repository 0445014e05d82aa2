"""The thread that writes: takes what is queued, commits it as one transaction, makes the outcomes known.

While the disk refuses it turns away everybody who waits, keeps what nobody waits for, and tries again by itself.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import time
from collections.abc import Sequence
from typing import Callable

from loong_gateway.base.faults import StoreUnwritable
from loong_gateway.base.metrics import Histogram
from loong_gateway.storage.counters import bump
from loong_gateway.storage.file import StoreFile, Trouble, trouble_of
from loong_gateway.storage.queue import Operation, OperationQueue

__all__ = ["GONE", "MAX_BATCH", "Writer"]

logger = logging.getLogger("loong.store")

MAX_BATCH = 64
# Starts like SQLite's own message for a file that it cannot use.
GONE = "unable to open database file: it was removed or replaced while in use"


class _OneFailed(Exception):
    """Raised inside a transaction when an operation failed on its own; the others must not suffer."""


class Writer:
    """Owns the writing connection. `run` is the body of its thread; everything else here runs in that thread too."""

    def __init__(
        self,
        file: StoreFile,
        queue: OperationQueue,
        *,
        probe_s: float,
        on_trouble: Callable[[], None] | None,
    ) -> None:
        self._file = file
        self._queue = queue
        self._probe_s = probe_s
        self._on_trouble = on_trouble
        self._trouble = Trouble.DISK
        self._probes = 0
        self._damage_reports = 0
        self.commits = Histogram()

    def run(self) -> None:
        """Write until the queue is closed and empty, then close the file."""
        while True:
            if self._queue.refusal is None:
                operations = self._queue.take(MAX_BATCH)
                if operations is None:
                    break
                self._write(operations)
            elif not self._probe():
                break
        self._give_up()
        self._file.close(checkpoint=True)

    def _probe(self) -> bool:
        """Wait, then try to write again; False when that failed and the queue is being closed."""
        stays = self._queue.pause(self._probe_s)
        self._probes += 1
        # A full disk leaves the connection sound, and reading goes on. After any other failure it is not trusted.
        # The file that is gone lives as long as its connection, and may be brought back.
        distrusted = self._probes > 1 and self._trouble is not Trouble.FULL
        if (distrusted and not self._file.is_gone()) or self._file.writer is None:
            try:
                self._file.reopen()
            except Exception as error:  # noqa: BLE001 - this thread must outlive whatever a disk does
                self._refuse(error)
                return stays
        recovery = Operation(lambda conn: bump(conn, "store_recoveries"))
        self._write([recovery, *self._queue.take_now(MAX_BATCH - 1)], probing=recovery)
        return stays or self._queue.refusal is None

    def _write(self, operations: list[Operation], *, probing: Operation | None = None) -> None:
        try:
            try:
                self._transact(operations)
            except _OneFailed:
                self._transact_apart(operations)
        except BaseException as error:  # noqa: BLE001 - this thread must outlive whatever a disk or an operation does
            self._roll_back()
            self._failed([op for op in operations if op is not probing], error)
            return
        self._damage_reports = 0
        self._recovered()
        for operation in operations:
            if operation.error is not None and operation.latch is None:
                logger.error("a stored operation failed and is dropped", exc_info=operation.error)
            operation.settle()

    def _transact(self, operations: Sequence[Operation]) -> None:
        conn = self._connection()
        self._require_file()
        conn.execute("BEGIN IMMEDIATE")
        for operation in operations:
            try:
                operation.result = operation.run(conn)
            except BaseException as error:
                if trouble_of(error) is not None:
                    raise
                self._roll_back()
                raise _OneFailed from error
            if not conn.in_transaction:
                raise _OneFailed
        self._commit(conn)

    def _transact_apart(self, operations: Sequence[Operation]) -> None:
        """The same with a savepoint around each operation, so that a failure undoes only its own."""
        while not self._tried_apart([op for op in operations if op.error is None]):
            # One of them ended the transaction itself; it has its error now, and the others begin again.
            self._roll_back()

    def _tried_apart(self, operations: Sequence[Operation]) -> bool:
        conn = self._connection()
        conn.execute("BEGIN IMMEDIATE")
        for operation in operations:
            conn.execute("SAVEPOINT operation")
            try:
                operation.result = operation.run(conn)
            except BaseException as error:
                if trouble_of(error) is not None:
                    raise
                operation.error = error  # raised again where somebody waits for it
            if not conn.in_transaction:
                operation.error = operation.error or RuntimeError("an operation must not end the transaction")
                return False
            if operation.error is not None:
                conn.execute("ROLLBACK TO operation")
            conn.execute("RELEASE operation")
        self._commit(conn)
        return True

    def _commit(self, conn: sqlite3.Connection) -> None:
        begin_s = time.monotonic()
        conn.execute("COMMIT")
        self.commits.observe(time.monotonic() - begin_s)

    def _connection(self) -> sqlite3.Connection:
        if self._file.writer is None:
            raise sqlite3.OperationalError("unable to open database file")
        return self._file.writer

    def _require_file(self) -> None:
        if self._file.is_gone():
            raise sqlite3.OperationalError(GONE)

    def _roll_back(self) -> None:
        conn = self._file.writer
        if conn is not None:
            # If it cannot, the connection is replaced before it is used again.
            with contextlib.suppress(Exception):
                if conn.in_transaction:
                    conn.execute("ROLLBACK")

    def _failed(self, operations: list[Operation], error: BaseException) -> None:
        for operation in operations:
            operation.error = None
            operation.result = None
        self._queue.put_back(operations)
        if trouble_of(error) is Trouble.DAMAGED and self._heal():
            return
        self._refuse(error)

    def _heal(self) -> bool:
        """Deal with a report of damage; True when the operations can be run again at once."""
        before = self._file.set_aside
        self._damage_reports += 1
        try:
            self._file.heal(self._damage_reports)
        except Exception:
            # The disk refuses that too: the writer goes on trying, and says so meanwhile.
            logger.exception("the damaged store cannot be set aside now")
            return False
        if self._file.set_aside != before:
            self._tell()
        return True

    def _refuse(self, error: BaseException) -> None:
        self._trouble = trouble_of(error) or Trouble.DISK
        reason = str(error) or type(error).__name__
        news = self._queue.refusal is None
        if news:
            self._probes = 0
            logger.error("the store cannot be written: %s", reason)
        self._queue.refuse(reason)
        if news:
            self._tell()

    def _recovered(self) -> None:
        if self._queue.refusal is not None:
            self._queue.accept()
            logger.warning("the store can be written again")
            self._tell()

    def _tell(self) -> None:
        if self._on_trouble is None:
            return
        try:
            self._on_trouble()
        except Exception:
            # Whoever listens must not cost everybody the writer.
            logger.exception("the listener of the store failed")

    def _give_up(self) -> None:
        left = self._queue.take_now(1 << 30)
        if left:
            logger.error("the store is closed without %d operations that the disk refused", len(left))
        for operation in left:
            operation.settle(StoreUnwritable("the store is closed"))
