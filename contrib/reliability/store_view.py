"""Looks into the store of a dead daemon without touching it."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import tempfile
from dataclasses import dataclass

Key = tuple[int, int]

REPLY = re.compile(r"re: m(\d+)(?: p(\d+))?(?![\w])")
BODY = re.compile(rb"re: m\d+(?: p\d+)?")


@dataclass(frozen=True)
class StoreView:
    """What the store held. `sending` are (conversation, key) of parts on their way, `known` (channel, message id) of
    every message that was taken.
    """

    sound: bool
    inbox: dict[str, int]
    outbox: dict[str, int]
    sending: list[tuple[str, Key | None]]
    known: frozenset[tuple[str, str]]


NOTHING = StoreView(True, {}, {}, [], frozenset())


def key_of(text: str) -> Key | None:
    """The number of the message that a reply is to and that of the part, 0 for a reply of one part."""
    match = REPLY.match(text)
    return (int(match.group(1)), int(match.group(2) or 0)) if match else None


def look(path: str) -> StoreView:
    """Copy the files of the store and read the copy, so that its log stays as the daemon left it."""
    if not os.path.exists(path):
        return NOTHING
    with tempfile.TemporaryDirectory(prefix="loong-view-") as directory:
        copy = os.path.join(directory, "copy.sqlite3")
        shutil.copyfile(path, copy)
        if os.path.exists(f"{path}-wal"):
            shutil.copyfile(f"{path}-wal", f"{copy}-wal")
        connection = sqlite3.connect(copy)
        try:
            return _read(connection)
        finally:
            connection.close()


def unsettled(path: str, channel: str = "%") -> list[str]:
    """What waits and what is on its way in the store of a running daemon, in words."""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)
    try:
        found = connection.execute(
            "SELECT 'message', lane, state, '' FROM inbox WHERE state IN ('new', 'claimed') AND channel LIKE ?1"
            " UNION ALL SELECT 'part', lane, state, last_error FROM outbox"
            " WHERE state IN ('queued', 'sending', 'unknown') AND channel LIKE ?1",
            (channel,),
        )
        return [" ".join(str(word or "-") for word in row) for row in found]
    finally:
        connection.close()


def _read(connection: sqlite3.Connection) -> StoreView:
    tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not {"inbox", "outbox"} <= tables:
        return NOTHING
    sound = connection.execute("PRAGMA quick_check").fetchone()[0] == "ok"
    inbox = dict(connection.execute("SELECT state, count(*) FROM inbox GROUP BY state"))
    outbox = dict(connection.execute("SELECT state, count(*) FROM outbox GROUP BY state"))
    sending = []
    for lane, payload in connection.execute("SELECT lane, payload FROM outbox WHERE state = 'sending'"):
        raw = payload if isinstance(payload, bytes) else str(payload).encode()
        match = BODY.search(raw)
        sending.append((str(lane), key_of(match.group(0).decode()) if match else None))
    known = frozenset(connection.execute("SELECT channel, message_id FROM inbox"))
    return StoreView(sound, inbox, outbox, sending, known)
