"""What the tests of the store share: messages, open stores, a way to wait."""

from __future__ import annotations

import contextlib
import os
import pathlib
import sqlite3
import subprocess
import sys
from collections.abc import Iterator

from loong_channels.contract import Address, Inbound, Outbound
from loong_channels.waiting import Deadline
from loong_gateway.base.threads import ThreadRegistry
from loong_gateway.storage import inbox, migrations
from loong_gateway.storage.file import connect
from loong_gateway.storage.outbox import Part
from loong_gateway.storage.store import Store

NOW_MS = 1_800_000_000_000
ROOT = pathlib.Path(__file__).resolve().parents[3]


def message(event: str, *, conversation: str = "7", text: str = "hello", **rest: object) -> Inbound:
    return Inbound(
        address=Address("telegram", "work", conversation),
        event_id=event,
        message_id=rest.pop("message_id", event),
        sender_id="42",
        text=text,
        received_ms=NOW_MS,
        **rest,
    )


def part(group: str, number: int = 0, *, text: str = "answer", conversation: str = "7") -> Part:
    key = f"{group}:{number}"
    address = Address("telegram", "work", conversation)
    return Part(key, group, number, None, Outbound(address, text, key), NOW_MS + 3_600_000)


def memory() -> sqlite3.Connection:
    conn = connect(":memory:")
    migrations.apply(conn)
    return conn


@contextlib.contextmanager
def opened(path: object, **options: object) -> Iterator[Store]:
    threads = ThreadRegistry()
    store = Store.open(str(path), threads=threads, **options)
    try:
        yield store
    finally:
        store.close(Deadline(10))
        assert threads.join_all(Deadline(10)) == []


def keep(store: Store, event: str, **options: object) -> None:
    store.write(lambda conn: inbox.add(conn, [message(event)], NOW_MS), **options)


def events(conn: sqlite3.Connection) -> list[str]:
    return [row[0] for row in conn.execute("SELECT event_id FROM inbox ORDER BY seq").fetchall()]


def run_python(program: str, *arguments: str, **options: object) -> subprocess.Popen:
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "-c", program, *arguments], env=environ, **options)
