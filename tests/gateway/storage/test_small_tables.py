from __future__ import annotations

import sqlite3

import pytest

from loong_gateway.storage import aliases, cursors, migrations, runs
from loong_gateway.storage.counters import bump, counters
from loong_gateway.storage.facts import store_facts
from tests.gateway.storage.store_help import memory


@pytest.fixture
def conn() -> sqlite3.Connection:
    connection = memory()
    yield connection
    connection.close()


def moves(conn: sqlite3.Connection) -> dict[str, str]:
    return {old: new for _, _, old, new in aliases.all_aliases(conn)}


def test_a_cursor_is_none_until_it_is_written_and_then_the_latest_value(conn: sqlite3.Connection) -> None:
    assert cursors.get(conn, "telegram:work:offset") is None
    cursors.put(conn, "telegram:work:offset", "5")
    cursors.put(conn, "telegram:work:offset", "6")
    assert cursors.get(conn, "telegram:work:offset") == "6"


def test_counters_add_up(conn: sqlite3.Connection) -> None:
    bump(conn, "a")
    bump(conn, "a", 4)
    bump(conn, "b", 2)
    assert counters(conn) == {"a": 5, "b": 2}


def test_a_store_of_any_age_can_be_looked_at_before_a_gateway_is_started_on_it(
    conn: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs.add(conn, "a-run", b"{}", now_ms=1)
    assert store_facts(conn, now_ms=2).runs == {"new": 1}
    steps = migrations.STEPS
    for known in range(1, len(steps)):
        monkeypatch.setattr(migrations, "STEPS", steps[:known])
        older = sqlite3.connect(":memory:", isolation_level=None)
        migrations.apply(older)
        found = store_facts(older, now_ms=2)
        assert (found.runs, found.acp_sessions, found.used_today["calls"], found.work_failed) == ({}, 0, 0, 0)
        older.close()


def test_a_conversation_that_moved_twice_is_found_with_one_look(conn: sqlite3.Connection) -> None:
    aliases.add(conn, "telegram", "work", "1", "2")
    aliases.add(conn, "telegram", "work", "2", "3")
    assert moves(conn) == {"1": "3", "2": "3"}


def test_a_conversation_that_moves_back_makes_no_circle(conn: sqlite3.Connection) -> None:
    aliases.add(conn, "telegram", "work", "1", "2")
    aliases.add(conn, "telegram", "work", "2", "1")
    aliases.add(conn, "telegram", "work", "3", "3")
    assert moves(conn) == {"2": "1"}


def test_moves_of_one_account_say_nothing_about_another(conn: sqlite3.Connection) -> None:
    aliases.add(conn, "telegram", "work", "1", "2")
    aliases.add(conn, "telegram", "home", "2", "9")
    assert sorted(aliases.all_aliases(conn)) == [
        ("telegram", "home", "2", "9"),
        ("telegram", "work", "1", "2"),
    ]
