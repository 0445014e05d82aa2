"""The lock that lets one process at a time open the store. The owner holds it for life, commands for one transaction.

A kernel lock (flock) on a file of its own: it is free the moment its holder is gone, whatever the file says.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from typing import Protocol

from loong_channels.waiting import Deadline, StopToken
from loong_gateway.base.faults import CommandError
from loong_gateway.texts.store import CANNOT_OPEN_FIXES

__all__ = ["LockPlaces", "StoreLock"]

_RETRY_S = 0.02


class LockPlaces(Protocol):
    """Where the lock lies."""

    @property
    def store_lock(self) -> str:
        """The path of the lock file; its directory exists."""


class StoreLock:
    """A held lock. `release` gives it back; so does the end of the process."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    @classmethod
    def acquire(cls, places: LockPlaces, timeout_s: float, *, code: str = "store.locked") -> StoreLock:
        """Take the lock, waiting up to `timeout_s`. Blocks.

        Raises CommandError(code) when another process, or another holder in this one, has it all that time.
        """
        path = places.store_lock
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            raise CommandError(
                "store.disk" if full else "store.cannot_open",
                reason=error.strerror,
                path=path,
                fix=CANNOT_OPEN_FIXES["full" if full else "other"],
            ) from error
        deadline = Deadline(timeout_s)
        pause = StopToken()
        while not _try_lock(descriptor):
            # flock has no timed form; a blocking one could not be ended.
            if deadline.expired:
                os.close(descriptor)
                raise CommandError(code, path=path)
            pause.wait(deadline.bounded(_RETRY_S))
        return cls(descriptor)

    @classmethod
    @contextlib.contextmanager
    def hold(cls, places: LockPlaces, timeout_s: float, *, code: str = "store.locked") -> Iterator[StoreLock]:
        """Hold the lock for a block; waits and raises like `acquire`."""
        lock = cls.acquire(places, timeout_s, code=code)
        try:
            yield lock
        finally:
            lock.release()

    def release(self) -> None:
        """Give the lock back. Idempotent; not thread-safe."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
