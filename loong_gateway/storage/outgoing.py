"""Copies of files that wait to be sent, so that what was promised does not depend on the file it was made of.

A copy is named by a row of the outbox and goes when that row has ended; what no row names goes after an hour. The
owner is only ever told the name of a copy and never looks outside of this directory.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Mapping
from typing import Callable

from loong_gateway.base.atomic import remove, sync_directory, write_all
from loong_gateway.base.faults import CommandError

__all__ = ["MAX_TOTAL_BYTES", "Outgoing", "check_source", "discard"]

# All copies of a home together; more are refused.
MAX_TOTAL_BYTES = 512 << 20
# A copy without a row: whoever made it has either had it taken by now or is gone.
_STRAY_MS = 3_600_000
# A copy whose row is held for a person.
_HELD_MS = 7 * 86_400_000
_DIRECTORY = "outgoing"
_NAME = re.compile(r"[0-9a-f]{32}")
_PIECE_BYTES = 1 << 20


class Outgoing:
    """The directory `path` of a home, whose last part is "outgoing". Thread-safe; several processes may use it."""

    def __init__(self, path: str) -> None:
        self._path = path

    def keep(self, source: str, *, limit_bytes: int) -> str:
        """Copy a file of 1 to `limit_bytes` bytes, on the disk when this returns; returns the name of the copy. Blocks.

        Raises CommandError `channels.file…`: also for a symbolic link, since whoever could change where it leads would
        choose what is sent.
        """
        descriptor = _open_source(source, limit_bytes)
        try:
            return self._copy(descriptor, source, limit_bytes)
        except OSError as error:
            detail = (error.strerror or str(error)).lower()
            raise CommandError("channels.file", path=self._path, detail=detail) from error
        finally:
            os.close(descriptor)

    def path_of(self, name: str, *, limit_bytes: int) -> str:
        """The path of a copy. Raises CommandError `channels.no_copy` for everything that is none."""
        path = os.path.join(self._path, name)
        try:
            found = os.lstat(path) if _NAME.fullmatch(name) else None
        except OSError:
            found = None
        if found is None or not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
            raise CommandError("channels.no_copy")
        _check_size(name, found.st_size, limit_bytes)
        return path

    def discard(self, name: str) -> None:
        """Remove a copy that nobody will send."""
        discard(os.path.join(self._path, name))

    def sweep(self, needed: Callable[[], Mapping[str, str]], now_ms: int) -> int:
        """Remove the copies that no row needs any more; returns how many. Blocks for the disk, never raises OSError.

        `needed` tells the paths that rows of the outbox name, with the state of the row; asked only if there are any
        copies.
        """
        try:
            names = [name for name in os.listdir(self._path) if _NAME.fullmatch(name)]
        except OSError:
            # There is none yet, or it cannot be read; the next round looks again.
            return 0
        states = {os.path.basename(path): state for path, state in needed().items()} if names else {}
        removed = 0
        for name in names:
            path = os.path.join(self._path, name)
            limit_ms = _HELD_MS if states.get(name) == "unknown" else _STRAY_MS
            if states.get(name, "unknown") == "unknown" and _age_ms(path, now_ms) > limit_ms:
                remove(path)
                removed += 1
        return removed

    def _copy(self, descriptor: int, source: str, limit_bytes: int) -> str:
        self._make()
        if self._total() + os.fstat(descriptor).st_size > MAX_TOTAL_BYTES:
            raise CommandError("channels.files_waiting", path=self._path, limit=MAX_TOTAL_BYTES >> 20)
        name = os.urandom(16).hex()
        path = os.path.join(self._path, name)
        try:
            # It may have grown since it was looked at.
            _check_size(source, _pour(descriptor, path, limit_bytes), limit_bytes)
            sync_directory(self._path)
        except BaseException:
            remove(path)
            raise
        return name

    def _make(self) -> None:
        os.makedirs(self._path, mode=0o700, exist_ok=True)
        found = os.lstat(self._path)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            raise CommandError("channels.file", path=self._path, detail="it is not a directory of our own")
        if found.st_mode & 0o077:
            os.chmod(self._path, 0o700)

    def _total(self) -> int:
        with os.scandir(self._path) as entries:
            return sum(map(_size_of, entries))


def discard(path: str) -> None:
    """Remove a file if it is a copy, by where it lies and what it is called; nothing else is ever removed."""
    if os.path.basename(os.path.dirname(path)) == _DIRECTORY and _NAME.fullmatch(os.path.basename(path)):
        remove(path)


def check_source(path: str, limit_bytes: int) -> None:
    """Raise CommandError `channels.file…` for a file that cannot be copied, as `Outgoing.keep` would."""
    os.close(_open_source(path, limit_bytes))


def _open_source(path: str, limit_bytes: int) -> int:
    """A descriptor for a regular file of 1 to `limit_bytes` bytes; never waits for a pipe or follows a link."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        linked = isinstance(error, OSError) and error.errno in (errno.ELOOP, errno.EMLINK)
        said = error.strerror if isinstance(error, OSError) else None
        detail = "it is a symbolic link" if linked else (said or str(error)).lower()
        raise CommandError("channels.file", path=path, detail=detail) from error
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise CommandError("channels.file", path=path, detail="it is not a regular file")  # noqa: TRY301
        _check_size(path, found.st_size, limit_bytes)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _pour(descriptor: int, path: str, limit_bytes: int) -> int:
    """Copy what is open to a new private file, up to a piece beyond the limit; returns how many bytes there are."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    target = os.open(path, flags, 0o600)
    try:
        size = 0
        while size <= limit_bytes:
            piece = os.read(descriptor, _PIECE_BYTES)
            if not piece:
                break
            write_all(target, piece)
            size += len(piece)
        os.fsync(target)
        return size
    finally:
        os.close(target)


def _size_of(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat(follow_symlinks=False).st_size
    except FileNotFoundError:
        # It was sent, and removed, a moment ago.
        return 0


def _age_ms(path: str, now_ms: int) -> float:
    try:
        return now_ms - os.lstat(path).st_mtime * 1000
    except OSError:
        # Somebody else has removed it.
        return 0.0


def _check_size(path: str, size_bytes: int, limit_bytes: int) -> None:
    if not 0 < size_bytes <= limit_bytes:
        detail = f"it has more than {limit_bytes >> 20} MB" if size_bytes else "it is empty"
        raise CommandError("channels.file_size", path=path, detail=detail, limit=limit_bytes >> 20)
