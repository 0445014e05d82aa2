"""Where log entries go: a rotating file, a stream, each behind a bounded queue with a thread of its own.

Whoever logs only appends to the queue. A disk that hangs or a terminal that is paused holds up its own sink and
nothing else; what does not fit is dropped and counted.
"""

from __future__ import annotations

import contextlib
import os
import stat
import threading
from collections import deque
from dataclasses import dataclass
from typing import Callable, Protocol, TextIO

from loong_channels.waiting import Deadline
from loong_gateway.base.atomic import write_all
from loong_gateway.base.threads import ThreadRegistry

__all__ = ["Entry", "RotatingFile", "Sink", "StreamWriter", "Writer"]

QUEUE_BYTES = 4 * 1024 * 1024
ENTRY_OVERHEAD_BYTES = 256


@dataclass(frozen=True)
class Entry:
    """One thing that was logged, arguments filled in, secrets out. `trace` is a formatted traceback or ""."""

    at_s: float
    level: int
    logger: str
    message: str
    thread: str = ""
    trace: str = ""


class Writer(Protocol):
    """Puts finished lines somewhere; used by one thread."""

    def write(self, data: bytes) -> None:
        """Write all of it. May block; raises OSError when it could not."""

    def close(self) -> None:
        """Let go of what is open. Never raises."""


class Sink:
    """A queue and the thread that empties it. Thread-safe; `_changed` guards the queue and the counters."""

    def __init__(
        self, name: str, writer: Writer, render: Callable[[Entry], str], threads: ThreadRegistry
    ) -> None:
        self._writer = writer
        self._render = render
        # Reentrant, because the collector may run a finaliser that logs while this thread is inside.
        self._changed = threading.Condition(threading.RLock())
        self._entries: deque[Entry] = deque()
        self._queued_bytes = 0
        self._writing = False
        self._poked = False
        self._closed = False
        self._unreported = 0
        self.dropped = 0
        self._idle: Callable[[], float | None] = lambda: None
        self._thread = threads.spawn(f"log:{name}", self._run)

    def on_idle(self, callback: Callable[[], float | None]) -> None:
        """Call `callback` in the sink's thread when the queue is empty; it returns the seconds until the next call."""
        with self._changed:
            self._idle = callback
            self._poked = True
            self._changed.notify_all()

    def put(self, entry: Entry) -> None:
        """Take an entry, or drop it when the queue is full. Does not block."""
        size = _size(entry)
        with self._changed:
            if self._closed or self._queued_bytes + size > QUEUE_BYTES:
                self._count_dropped(1)
                return
            self._entries.append(entry)
            self._queued_bytes += size
            self._changed.notify_all()

    def poke(self) -> None:
        """Have the idle callback run soon."""
        with self._changed:
            self._poked = True
            self._changed.notify_all()

    def flush(self, deadline: Deadline) -> bool:
        """Wait until everything taken so far is written or dropped; False when the deadline came first."""
        with self._changed:
            return self._changed.wait_for(
                lambda: not self._entries and not self._writing, deadline.remaining()
            )

    def close(self, deadline: Deadline) -> None:
        """Write what is queued, then end. Blocks until the deadline at most."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(deadline.remaining())

    def _run(self) -> None:
        while not (self._closed and not self._entries):
            # Not under the lock: the callback takes another one and puts entries into this queue.
            wait_s = self._idle()
            batch = self._next_batch(wait_s)
            if batch:
                self._write(batch)
        with self._changed:
            self._writing = False
            self._changed.notify_all()
        self._writer.close()

    def _next_batch(self, wait_s: float | None) -> list[Entry]:
        """Everything queued, after at most `wait_s`; may be empty."""
        with self._changed:
            self._writing = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._entries or self._poked or self._closed, wait_s)
            self._poked = False
            batch = list(self._entries)
            self._entries.clear()
            self._queued_bytes = 0
            self._writing = bool(batch)
            return batch

    def _write(self, batch: list[Entry]) -> None:
        with self._changed:
            unreported, self._unreported = self._unreported, 0
        try:
            lines = [self._render(entry) for entry in batch]
            if unreported:
                notice = f"{unreported} log entries were dropped before this one"
                lines.insert(0, self._render(Entry(batch[0].at_s, 30, "loong.log", notice)))
            self._writer.write("".join(lines).encode("utf-8", "backslashreplace"))
        except Exception:  # noqa: BLE001  full disk, vanished directory, closed stream: the next batch tries again
            with self._changed:
                self._unreported += unreported
                self._count_dropped(len(batch))

    def _count_dropped(self, count: int) -> None:
        self.dropped += count
        self._unreported += count


def _size(entry: Entry) -> int:
    return len(entry.message) + len(entry.trace) + ENTRY_OVERHEAD_BYTES


class StreamWriter:
    """Writes to a text stream, past its buffer where it has a descriptor: a buffer's lock can hang an exit."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        try:
            self._descriptor: int | None = stream.fileno()
        except (OSError, ValueError, AttributeError):
            self._descriptor = None

    def write(self, data: bytes) -> None:
        """Write all of it; blocks as long as the stream does."""
        if self._descriptor is None:
            self._stream.write(data.decode("utf-8"))
            self._stream.flush()
        else:
            write_all(self._descriptor, data)

    def close(self) -> None:
        """Leave the stream open: it is somebody else's."""


class RotatingFile:
    """Appends to `path`, mode 0600; at `max_bytes` it becomes `path.1` and so on, `files` files in all.

    A file that was deleted or moved away is made again, its directory too. Only regular files are rotated.
    """

    def __init__(self, path: str, *, max_bytes: int, files: int) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._files = files
        self._descriptor: int | None = None
        self._torn = False

    def write(self, data: bytes) -> None:
        """Append; raises OSError, and then a part may have been written. The next write starts a new line."""
        descriptor, size, regular = self._open()
        if regular and size and size + len(data) > self._max_bytes:
            descriptor = self._rotate(descriptor, size)
        if self._torn:
            data = b"\n" + data
        self._torn = True
        write_all(descriptor, data)
        self._torn = False

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = None

    def _open(self) -> tuple[int, int, bool]:
        """The descriptor of the file that has the name now, its size, and whether it is a regular one."""
        if self._descriptor is not None and not self._is_current(self._descriptor):
            self.close()
        if self._descriptor is None:
            os.makedirs(os.path.dirname(self._path), mode=0o700, exist_ok=True)
            # Without O_NONBLOCK a FIFO without a reader would block here for ever.
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
            self._descriptor = os.open(self._path, flags, 0o600)
            self._make_private(self._descriptor)
            self._torn = self._ends_torn()
        status = os.fstat(self._descriptor)
        return self._descriptor, status.st_size, stat.S_ISREG(status.st_mode)

    def _is_current(self, descriptor: int) -> bool:
        try:
            named, opened = os.stat(self._path), os.fstat(descriptor)
        except OSError:
            return False
        return (named.st_dev, named.st_ino) == (opened.st_dev, opened.st_ino)

    def _ends_torn(self) -> bool:
        """True when the file ends amid a line, as after a kill."""
        with contextlib.suppress(OSError), open(self._path, "rb", opener=_open_nonblocking) as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) != b"\n"
        return False

    @staticmethod
    def _make_private(descriptor: int) -> None:
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid() and status.st_mode & 0o077:
            os.fchmod(descriptor, 0o600)

    def _rotate(self, descriptor: int, size: int) -> int:
        try:
            for number in range(self._files - 1, 0, -1):
                older = f"{self._path}.{number}"
                newer = f"{self._path}.{number - 1}" if number > 1 else self._path
                with contextlib.suppress(FileNotFoundError):
                    os.replace(newer, older)
        except OSError:
            # Names cannot be changed here. Growing without end or falling silent would both be worse.
            if size > 2 * self._max_bytes:
                os.ftruncate(descriptor, 0)
            return descriptor
        if self._files == 1:
            os.ftruncate(descriptor, 0)
        return self._open()[0]


def _open_nonblocking(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)
