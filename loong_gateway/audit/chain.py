"""The lines of the journal and what ties them together. Pure functions of bytes.

A line is one entry, a JSON object. Its `entry_hash` is the SHA-256, in hexadecimal, of the canonical form of
{agent_id, event_id, kind, prev_hash, timestamp_epoch_s}: members sorted by name at every depth, no white space,
characters as they are, in UTF-8. `prev_hash` is the `entry_hash` of the entry before, null at the very beginning.
What a dead writer left of a line stays, and the entry after it names its hash: SEAL.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from loong_gateway.base.strict_json import read_json

__all__ = ["SEAL", "Break", "Finding", "check", "entry_hash", "line_of", "parsed", "sealed", "torn_hash"]

ALGORITHM = "sha256"
# The kind of the entry that a writer puts first after something was lost.
SEAL = "JournalRecovered"
HASHED = ("event_id", "timestamp_epoch_s", "agent_id", "kind")

Entry = Mapping[str, Any]


@dataclass(frozen=True)
class Break:
    """Where the chain does not hold. `line` counts from 1 within the file."""

    file: str
    line: int
    event_id: str | None
    reason: str


@dataclass(frozen=True)
class Finding:
    """What a look through the journal found. `starts_after`: the hash that the first entry follows, None at the root.

    `sealed_lines` were torn and named by the entry after them; `unfinished_bytes` at the end were not yet.
    """

    total: int = 0
    valid: int = 0
    unsealed: int = 0
    sealed_lines: int = 0
    unfinished_bytes: int = 0
    starts_after: str | None = None
    first_break: Break | None = None


def entry_hash(entry: Entry, prev_hash: str | None) -> str:
    """The hash that an entry has after `prev_hash`."""
    members = {**{name: entry.get(name) for name in HASHED}, "prev_hash": prev_hash}
    canonical = json.dumps(members, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()


def sealed(entry: Entry, prev_hash: str | None) -> dict[str, Any]:
    """The entry with its envelope."""
    envelope = {
        "algorithm": ALGORITHM,
        "prev_hash": prev_hash,
        "entry_hash": entry_hash(entry, prev_hash),
    }
    return {**{name: entry.get(name) for name in HASHED}, "integrity": envelope}


def line_of(entry: Entry) -> bytes:
    """An entry as it stands in the file."""
    return json.dumps(entry, separators=(",", ":"), ensure_ascii=False).encode("utf-8") + b"\n"


def parsed(line: bytes) -> dict[str, Any] | None:
    """The entry of a line, None for what is none, or could be read in two ways."""
    try:
        entry = read_json(line)
    except ValueError:
        return None
    if isinstance(entry, dict) and isinstance(entry.get("event_id"), str) and "kind" in entry:
        return entry
    return None


def torn_hash(torn: bytes) -> str:
    """The hash of what is no entry, for the one after it."""
    return hashlib.sha256(torn.strip(b"\n")).hexdigest()


def check(lines: Iterable[tuple[str, int, bytes]]) -> Finding:
    """Follow the chain through (file, number, line). It ends at the first break; the counts go on."""
    walk = _Walk()
    for file, number, line in lines:
        walk.step(file, number, line)
    return walk.finding()


class _Walk:
    def __init__(self) -> None:
        self._counts = {"total": 0, "valid": 0, "unsealed": 0, "sealed_lines": 0}
        self._last: str | None = None
        self._starts_after: str | None = None
        self._torn = _Torn()
        self._torn_at = ("", 0)
        self._break: Break | None = None

    def step(self, file: str, number: int, line: bytes) -> None:
        entry = parsed(line)
        if entry is None:
            self._torn_at = self._torn_at if self._torn.bytes else (file, number)
            self._torn.add(line)
            return
        self._counts["total"] += 1
        envelope = entry.get("integrity")
        if not isinstance(envelope, dict):
            self._counts["unsealed"] += 1
            self._broken(file, number, entry, "it has no integrity envelope")
            return
        if self._torn.bytes:
            self._seal(entry)
        if self._counts["total"] == 1:
            self._last = self._starts_after = envelope.get("prev_hash")
        if envelope.get("prev_hash") != self._last:
            self._broken(file, number, entry, "it does not follow the entry before it")
        elif not _is_whole(entry, envelope) or envelope["entry_hash"] != _hash_of(entry, self._last):
            self._broken(file, number, entry, "its content is not what its hash says")
        elif self._break is None:
            self._counts["valid"] += 1
        self._last = envelope.get("entry_hash")

    def _seal(self, entry: Entry) -> None:
        facts = entry["kind"].get(SEAL) if isinstance(entry["kind"], dict) else None
        if isinstance(facts, dict) and facts.get("torn_sha256") == self._torn.hash():
            self._counts["sealed_lines"] += 1
        else:
            self._broken(*self._torn_at, None, "it is no entry, and the one after it does not name it")
        self._torn = _Torn()

    def _broken(self, file: str, number: int, entry: Entry | None, reason: str) -> None:
        if self._break is None:
            event_id = None if entry is None else str(entry["event_id"])
            self._break = Break(file, number, event_id, reason)

    def finding(self) -> Finding:
        if self._torn.ended and self._torn.said:
            # A writer dies before it has ended a line, not after.
            self._broken(*self._torn_at, None, "it is no entry")
        return Finding(
            **self._counts,
            unfinished_bytes=self._torn.bytes,
            starts_after=self._starts_after,
            first_break=self._break,
        )


class _Torn:
    """What `torn_hash` says of lines that come one after the other, however many: none is kept."""

    def __init__(self) -> None:
        self.bytes = 0
        self.said = self.ended = False
        self._hash = hashlib.sha256()
        self._newlines = 0

    def add(self, line: bytes) -> None:
        """Take the next line, or a piece of one."""
        self.bytes += len(line)
        self.ended = line.endswith(b"\n")
        text = line.rstrip(b"\n")
        if text:
            # New lines count between others, not around them.
            self._hash.update(b"\n" * self._newlines if self.said else b"")
            self._hash.update(text)
            self.said, self._newlines = True, 0
        self._newlines += len(line) - len(text)

    def hash(self) -> str:
        """Of all that came."""
        return self._hash.hexdigest()


def _is_whole(entry: Entry, envelope: Entry) -> bool:
    """Whether an entry holds what its hash tells of, and nothing besides that could be read as if it were recorded."""
    return (
        entry.keys() == {*HASHED, "integrity"}
        and envelope.keys() == {"algorithm", "prev_hash", "entry_hash"}
        and envelope["algorithm"] == ALGORITHM
    )


def _hash_of(entry: Entry, prev_hash: str | None) -> str | None:
    try:
        return entry_hash(entry, prev_hash)
    except (TypeError, ValueError, RecursionError):
        # Not what a writer of ours makes, so nothing that could be right.
        return None
