"""The rows of runs: one per id, ended once, forgotten in time."""

from __future__ import annotations

import sqlite3

import pytest

from loong_gateway.storage import runs
from tests.gateway.storage.store_help import memory


@pytest.fixture
def conn() -> sqlite3.Connection:
    connection = memory()
    yield connection
    connection.close()


def test_an_id_has_one_row_and_one_end(conn: sqlite3.Connection) -> None:
    assert runs.add(conn, "a", b"asked", 1) is None
    known = runs.add(conn, "a", b"other", 2)
    assert known is not None
    assert (known.state, known.payload, known.stored_ms) == ("new", b"asked", 1)
    assert runs.end(conn, "a", b"result", 3)
    assert not runs.end(conn, "a", b"another", 4)
    assert runs.ended(conn, 5) == ["a"]
    assert runs.find(conn, "a").payload == b"result"
    assert not runs.end(conn, "nobody", b"x", 1)


def test_what_ran_when_the_process_died_counts_a_crash_and_keeps_its_place(conn: sqlite3.Connection) -> None:
    for id in ("a", "b", "c"):
        runs.add(conn, id, b"asked", 1)
    runs.claim(conn, "a")
    runs.claim(conn, "b")
    runs.give_back(conn, "b")
    runs.add(conn, "d", b"asked", 1)
    runs.end(conn, "d", b"result", 2)
    assert sum(runs.unfinished(conn).values()) == 3
    assert [(row.id, row.crashes) for row in runs.pending(conn)] == [("a", 1), ("b", 0), ("c", 0)]


def test_an_id_is_free_again_when_its_result_is_forgotten(conn: sqlite3.Connection) -> None:
    runs.add(conn, "a", b"asked", 1)
    runs.end(conn, "a", b"result", 1)
    assert runs.add(conn, "a", b"again", runs.KEPT_MS + 2) is None


def test_results_that_are_too_old_or_too_many_go_and_nothing_else(conn: sqlite3.Connection) -> None:
    runs.add(conn, "waits", b"asked", 0)
    runs.add(conn, "old", b"asked", 0)
    runs.end(conn, "old", b"result", 0)
    for number in range(runs.KEPT_ROWS + 3):
        runs.add(conn, f"r{number}", b"asked", 1)
        runs.end(conn, f"r{number}", b"result", runs.KEPT_MS + number)
    assert runs.prune(conn, runs.KEPT_MS + 1, 2) == 2
    assert runs.prune(conn, runs.KEPT_MS + 1, 500) == 2
    assert runs.prune(conn, runs.KEPT_MS + 1, 500) == 0
    assert runs.find(conn, "old") is None
    assert runs.find(conn, "r2") is None
    assert runs.find(conn, "r3") is not None
    assert runs.find(conn, "waits") is not None
