"""The database file: private from its first byte, checked, brought up to date, moved aside when it is damaged.

Nothing but SQLite ever opens the file once it exists: closing any descriptor of it would drop the POSIX locks that
SQLite holds on it (https://www.sqlite.org/howtocorrupt.html, "file locking problems"). `os.stat`, `os.chmod` and
`os.rename` work on names and do no harm.
"""

from __future__ import annotations

import contextlib
import enum
import errno
import logging
import operator
import os
import re
import sqlite3
import stat
import threading
import time
from collections.abc import Iterator
from typing import Callable

from loong_gateway.base.atomic import sync_directory
from loong_gateway.base.faults import CommandError
from loong_gateway.storage import migrations
from loong_gateway.texts.store import CANNOT_OPEN_FIXES

__all__ = ["Connect", "Damaged", "StoreFile", "Trouble", "connect", "recheck", "trouble_of"]

logger = logging.getLogger("loong.store")

Connect = Callable[[str], sqlite3.Connection]

# Above this size the check at the start would take too long; the doctor still does it.
CHECK_LIMIT_BYTES = 512 << 20
_OLDEST_SQLITE = (3, 24, 0)
_SQLITE_CORRUPT = 11
_SIDE_FILES = ("", "-wal", "-shm")
_DAMAGED = ".damaged-"

_BEFORE_WRITING = (
    "PRAGMA busy_timeout=5000",
    "PRAGMA temp_store=MEMORY",
    "PRAGMA cell_size_check=ON",
)
_WRITER = (
    "PRAGMA synchronous=FULL",
    # Where fsync leaves data in the drive's cache (macOS), ask for more; nothing elsewhere.
    "PRAGMA fullfsync=ON",
    "PRAGMA foreign_keys=ON",
    "PRAGMA cache_size=-2000",
    # The log is copied back about every 8 MiB, and a longer one is cut when that is done. Whoever commits then waits
    # for it: over a large file those are pages everywhere, so it must be rare.
    "PRAGMA wal_autocheckpoint=2000",
    "PRAGMA journal_size_limit=8388608",
)
_READER = (
    "PRAGMA busy_timeout=5000",
    "PRAGMA temp_store=MEMORY",
    "PRAGMA cache_size=-1000",
    "PRAGMA query_only=ON",
)


class Damaged(sqlite3.DatabaseError):
    """Raised when the check finds the file damaged."""


class Trouble(enum.Enum):
    """What a failure means for the store as a whole."""

    FULL = "no space"
    DISK = "disk"
    DAMAGED = "damaged"


_MEANINGS = (
    ("database or disk is full", Trouble.FULL),
    ("disk i/o error", Trouble.DISK),
    ("attempt to write a readonly database", Trouble.DISK),
    ("unable to open database file", Trouble.DISK),
    ("locking protocol", Trouble.DISK),
    ("database is locked", Trouble.DISK),
    ("database disk image is malformed", Trouble.DAMAGED),
    ("malformed database schema", Trouble.DAMAGED),
    ("file is not a database", Trouble.DAMAGED),
    ("file is encrypted or is not a database", Trouble.DAMAGED),
)


_ERRNO_MEANINGS = {
    errno.ENOSPC: Trouble.FULL,
    errno.EDQUOT: Trouble.FULL,
    errno.EIO: Trouble.DISK,
    errno.EROFS: Trouble.DISK,
    errno.EFBIG: Trouble.DISK,
}


def trouble_of(error: BaseException) -> Trouble | None:
    """What an error says about the disk or the file, or None when it is the operation's own fault.

    Told by SQLite's messages, because Python shows its numbers from 3.11 on only.
    """
    # SQLite quotes a damaged schema in its message, which Python cannot read then; older ones leave nothing of it.
    if isinstance(error, (Damaged, UnicodeDecodeError)) or (
        isinstance(error, sqlite3.DatabaseError) and not error.args
    ):
        return Trouble.DAMAGED
    if isinstance(error, OSError):
        return _ERRNO_MEANINGS.get(error.errno or 0)
    if isinstance(error, MemoryError):
        return Trouble.DISK
    if isinstance(error, sqlite3.DatabaseError):
        message = str(error).lower()
        return next((trouble for text, trouble in _MEANINGS if message.startswith(text)), None)
    return None


# A flipped bit in a text must not make its whole table unreadable. Called for every text that is read.
_tolerant_text = operator.methodcaller("decode", "utf-8", "replace")


def connect(path: str) -> sqlite3.Connection:
    """Open a connection that any one thread at a time may use, with transactions left to us."""
    connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    connection.text_factory = _tolerant_text
    return connection


class StoreFile:
    """The file and its two connections.

    `writer` belongs to one thread, which is also the only one to call methods after `open`. `reader` may be used
    by anybody who holds `reader_guard`; it is None while the file cannot be opened.
    """

    def __init__(self, path: str, *, connect: Connect = connect, check: bool = True) -> None:
        self.path = path
        self.reader_guard = threading.Lock()
        self.writer: sqlite3.Connection | None = None
        self.reader: sqlite3.Connection | None = None
        self.set_aside: str | None = _newest_set_aside(path)
        self._identities: dict[str, tuple[int, int]] = {}
        self._make_connection = connect
        self._check = check

    def open(self) -> None:
        """Open the file, creating it or moving a damaged one aside. Blocks for the check.

        Raises CommandError: store.newer, and then nothing was changed; store.cannot_open; store.disk, which may pass.
        """
        try:
            _refuse_old_library()
            with self.reader_guard:
                self._connect_sound()
        except (sqlite3.Error, OSError, MemoryError) as error:
            self.close()
            raise _cannot_open(self.path, error) from error
        except BaseException:
            self.close()
            raise

    def reopen(self) -> None:
        """Close both connections and open them again, moving a damaged file aside.

        Raises sqlite3.Error, OSError or CommandError.
        """
        with self.reader_guard:
            self._disconnect()
            self._connect_sound()

    def heal(self, report: int) -> None:
        """After the `report`-th report of damage in a row, from 1: open the file again, in better shape.

        A damaged file is moved aside. One that passes the check is opened afresh; when it is reported again, its
        indexes are built anew, which the check does not look into; after that it is moved aside whatever it says.
        Raises sqlite3.Error, OSError or CommandError when that cannot be done now.
        """
        with self.reader_guard:
            if report > 2 or self._is_damaged(rebuild=report == 2):
                self._move_aside("found while running")
            else:
                self._disconnect()
            self._connect_sound()

    def is_gone(self) -> bool:
        """Whether the file or its log was removed or replaced: what is written now would be found by nobody."""
        return any(_identity(name) != identity for name, identity in self._identities.items())

    def close(self, *, checkpoint: bool = False) -> None:
        """Close both connections; `checkpoint` first copies the log back into the file. Never raises."""
        with self.reader_guard:
            if checkpoint and self.writer is not None:
                with contextlib.suppress(Exception):  # the log stays and is read at the next start
                    self.writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            self._disconnect()

    def _connect_sound(self) -> None:
        try:
            self._connect()
        except sqlite3.DatabaseError as error:
            if trouble_of(error) is not Trouble.DAMAGED:
                raise
            self._move_aside(str(error))
            self._connect()

    def _connect(self) -> None:
        self._prepare_files()
        try:
            self.writer = self._make_connection(self.path)
            for pragma in _BEFORE_WRITING:
                self.writer.execute(pragma).fetchall()
            _refuse_newer(self.writer, self.path)
            _use_log(self.writer)
            for pragma in _WRITER:
                self.writer.execute(pragma).fetchall()
            if self._check and os.stat(self.path).st_size <= CHECK_LIMIT_BYTES:
                _quick_check(self.writer)
            migrations.apply(self.writer)
            self.reader = self._make_connection(self.path)
            for pragma in _READER:
                self.reader.execute(pragma).fetchall()
            names = (self.path, self.path + "-wal")
            self._identities = {name: found for name in names if (found := _identity(name)) is not None}
        except UnicodeDecodeError as error:
            # The database's own message repeats a name of the schema that is no text any more.
            raise Damaged("malformed database schema") from error
        except BaseException as error:
            # A damaged file keeps its connections until it has another name: closing the last one would copy the
            # log into it and delete the log.
            if trouble_of(error) is not Trouble.DAMAGED:
                self._disconnect()
            raise

    def _disconnect(self) -> None:
        for connection in (self.reader, self.writer):
            if connection is not None:
                with contextlib.suppress(Exception):  # it is given up either way
                    connection.close()
        self.reader = None
        self.writer = None

    def _prepare_files(self) -> None:
        """Create the file with mode 0600 before SQLite does it with the umask's, or check the one that is there."""
        if _size(self.path + "-wal") and not _size(self.path):
            # The log of a file that is gone; SQLite would delete it.
            self._move_aside("its main file is missing or empty")
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            self._check_files()
        else:
            os.close(descriptor)
            sync_directory(os.path.dirname(self.path))

    def _check_files(self) -> None:
        if not stat.S_ISREG(os.stat(self.path).st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        for suffix in _SIDE_FILES:
            with contextlib.suppress(FileNotFoundError):  # the side files come and go
                mode = os.stat(self.path + suffix).st_mode
                if stat.S_IMODE(mode) & 0o077:
                    os.chmod(self.path + suffix, 0o600)

    def _is_damaged(self, *, rebuild: bool) -> bool:
        try:
            if self.writer is not None:
                if self.writer.in_transaction:
                    self.writer.execute("ROLLBACK")
                recheck(self.writer)
                if rebuild:
                    self.writer.execute("REINDEX")
        except sqlite3.Error as error:
            # Two rows with one key cannot be indexed again.
            if trouble_of(error) is Trouble.DAMAGED or isinstance(error, sqlite3.IntegrityError):
                return True
            raise
        return False

    def _move_aside(self, why: str) -> None:
        target = _free_name(self.path + _DAMAGED + time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()))
        for suffix in _SIDE_FILES:
            with contextlib.suppress(FileNotFoundError):  # a closed file has no side files
                os.rename(self.path + suffix, target + suffix)
        self._disconnect()
        sync_directory(os.path.dirname(self.path))
        self.set_aside = target
        logger.error(
            "the store was damaged (%s); it was set aside as %s and an empty one is used", why, target
        )


def _identity(path: str) -> tuple[int, int] | None:
    """Which file has this name, None when none has."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _size(path: str) -> int:
    """The size of a file in bytes, 0 when there is none."""
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


def _refuse_old_library() -> None:
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        raise sqlite3.NotSupportedError(
            f"SQLite {sqlite3.sqlite_version} is too old; 3.24 or newer is needed"
        )


def _refuse_newer(connection: sqlite3.Connection, path: str) -> None:
    newer = migrations.unknown_steps(connection)
    if newer:
        raise CommandError("store.newer", path=path, names=", ".join(newer))


def _use_log(connection: sqlite3.Connection) -> None:
    # Only an empty file takes this, and only before the first write, which the next line does.
    connection.execute("PRAGMA auto_vacuum=INCREMENTAL").fetchall()
    mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
    if mode != "wal":
        raise sqlite3.NotSupportedError(f"its file system cannot keep a write-ahead log (mode {mode})")


def recheck(connection: sqlite3.Connection) -> None:
    """Check a file that is in use. Raises Damaged, or another sqlite3.Error when it cannot be read."""
    # What the connection has in memory may be sound while the disk is not.
    connection.execute("PRAGMA shrink_memory").fetchall()
    _quick_check(connection)


def _quick_check(connection: sqlite3.Connection) -> None:
    finding = connection.execute("PRAGMA quick_check(1)").fetchone()
    if finding is None:
        raise Damaged("the check gave no answer")
    if finding[0] == "ok":
        return
    text = " ".join(str(finding[0]).split())
    # A page that could not be fetched, for want of memory or for the disk's sake, says nothing about its content:
    # https://www.sqlite.org/rescode.html, whose primary code is the low byte.
    failed = re.search(r"error code=(\d+)", text)
    if "out of memory" in text or (failed and int(failed.group(1)) & 0xFF != _SQLITE_CORRUPT):
        raise sqlite3.OperationalError(f"disk I/O error during the check: {text}")
    raise Damaged(text)


def _newest_set_aside(path: str) -> str | None:
    """The damaged file that still lies beside the store, so that nobody misses it because of a restart."""
    directory, name = os.path.split(path)
    prefix = name + _DAMAGED
    try:
        found = {re.sub("-(wal|shm)$", "", entry) for entry in os.listdir(directory or ".")}
    except OSError:
        # There is no directory yet, or opening the store is about to say what is wrong with it.
        return None
    aside = [entry for entry in found if entry.startswith(prefix)]
    return os.path.join(directory, max(aside)) if aside else None


def _names(base: str) -> Iterator[str]:
    yield base
    number = 2
    while True:
        yield f"{base}-{number}"
        number += 1


def _free_name(base: str) -> str:
    return next(
        name for name in _names(base) if not any(os.path.lexists(name + suffix) for suffix in _SIDE_FILES)
    )


def _cannot_open(path: str, error: Exception) -> CommandError:
    reason = (error.strerror if isinstance(error, OSError) else str(error)) or type(error).__name__
    trouble = trouble_of(error)
    if trouble is Trouble.FULL:
        code, kind = "store.disk", "full"
    elif not all(_accessible(name) for name in (os.path.dirname(path) or ".", path)):
        code, kind = "store.cannot_open", "permission"
    elif trouble is Trouble.DISK:
        code, kind = "store.disk", "disk"
    else:
        code, kind = "store.cannot_open", "other"
    return CommandError(code, reason=reason, path=path, fix=CANNOT_OPEN_FIXES[kind])


def _accessible(name: str) -> bool:
    return not os.path.exists(name) or os.access(name, os.R_OK | os.W_OK)
