"""The file of the journal: appended to under a lock, by the gateway and by commands, never changed.

When it has grown to SEGMENT_BYTES it is put aside as NAME-N.jsonl, and the chain goes on in a new file; of those put
aside the newest SEGMENTS are kept. Everything is opened below the directory without following links.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import stat
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from loong_channels.waiting import StopToken
from loong_gateway.audit.chain import SEAL, check, line_of, parsed, sealed, torn_hash
from loong_gateway.base.atomic import sync_directory, write_all, write_private

__all__ = ["Journal", "Record"]

SEGMENT_BYTES = 8 << 20
SEGMENTS = 7
# No entry of ours is longer; what is, is read in pieces and is none.
LONGEST_LINE = 1 << 16
LOCK_S = 5.0
_TRY_S = 0.01
_OPEN = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK

# (kind, facts, agent, seconds since 1970)
Record = tuple[str, Mapping[str, object], "str | None", int]


class Journal:
    """Not thread-safe; several processes may have one on the same path. Methods block and raise OSError."""

    def __init__(self, path: str, *, segment_bytes: int = SEGMENT_BYTES) -> None:
        self.path = path
        self._directory, self._name = os.path.split(path)
        self._segment_bytes = segment_bytes
        self._last: str | None = None

    def append(self, records: Sequence[Record], *, lost: int = 0) -> None:
        """Add entries, on disk when this returns. `lost` says how many could not be kept before them.

        Waits up to LOCK_S for another writer; then raises OSError ETIMEDOUT.
        """
        known = self._last
        try:
            with self._locked(create=True) as directory:
                data = self._sealing(directory, lost)
                for kind, facts, agent, at_s in records:
                    data += self._line(kind, facts, agent, at_s)
                size = self._write(directory, data)
                if size == len(data):
                    sync_directory(self._directory)
                if size >= self._segment_bytes:
                    # What was written is kept; the next writer tries again.
                    with contextlib.suppress(OSError):
                        self._rotate()
        except BaseException:
            self._last = known
            raise

    def lines(self, newest: int | None = None) -> Iterator[tuple[str, int, bytes]]:
        """(path, number from 1, line) from the oldest file on, with `newest` of the last files that hold so many.

        Raises FileNotFoundError when there is no journal.
        """
        paths = [*(path for _, path in self._segments()), self.path]
        if newest is not None:
            paths = self._last_files(paths, newest)
        if not os.path.lexists(self.path) and len(paths) == 1:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.path)
        for path in paths:
            yield from _lines_of(path)

    def newest(self, limit: int) -> list[dict[str, Any]]:
        """The last entries, oldest first; lines that are none are passed over. As `lines`."""
        found: list[dict[str, Any]] = []
        for _, _, line in self.lines(limit):
            entry = parsed(line)
            if entry is not None:
                found.append(entry)
                if len(found) > limit * 2:
                    del found[:-limit]
        return found[-limit:]

    def repair(self) -> dict[str, object]:
        """Seal entries at the beginning that have no envelope, as an older program left them.

        {total_events, repaired_events, already_valid_events, outcome}, the outcome "healthy", "repaired" or
        "refused": a chain that does not hold is never written anew.
        """
        with self._locked(create=False):
            rows = list(self.lines())
            finding = check(rows)
            if finding.first_break is None:
                return _outcome(finding.total, 0, finding.valid, "healthy")
            entries = [parsed(line) for _, _, line in rows]
            bare = next(
                (n for n, one in enumerate(entries) if one is None or "integrity" in one), len(entries)
            )
            rest = check(rows[bare:])
            if not bare or rest.first_break or rest.starts_after or rest.sealed_lines or self._segments():
                return _outcome(finding.total, 0, rest.valid, "refused")
            data, last = b"", None
            for entry in entries:
                if entry is not None:
                    whole = sealed(entry, last)
                    last = whole["integrity"]["entry_hash"]
                    data += line_of(whole)
            write_private(self.path, data)
            return _outcome(finding.total, bare, rest.valid, "repaired")

    def _write(self, directory: int, data: bytes) -> int:
        """All of it or nothing, unless this process dies meanwhile; returns the size of the file then."""
        descriptor = self._open(directory, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            size = os.fstat(descriptor).st_size
            try:
                write_all(descriptor, data)
                os.fsync(descriptor)
            except OSError:
                # Who recorded it will try again: it must not stand there twice.
                os.ftruncate(descriptor, size)
                raise
        finally:
            os.close(descriptor)
        return size + len(data)

    def _line(self, kind: str, facts: Mapping[str, object], agent: str | None, at_s: int) -> bytes:
        entry = {
            "event_id": str(uuid.uuid4()),
            "timestamp_epoch_s": at_s,
            "agent_id": agent,
            "kind": {kind: dict(facts)},
        }
        whole = sealed(entry, self._last)
        self._last = whole["integrity"]["entry_hash"]
        return line_of(whole)

    def _sealing(self, directory: int, lost: int) -> bytes:
        """Find out what the next entry follows; an entry about what went wrong before it, b"" when nothing did."""
        facts: dict[str, object] = {"lost": lost} if lost else {}
        before = b""
        try:
            descriptor = self._open(directory, os.O_RDONLY)
        except FileNotFoundError:
            if self._last is not None and not self._segments():
                facts["removed"] = True
            elif self._segments():
                self._last = _tail(_read(self._segments()[-1][1]))[0] or self._last
        else:
            try:
                data = _end_of(descriptor)
            finally:
                os.close(descriptor)
            last, torn = _tail(data)
            is_empty = not data
            if is_empty and self._segments():
                last = _tail(_read(self._segments()[-1][1]))[0]
            if is_empty and self._last is not None and last is None:
                facts["removed"] = True
            else:
                self._last = last
            if torn:
                facts.update(torn_bytes=len(torn.strip(b"\n")), torn_sha256=torn_hash(torn))
                before = b"" if torn.endswith(b"\n") else b"\n"
        return before + self._line(SEAL, facts, None, int(time.time())) if facts else b""

    def _rotate(self) -> None:
        segments = self._segments()
        number = segments[-1][0] + 1 if segments else 1
        stem, ending = os.path.splitext(self.path)
        os.rename(self.path, f"{stem}-{number:06d}{ending}")
        for _, path in segments[: max(0, len(segments) + 1 - SEGMENTS)]:
            os.unlink(path)
        sync_directory(self._directory)

    def _segments(self) -> list[tuple[int, str]]:
        """What was put aside, oldest first."""
        stem, ending = os.path.splitext(self._name)
        pattern = re.compile(f"{re.escape(stem)}-([0-9]{{6,9}}){re.escape(ending)}")
        try:
            names = os.listdir(self._directory)
        except FileNotFoundError:
            return []
        found = [
            (int(m.group(1)), os.path.join(self._directory, n)) for n in names if (m := pattern.fullmatch(n))
        ]
        return sorted(found)

    def _last_files(self, paths: list[str], newest: int) -> list[str]:
        """The last of the files that hold `newest` lines together."""
        count = 0
        for index in range(len(paths) - 1, -1, -1):
            with contextlib.suppress(FileNotFoundError):
                count += sum(1 for _ in _lines_of(paths[index]))
            if count >= newest:
                return paths[index:]
        return paths

    def _open(self, directory: int, flags: int) -> int:
        descriptor = os.open(self._name, flags | _OPEN, 0o600, dir_fd=directory)
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            os.close(descriptor)
            raise OSError(errno.EINVAL, "not a regular file", self.path)
        if found.st_mode & 0o077 and found.st_uid == os.geteuid():
            os.fchmod(descriptor, 0o600)
        return descriptor

    @contextlib.contextmanager
    def _locked(self, *, create: bool) -> Iterator[int]:
        """The directory's descriptor, while this writer alone has the journal. A lock of its own outlives renames."""
        if create:
            os.makedirs(self._directory, mode=0o700, exist_ok=True)
        directory = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        lock = -1
        try:
            lock = os.open(f"{self._name}.lock", os.O_RDWR | os.O_CREAT | _OPEN, 0o600, dir_fd=directory)
            _take(lock, self.path)
            yield directory
        finally:
            if lock >= 0:
                os.close(lock)
            os.close(directory)


def _take(lock: int, path: str) -> None:
    end = time.monotonic() + LOCK_S
    pause = StopToken()
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                raise TimeoutError(errno.ETIMEDOUT, "another writer keeps it locked", path) from None
            pause.wait(_TRY_S)
        else:
            return


def _lines_of(path: str) -> Iterator[tuple[str, int, bytes]]:
    descriptor = os.open(path, os.O_RDONLY | _OPEN)
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", path)
        number = 0
        while line := file.readline(LONGEST_LINE):
            number += 1
            yield path, number, line


def _read(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | _OPEN)
    try:
        return _end_of(descriptor)
    finally:
        os.close(descriptor)


def _end_of(descriptor: int) -> bytes:
    """The last bytes of a file, as many as surely hold its last entry; all of it where that does not do."""
    size = os.fstat(descriptor).st_size
    for window in (LONGEST_LINE * 2, size):
        start = max(0, size - window)
        data = os.pread(descriptor, size - start, start)
        if start:
            data = data[data.find(b"\n") + 1 :]
        if not start or _tail(data)[0] is not None:
            return data
    return data


def _tail(data: bytes) -> tuple[str | None, bytes]:
    """The hash of the last entry, None without one, and what stands behind it and is none."""
    end = len(data)
    while end > 0:
        start = data.rfind(b"\n", 0, end - 1) + 1
        line = data[start:end]
        entry = parsed(line) if line.endswith(b"\n") else None
        if entry is not None:
            envelope = entry.get("integrity")
            last = envelope.get("entry_hash") if isinstance(envelope, dict) else None
            return last if isinstance(last, str) else None, data[end:]
        end = start
    return None, data


def _outcome(total: int, repaired: int, valid: int, outcome: str) -> dict[str, object]:
    return {
        "total_events": total,
        "repaired_events": repaired,
        "already_valid_events": valid,
        "outcome": outcome,
    }
