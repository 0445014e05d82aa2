from __future__ import annotations

import sqlite3
from dataclasses import dataclass

import pytest

from loong_gateway.storage import inbox, outbox, retention
from tests.gateway.storage.store_help import NOW_MS, memory, message, part

DAY_MS = 24 * 3600 * 1000


@dataclass
class Keep:
    retention_days: int = 7
    retention_rows: int = 100_000


@pytest.fixture
def conn() -> sqlite3.Connection:
    connection = memory()
    yield connection
    connection.close()


def store(conn: sqlite3.Connection, names: list[str], *, age_days: float, state: str = "done") -> None:
    at_ms = NOW_MS - int(age_days * DAY_MS)
    inbox.add(conn, [message(name, text="x" * 50) for name in names], at_ms, state=state)


def sent(conn: sqlite3.Connection, group: str, *, age_days: float) -> None:
    outbox.add(conn, [part(group)], now_ms=NOW_MS - int(age_days * DAY_MS), first_sending=False)
    outbox.mark_sent(conn, f"{group}:0")


def prune_all(conn: sqlite3.Connection, keep: Keep) -> list[int]:
    steps = []
    while True:
        steps.append(retention.prune(conn, NOW_MS, keep))
        if steps[-1] == 0:
            return steps


def left(conn: sqlite3.Connection, table: str = "inbox", key: str = "event_id") -> set[str]:
    return {row[0] for row in conn.execute(f"SELECT {key} FROM {table}").fetchall()}


def test_settled_rows_go_after_their_days_and_younger_ones_stay(conn: sqlite3.Connection) -> None:
    for state in ("done", "failed", "rejected", "skipped_old"):
        store(conn, [f"old-{state}"], age_days=7.1, state=state)
        store(conn, [f"young-{state}"], age_days=6.9, state=state)
    sent(conn, "old", age_days=8)
    sent(conn, "young", age_days=1)
    prune_all(conn, Keep())
    assert left(conn) == {"young-done", "young-failed", "young-rejected", "young-skipped_old"}
    assert left(conn, "outbox", "grp") == {"young"}


def test_what_waits_is_never_touched_however_old(conn: sqlite3.Connection) -> None:
    for state in ("new", "claimed"):
        store(conn, [state], age_days=400, state=state)
    for group in ("queued", "sending", "unknown"):
        outbox.add(conn, [part(group)], now_ms=0, first_sending=group != "queued")
    outbox.hold(conn, "unknown:0", "?")
    assert prune_all(conn, Keep(retention_rows=0)) == [0]
    assert left(conn) == {"new", "claimed"}
    assert left(conn, "outbox", "grp") == {"queued", "sending", "unknown"}
    assert inbox.load(conn, inbox.pending_lanes(conn)[0][0]).inbound.event_id == "new"


def test_one_call_forgets_at_most_one_batch(conn: sqlite3.Connection) -> None:
    store(conn, [f"m{n}" for n in range(retention.BATCH_ROWS * 2 + 1)], age_days=30)
    assert prune_all(conn, Keep()) == [retention.BATCH_ROWS, retention.BATCH_ROWS, 1, 0]


def test_too_many_rows_older_than_a_day_go_oldest_first(conn: sqlite3.Connection) -> None:
    for day in range(1, 7):
        store(conn, [f"d{day}"], age_days=day + 0.5)
    prune_all(conn, Keep(retention_rows=2))
    assert left(conn) == {"d1", "d2"}


def test_rows_of_the_last_day_only_lose_their_payload_and_still_stop_duplicates(
    conn: sqlite3.Connection,
) -> None:
    for hour in range(5):
        store(conn, [f"h{hour}"], age_days=hour / 24)
    prune_all(conn, Keep(retention_rows=2))
    kept = {row[0] for row in conn.execute("SELECT event_id FROM inbox WHERE length(payload) > 0").fetchall()}
    assert kept == {"h0", "h1"}
    assert left(conn) == {f"h{hour}" for hour in range(5)}
    assert inbox.add(conn, [message("h4")], NOW_MS) == []


def test_an_emptied_row_is_not_mistaken_for_a_damaged_one(conn: sqlite3.Connection) -> None:
    store(conn, ["a", "b"], age_days=0.1)
    sent(conn, "g", age_days=0.1)
    prune_all(conn, Keep(retention_rows=0))
    for (seq,) in conn.execute("SELECT seq FROM inbox").fetchall():
        assert inbox.load(conn, seq) is None
    assert outbox.group(conn, "g") == []
    assert outbox.state_of(conn, "g") == "sent"
    assert conn.execute("SELECT count(*) FROM counter").fetchone()[0] == 0


def test_even_zero_days_keep_a_day(conn: sqlite3.Connection) -> None:
    store(conn, ["old"], age_days=1.1)
    store(conn, ["young"], age_days=0.9)
    prune_all(conn, Keep(retention_days=0))
    assert left(conn) == {"young"}
