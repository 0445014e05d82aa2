from __future__ import annotations

import sqlite3

import pytest

from loong_gateway.storage import migrations, summaries, transcripts, usage
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


def test_a_route_that_was_put_away_comes_back_when_something_is_said(conn: sqlite3.Connection) -> None:
    talk(conn, "s", "a")
    talk(conn, "t", "b", at_ms=2)
    assert transcripts.archive(conn, "s", 5)
    assert not transcripts.archive(conn, "nobody", 5)
    assert [row.route for row in transcripts.routes(conn, 9, archived=False)] == ["t"]
    assert transcripts.count_routes(conn, archived=False) == 1
    assert [row.archived_ms for row in transcripts.routes(conn, 9)] == [None, 5]
    talk(conn, "s", "again", at_ms=3)
    assert [row.route for row in transcripts.routes(conn, 9, archived=False)] == ["s", "t"]
    assert transcripts.archive(conn, "s", 5)
    assert transcripts.archive(conn, "s", None)
    assert transcripts.count_routes(conn, archived=False) == 2


def test_a_copy_holds_the_present_stretch_and_replaces_nothing(conn: sqlite3.Connection) -> None:
    talk(conn, ROUTE, "old")
    second = transcripts.start_new(conn, ROUTE, 2)
    talk(conn, second, "new")
    assert transcripts.copy(conn, "nobody", "elsewhere", 3) == 0
    assert transcripts.copy(conn, ROUTE, "elsewhere", 3) == 2
    assert transcripts.window(conn, "elsewhere", 9) == [("user", "new"), ("assistant", "NEW")]
    assert transcripts.copy(conn, ROUTE, "elsewhere", 3) == 0


def test_the_whole_of_a_route_is_read_in_order_across_its_stretches(conn: sqlite3.Connection) -> None:
    talk(conn, ROUTE, *(f"a{n}" for n in range(150)))
    second = transcripts.start_new(conn, ROUTE, 2)
    talk(conn, second, "b")
    talk(conn, "other", "x")
    assert transcripts.stretches(conn, ROUTE) == [ROUTE, second]
    found = transcripts.page(conn, ROUTE, 0, 200)
    found += transcripts.page(conn, ROUTE, found[-1].number, 200)
    assert len(found) == 300
    assert [one.number for one in found] == sorted(one.number for one in found)
    assert [one.text for one in transcripts.page(conn, second, 0, 200)] == ["b", "B"]


def test_the_beginning_of_a_key_or_of_a_stretch_is_found(conn: sqlite3.Connection) -> None:
    talk(conn, "agent:main:notes", "a")
    talk(conn, "agent:main:notes_2", "a")
    stretch = transcripts.start_new(conn, "agent:main:other", 2)
    assert transcripts.routes_from(conn, "agent:main:not", 9) == ["agent:main:notes", "agent:main:notes_2"]
    assert transcripts.routes_from(conn, stretch[:12], 9) == ["agent:main:other"]
    assert transcripts.routes_from(conn, "agent:main:%", 9) == []


def test_a_file_of_an_older_version_can_be_looked_at() -> None:
    old = sqlite3.connect(":memory:", isolation_level=None)
    for name, step in migrations.STEPS:
        if name == "memory":
            break
        step(old)
    old.execute("INSERT INTO session(id, route, started_ms, last_ms, messages) VALUES('s', 's', 1, 1, 2)")
    assert transcripts.routes(old, 5) == [transcripts.SessionRow("s", "s", 1, 1, 2)]
    assert transcripts.count_routes(old, archived=False) == 1
    assert usage.of_session(old, "s") == []
    assert summaries.get(old, "s") == (0, "")
    old.close()
