from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest

from loong_gateway.storage import transcripts, usage
from loong_gateway.storage.usage import Spent
from tests.gateway.storage.store_help import memory

DAY_MS = 86_400_000
NOW_MS = 20_000 * DAY_MS
KEY = "agent:main:demo"


@pytest.fixture
def conn() -> Iterator[sqlite3.Connection]:
    connection = memory()
    yield connection
    connection.close()


def test_calls_are_summed_by_day_and_by_conversation(conn: sqlite3.Connection) -> None:
    for at_ms in (NOW_MS, NOW_MS + 1, NOW_MS + DAY_MS):
        usage.add(conn, Spent("p", "m", KEY, {"input": 5, "output": 1, "total": 6}), at_ms)
    usage.add(conn, Spent("p", "m", None, {"input": 100}), NOW_MS)
    days = usage.of_days(conn, 2, NOW_MS + DAY_MS)
    assert [(row.name, row.counts["calls"], row.counts["input"]) for row in days] == [
        (usage.day_of(NOW_MS + DAY_MS), 1, 5),
        (usage.day_of(NOW_MS), 3, 110),
    ]
    assert usage.of_days(conn, 1, NOW_MS + DAY_MS) == days[:1]
    assert usage.totals(usage.of_session(conn, KEY))["output"] == 3


def test_a_call_without_figures_is_counted_and_nothing_made_up(conn: sqlite3.Connection) -> None:
    usage.add(conn, Spent("p", "m", KEY), NOW_MS)
    usage.add(conn, Spent("p", "m", KEY, {"total": 9}), NOW_MS)
    usage.add(conn, Spent("p", "m", KEY, failed=True), NOW_MS)
    counts = usage.totals(usage.of_session(conn, KEY))
    assert counts == {**dict.fromkeys(usage.COUNTS, 0), "calls": 2, "silent": 2, "failed": 1}


def test_a_further_answer_costs_one_statement_for_each_sum(conn: sqlite3.Connection) -> None:
    usage.add(conn, Spent("p", "m", KEY), NOW_MS)
    statements: list[str] = []
    conn.set_trace_callback(statements.append)
    usage.add(conn, Spent("p", "m", KEY), NOW_MS)
    conn.set_trace_callback(None)
    assert [statement.split()[0] for statement in statements] == ["UPDATE", "UPDATE"]


def test_made_up_models_do_not_fill_the_table(conn: sqlite3.Connection) -> None:
    for number in range(200):
        usage.add(conn, Spent("p", f"m{number}", KEY), NOW_MS)
    rows = usage.of_session(conn, KEY)
    assert len(rows) == usage.MOST_MODELS + 1
    assert usage.totals(rows)["calls"] == 200


def test_old_days_go_and_conversations_stay_until_they_are_forgotten(conn: sqlite3.Connection) -> None:
    transcripts.remember(conn, KEY, "q", "a", 1)
    usage.add(conn, Spent("p", "m", KEY), NOW_MS - usage.KEPT_DAYS * DAY_MS - DAY_MS)
    usage.add(conn, Spent("p", "m", KEY), NOW_MS)
    usage.add(conn, Spent("p", "m", "agent:main:never-answered", failed=True), NOW_MS)
    assert usage.prune(conn, NOW_MS, 100) == 2
    assert usage.of_session(conn, "agent:main:never-answered") == []
    assert usage.totals(usage.of_days(conn, 400, NOW_MS))["calls"] == 1
    assert usage.totals(usage.of_session(conn, KEY))["calls"] == 2
    transcripts.forget(conn, KEY)
    assert usage.of_session(conn, KEY) == []
