from __future__ import annotations

import sqlite3
import zlib

import pytest

from loong_gateway.storage import inbox
from loong_gateway.storage.counters import counters
from tests.gateway.storage.store_help import NOW_MS, memory, message


@pytest.fixture
def conn() -> sqlite3.Connection:
    connection = memory()
    yield connection
    connection.close()


def state(conn: sqlite3.Connection, seq: int) -> tuple:
    return conn.execute(
        "SELECT state, attempts, crashes, last_error FROM inbox WHERE seq = ?", (seq,)
    ).fetchone()


def test_new_messages_are_returned_in_order_and_load_gives_them_back(conn: sqlite3.Connection) -> None:
    batch = [message("a"), message("b"), message("c")]
    rows = inbox.add(conn, batch, NOW_MS)
    assert [row.inbound for row in rows] == batch
    assert [row.seq for row in rows] == sorted({row.seq for row in rows})
    assert [inbox.load(conn, row.seq) for row in rows] == rows


def test_a_repeated_event_is_dropped_and_counted(conn: sqlite3.Connection) -> None:
    inbox.add(conn, [message("a")], NOW_MS)
    rows = inbox.add(conn, [message("a", message_id="other"), message("b"), message("b")], NOW_MS)
    assert [row.inbound.event_id for row in rows] == ["b"]
    assert counters(conn)["duplicates_dropped"] == 2


def test_a_repeated_message_under_a_new_event_is_dropped(conn: sqlite3.Connection) -> None:
    inbox.add(conn, [message("a", message_id="m")], NOW_MS)
    assert inbox.add(conn, [message("b", message_id="m")], NOW_MS) == []


def test_the_same_message_id_in_another_conversation_is_another_message(conn: sqlite3.Connection) -> None:
    inbox.add(conn, [message("a", message_id="5", conversation="1")], NOW_MS)
    assert len(inbox.add(conn, [message("b", message_id="5", conversation="2")], NOW_MS)) == 1


def test_messages_without_a_message_id_and_edited_ones_are_told_apart_by_event(
    conn: sqlite3.Connection,
) -> None:
    batch = [
        message("a", message_id=None),
        message("b", message_id=None),
        message("c", message_id="m"),
        message("d", message_id="m", edited=True),
    ]
    assert len(inbox.add(conn, batch, NOW_MS)) == 4
    assert inbox.add(conn, batch, NOW_MS) == []


def test_a_message_that_breaks_another_rule_is_an_error_and_not_a_duplicate(conn: sqlite3.Connection) -> None:
    broken = message("a")
    object.__setattr__(broken, "received_ms", None)
    with pytest.raises(sqlite3.IntegrityError):
        inbox.add(conn, [broken], NOW_MS)


def test_lone_surrogates_in_keys_are_stored_and_still_deduplicated(conn: sqlite3.Connection) -> None:
    odd = message("e\ud800", conversation="c\ud801", text="t\udfff", message_id="m\ud802")
    (row,) = inbox.add(conn, [odd], NOW_MS)
    assert inbox.load(conn, row.seq).inbound == odd
    assert inbox.add(conn, [odd], NOW_MS) == []


def test_numbers_do_not_begin_again_in_an_empty_store(conn: sqlite3.Connection) -> None:
    (row,) = inbox.add(conn, [message("a")], NOW_MS)
    assert row.seq > 1_700_000_000_000


def test_a_row_walks_from_new_to_claimed_to_done_and_not_further(conn: sqlite3.Connection) -> None:
    ((seq, lane),) = _added(conn, "a")
    assert lane == "telegram:work:7"
    assert inbox.claim(conn, seq) and not inbox.claim(conn, seq)
    assert inbox.finish(conn, seq) and not inbox.finish(conn, seq)
    assert not inbox.claim(conn, seq)
    assert not inbox.fail(conn, seq, "late")
    assert not inbox.give_back(conn, seq, count=True)
    assert state(conn, seq) == ("done", 0, 0, None)


def test_a_given_back_row_is_new_again_and_counts_only_failures(conn: sqlite3.Connection) -> None:
    ((seq, _),) = _added(conn, "a")
    inbox.claim(conn, seq)
    inbox.give_back(conn, seq, count=False)
    assert state(conn, seq) == ("new", 0, 0, None)
    inbox.claim(conn, seq)
    inbox.give_back(conn, seq, count=True, error="provider down \ud800")
    assert state(conn, seq) == ("new", 1, 0, "provider down \\ud800")
    assert inbox.load(conn, seq).attempts == 1


def test_a_row_can_be_settled_as_skipped_with_a_reason(conn: sqlite3.Connection) -> None:
    ((seq, _),) = _added(conn, "a")
    assert inbox.settle(conn, seq, "skipped_old", error="too old")
    assert state(conn, seq) == ("skipped_old", 0, 0, "too old")


def test_recovery_gives_back_claimed_rows_and_counts_the_death_apart(conn: sqlite3.Connection) -> None:
    (first, lane), (second, _), (third, _) = _added(conn, "a", "b", "c")
    inbox.claim(conn, first)
    inbox.finish(conn, second)
    recovered = inbox.recover(conn, max_crashes=10)
    assert recovered.pending == [(first, lane), (third, lane)]
    assert recovered.failed == []
    assert state(conn, first) == ("new", 0, 1, None)
    assert state(conn, third) == ("new", 0, 0, None)


def test_a_row_that_killed_too_many_processes_fails_and_is_handed_out_once(conn: sqlite3.Connection) -> None:
    ((seq, _),) = _added(conn, "poison")
    for _ in range(2):
        inbox.claim(conn, seq)
        assert inbox.recover(conn, max_crashes=2).failed == []
    inbox.claim(conn, seq)
    recovered = inbox.recover(conn, max_crashes=2)
    assert recovered.pending == []
    assert [row.inbound.event_id for row in recovered.failed] == ["poison"]
    assert recovered.failed[0].state == "failed"
    assert inbox.recover(conn, max_crashes=2).failed == []


@pytest.mark.parametrize(
    "damage",
    [
        "payload = x'7b7d'",
        "crc = crc + 1",
        "payload = 'text'",
        "payload = 17",
        "payload = x''",
        "attempts = 'many'",
        f"payload = x'7b7d', crc = {zlib.crc32(b'{}')}",
    ],
)
def test_a_damaged_row_is_quarantined_once_and_counted(conn: sqlite3.Connection, damage: str) -> None:
    ((seq, _),) = _added(conn, "a")
    conn.execute(f"UPDATE inbox SET {damage}")
    assert inbox.load(conn, seq) is None
    assert inbox.load(conn, seq) is None
    assert state(conn, seq)[0] == "failed"
    assert "damaged" in state(conn, seq)[3]
    assert counters(conn) == {"rows_quarantined": 1}


def test_a_damaged_poisonous_row_does_not_stop_the_recovery(conn: sqlite3.Connection) -> None:
    (first, _), (second, lane) = _added(conn, "a", "b")
    conn.execute("UPDATE inbox SET crashes = 50, crc = 0 WHERE seq = ?", (first,))
    assert inbox.recover(conn, max_crashes=10) == inbox.Recovered([(second, lane)], [])


def test_unknown_rows_are_none_and_change_nothing(conn: sqlite3.Connection) -> None:
    assert inbox.load(conn, 5) is None
    assert not inbox.claim(conn, 5)
    assert counters(conn) == {}


def test_counts_are_by_account_and_leave_done_out(conn: sqlite3.Connection) -> None:
    (first, _), (second, _), _ = _added(conn, "a", "b", "c")
    inbox.claim(conn, first)
    inbox.finish(conn, second)
    inbox.add(conn, [message("r")], NOW_MS, state="rejected")
    assert inbox.counts(conn) == {("telegram", "work"): {"new": 1, "claimed": 1, "rejected": 1}}


def test_the_oldest_pending_message_is_the_first_not_settled(conn: sqlite3.Connection) -> None:
    assert inbox.oldest_pending_ms(conn) is None
    (first,) = inbox.add(conn, [message("a")], NOW_MS)
    late = message("b")
    object.__setattr__(late, "received_ms", NOW_MS + 5)
    inbox.add(conn, [late], NOW_MS)
    assert inbox.oldest_pending_ms(conn) == NOW_MS
    inbox.finish(conn, first.seq)
    assert inbox.oldest_pending_ms(conn) == NOW_MS + 5


def _added(conn: sqlite3.Connection, *names: str) -> list[tuple[int, str]]:
    inbox.add(conn, [message(name) for name in names], NOW_MS)
    return inbox.pending_lanes(conn)
