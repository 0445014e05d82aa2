from __future__ import annotations

import sqlite3

import pytest

from loong_gateway.storage import transcripts
from tests.gateway.storage.store_help import memory

ROUTE = "agent:main:telegram:work:direct:7"


@pytest.fixture
def conn() -> sqlite3.Connection:
    connection = memory()
    yield connection
    connection.close()


def talk(conn: sqlite3.Connection, session: str, *words: str, at_ms: int = 1) -> None:
    for word in words:
        transcripts.append(conn, session, [("user", word), ("assistant", word.upper())], at_ms)


def test_the_window_holds_the_last_turns_oldest_first(conn: sqlite3.Connection) -> None:
    talk(conn, "s", "a", "b", "c")
    talk(conn, "other", "x")
    assert transcripts.window(conn, "s", 2) == [
        ("user", "b"),
        ("assistant", "B"),
        ("user", "c"),
        ("assistant", "C"),
    ]
    assert len(transcripts.window(conn, "s", 99)) == 6
    assert transcripts.window(conn, "s", 0) == []
    assert transcripts.window(conn, "nobody", 5) == []


def test_a_turn_with_several_answers_is_never_cut(conn: sqlite3.Connection) -> None:
    talk(conn, "s", "a")
    transcripts.append(conn, "s", [("assistant", "more")], 2)
    assert [text for _, text in transcripts.window(conn, "s", 1)] == ["a", "A", "more"]


def test_a_new_session_begins_empty_and_the_old_one_is_kept(conn: sqlite3.Connection) -> None:
    assert transcripts.active_session(conn, ROUTE) == ROUTE
    talk(conn, ROUTE, "a")
    second = transcripts.start_new(conn, ROUTE, 5)
    assert transcripts.active_session(conn, ROUTE) == second != ROUTE
    assert transcripts.window(conn, second, 9) == []
    assert len(transcripts.window(conn, ROUTE, 9)) == 2
    third = transcripts.start_new(conn, ROUTE, 6)
    assert transcripts.active_session(conn, ROUTE) == third


def test_an_answer_that_comes_late_to_the_old_session_does_not_make_it_active(
    conn: sqlite3.Connection,
) -> None:
    second = transcripts.start_new(conn, ROUTE, 5)
    talk(conn, ROUTE, "late", at_ms=9)
    assert transcripts.active_session(conn, ROUTE) == second


def test_sessions_are_listed_by_latest_activity_with_their_size(conn: sqlite3.Connection) -> None:
    talk(conn, "old", "a", at_ms=1)
    talk(conn, "busy", "a", "b", at_ms=3)
    talk(conn, "new", "a", at_ms=2)
    rows = transcripts.sessions(conn, 2)
    assert [(row.id, row.started_ms, row.last_ms, row.messages) for row in rows] == [
        ("busy", 3, 3, 4),
        ("new", 2, 2, 2),
    ]


def test_text_with_lone_surrogates_is_kept_readable(conn: sqlite3.Connection) -> None:
    talk(conn, "s\ud800", "x\udfff 好")
    assert transcripts.window(conn, "s\ud800", 1)[0] == ("user", "x\\udfff 好")


def test_routes_come_a_page_at_a_time_each_with_its_present_session(conn: sqlite3.Connection) -> None:
    for number in range(6):
        talk(conn, f"r{number}", "hi", at_ms=100 + number)
    new = transcripts.start_new(conn, "r0", 200)
    transcripts.start_new(conn, "r5", 50)
    pages = [transcripts.routes(conn, 4, offset) for offset in (0, 4, 8)]
    assert [[row.route for row in page] for page in pages] == [["r0", "r4", "r3", "r2"], ["r1", "r5"], []]
    assert pages[0][0].id == new
    assert transcripts.count_routes(conn) == 6
    assert [row.route for row in transcripts.routes(conn, 9, since_ms=103)] == ["r0", "r4", "r3"]
    assert transcripts.count_routes(conn, since_ms=103) == 3
    first = transcripts.routes_after(conn, 0, 3)
    rest = transcripts.routes_after(conn, first[-1][0], 9)
    assert [route for _, _, route in first + rest] == ["r1", "r2", "r3", "r4", "r0", "r5"]
    assert [route for _, _, route in transcripts.routes_after(conn, 0, 9, since_ms=104)] == ["r4", "r0"]
