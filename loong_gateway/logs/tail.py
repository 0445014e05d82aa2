"""Reads whole lines from the end of a log file, or from where a reader was; a position is a number of bytes."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass

__all__ = ["Tail", "tail"]


@dataclass(frozen=True)
class Tail:
    """`cursor` is behind the last line that was looked at, `size` that of the file.

    `is_cut`: lines before the first one were left out. `is_reset`: the reader's position was given up, for the file is
    another one or too much had come; then `skipped_bytes` were jumped over.
    """

    lines: tuple[str, ...]
    cursor: int
    size: int
    is_cut: bool = False
    is_reset: bool = False
    skipped_bytes: int = 0


def tail(path: str, cursor: int | None, *, limit: int, max_bytes: int) -> Tail:
    """The newest `limit` lines from `cursor` on, looking at no more than the last `max_bytes` of the file.

    A line that is not finished waits for the next call. A missing file is an empty one. Blocks; raises OSError.
    """
    try:
        # Without O_NONBLOCK opening a pipe that nobody writes to would block for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return Tail((), 0, 0, is_reset=bool(cursor))
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(f"{path} is not a regular file")
        return _tail(descriptor, status.st_size, cursor, limit=limit, max_bytes=max_bytes)
    finally:
        os.close(descriptor)


def _tail(descriptor: int, size: int, cursor: int | None, *, limit: int, max_bytes: int) -> Tail:
    earliest = max(0, size - max_bytes)
    # What is behind the end of the file was a position in one that has been moved away.
    is_reset = cursor is not None and (cursor > size or cursor < earliest)
    start = earliest if cursor is None or is_reset else cursor
    skipped = start - cursor if cursor is not None and cursor < earliest else 0
    from_start = cursor is None or cursor > size
    data, first = _read(descriptor, start, size), 0
    if start and os.pread(descriptor, 1, start - 1) != b"\n":
        # In the middle of a line.
        first = data.find(b"\n") + 1 or len(data)
    end = data.rfind(b"\n") + 1
    lines = data[first:end].split(b"\n")[:-1] if end > first else []
    kept = lines[-limit:]
    return Tail(
        tuple(line.decode("utf-8", "replace") for line in kept),
        start + (end or (len(data) if first else 0)),
        size,
        is_cut=len(kept) < len(lines) or skipped > 0 or (from_start and start > 0),
        is_reset=is_reset,
        skipped_bytes=skipped,
    )


def _read(descriptor: int, start: int, end: int) -> bytes:
    data = b""
    while start + len(data) < end:
        piece = os.pread(descriptor, end - start - len(data), start + len(data))
        if not piece:
            break
        data += piece
    return data
