"""Rows of calls that turns have asked for: kept in order, known when damaged, and forgotten with their turn."""

from __future__ import annotations

import pathlib

from loong_gateway.storage import counters, runs, tool_calls
from tests.gateway.storage.store_help import opened

DAY_MS = 24 * 3600 * 1000


def planned(conn, turn: str, now_ms: int = 0) -> None:
    tool_calls.plan(conn, turn, 0, b"said", [b"a", b"b"], now_ms)


def test_a_round_is_kept_in_order_and_planned_once(tmp_path: pathlib.Path) -> None:
    with opened(tmp_path / "s") as store:
        for _ in range(2):
            store.write(lambda conn: planned(conn, "inbox:1"))
        store.write(lambda conn: tool_calls.change(conn, "inbox:1", 0, 1, "done", b"c"))
        store.write(lambda conn: tool_calls.plan(conn, "inbox:1", 1, b"more", [b"d"], 0))
        rows = store.read(lambda conn: tool_calls.load(conn, "inbox:1"))
        assert [(row.round, row.call, row.state, row.payload) for row in rows] == [
            (0, -1, "said", b"said"),
            (0, 0, "planned", b"a"),
            (0, 1, "done", b"c"),
            (1, -1, "said", b"more"),
            (1, 0, "planned", b"d"),
        ]
        store.write(lambda conn: planned(conn, "run:x"))
        assert sorted(store.read(tool_calls.turns)) == ["inbox:1", "run:x"]
        store.write(lambda conn: tool_calls.forget(conn, "inbox:1"))
        assert store.read(tool_calls.turns) == ["run:x"]


def test_a_damaged_row_keeps_its_state_and_is_counted_once(tmp_path: pathlib.Path) -> None:
    with opened(tmp_path / "s") as store:
        store.write(lambda conn: planned(conn, "inbox:1"))
        store.write(lambda conn: conn.execute("UPDATE tool_call SET payload = x'00' WHERE call = 1"))
        for _ in range(2):
            rows = store.read(lambda conn: tool_calls.load(conn, "inbox:1"))
            assert [row.payload for row in rows] == [b"said", b"a", b""]
        assert store.read(counters.counters)["rows_quarantined"] == 1


def test_only_what_no_open_turn_needs_is_pruned(tmp_path: pathlib.Path) -> None:
    with opened(tmp_path / "s") as store:
        store.write(lambda conn: runs.add(conn, "open", b"{}", 0))
        for turn, now_ms in (("run:open", 0), ("run:gone", 0), ("inbox:1", 0), ("inbox:2", DAY_MS)):
            store.write(lambda conn, turn=turn, now_ms=now_ms: planned(conn, turn, now_ms))
        assert store.write(lambda conn: tool_calls.prune(conn, DAY_MS, 4)) == 4
        assert store.write(lambda conn: tool_calls.prune(conn, DAY_MS, 4)) == 2
        assert sorted(store.read(tool_calls.turns)) == ["inbox:2", "run:open"]
