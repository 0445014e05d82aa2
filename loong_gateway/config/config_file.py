"""Writes the configuration file: one writer at a time, the whole file or nothing, older versions kept beside it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator

from loong_channels.waiting import Deadline, StopToken
from loong_gateway.base.atomic import remove, stage_private, sync_directory

__all__ = ["BACKUPS", "locked", "read_bytes", "replace_file"]

BACKUPS = 5
LOCK_S = 5.0
POLL_S = 0.02


@contextlib.contextmanager
def locked(path: str) -> Iterator[None]:
    """Keep every other writer of the file at `path` out, in this process and in others.

    Blocks up to 5 s. Raises OSError, EAGAIN when somebody else keeps it longer.
    """
    name = f"{os.path.realpath(path)}.lock"
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(name, flags, 0o600)
    try:
        deadline, never = Deadline(LOCK_S), StopToken()
        while not _taken(descriptor):
            if deadline.expired:
                raise OSError(errno.EAGAIN, "another writer holds it", name)
            never.wait(POLL_S)
        yield
    finally:
        # Closing lets go of the lock. The file stays: removing it would let two writers lock two files of one name.
        os.close(descriptor)


def read_bytes(path: str, limit_bytes: int) -> bytes | None:
    """The content of the file, its first `limit_bytes` + 1 bytes at most; None when there is none. Raises OSError."""
    try:
        # Without O_NONBLOCK opening a pipe that nobody writes to would block for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        return file.read(limit_bytes + 1)


def replace_file(path: str, data: bytes, before: bytes | None) -> None:
    """Put `data` in the place of the file, mode 0600, and what was there `before` into `<path>.bak-1`.

    A symbolic link stays, what it leads to is replaced. Older backups move up to `.bak-5`. Both files are on the disk
    before anything has a new name, so a full disk changes nothing. Raises OSError.
    """
    target = os.path.realpath(path)
    staged: list[str] = []
    try:
        staged.append(stage_private(target, data))
        if before is not None:
            staged.append(stage_private(_backup(path, 1), before))
            for number in range(BACKUPS, 1, -1):
                with contextlib.suppress(FileNotFoundError):
                    os.replace(_backup(path, number - 1), _backup(path, number))
            os.replace(staged[1], _backup(path, 1))
        os.replace(staged[0], target)
    finally:
        for left in staged:
            remove(left)
    for directory in {os.path.dirname(target), os.path.dirname(path)}:
        sync_directory(directory)


def _backup(path: str, number: int) -> str:
    return f"{path}.bak-{number}"


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
