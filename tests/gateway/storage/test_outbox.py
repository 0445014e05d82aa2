from __future__ import annotations

import sqlite3

import pytest
from store_help import NOW_MS, memory, part

from loong_channels.contract import Address, Outbound
from loong_gateway.storage import outbox
from loong_gateway.storage.counters import counters


@pytest.fixture
def conn() -> sqlite3.Connection:
    connection = memory()
    yield connection
    connection.close()


def add(conn: sqlite3.Connection, group: str, parts: int = 1, *, first_sending: bool = False) -> None:
    outbox.add(conn, [part(group, n) for n in range(parts)], now_ms=NOW_MS, first_sending=first_sending)


def states(conn: sqlite3.Connection, group: str) -> list[str]:
    return [row.state for row in outbox.group(conn, group)]


def test_parts_come_back_in_order_with_everything_that_was_given(conn: sqlite3.Connection) -> None:
    parts = [part("g", n, text=f"part {n}") for n in range(3)]
    added = outbox.add(conn, list(reversed(parts)), now_ms=NOW_MS, first_sending=False)
    rows = outbox.group(conn, "g")
    assert added == list(reversed(rows))
    assert [row.outbound for row in rows] == [item.outbound for item in parts]
    assert [(row.id, row.part, row.state, row.attempts) for row in rows] == [
        ("g:0", 0, "queued", 0),
        ("g:1", 1, "queued", 0),
        ("g:2", 2, "queued", 0),
    ]


def test_the_first_part_can_be_stored_as_being_sent(conn: sqlite3.Connection) -> None:
    added = outbox.add(conn, [part("g", 0), part("g", 1)], now_ms=NOW_MS, first_sending=True)
    assert [(row.state, row.attempts) for row in added] == [("sending", 1), ("queued", 0)]
    assert outbox.group(conn, "g") == added


def test_adding_the_same_parts_again_changes_nothing(conn: sqlite3.Connection) -> None:
    add(conn, "g", 2)
    outbox.mark_sent(conn, "g:0", ("5",))
    assert outbox.add(conn, [part("g", 0), part("g", 1)], now_ms=NOW_MS, first_sending=True) == []
    assert states(conn, "g") == ["sent", "queued"]


def test_two_ids_for_one_place_in_a_group_are_an_error(conn: sqlite3.Connection) -> None:
    add(conn, "g")
    other = outbox.Part("other", "g", 0, None, part("g").outbound, NOW_MS)
    with pytest.raises(sqlite3.IntegrityError):
        outbox.add(conn, [other], now_ms=NOW_MS, first_sending=False)


def test_a_part_walks_from_queued_to_sending_to_sent_with_the_platforms_ids(conn: sqlite3.Connection) -> None:
    add(conn, "g")
    assert outbox.mark_sending(conn, "g:0", NOW_MS) and not outbox.mark_sending(conn, "g:0", NOW_MS)
    assert outbox.mark_sent(conn, "g:0", ("1", "2")) and not outbox.mark_sent(conn, "g:0", ("3",))
    (row,) = outbox.group(conn, "g")
    assert (row.state, row.attempts, row.message_ids) == ("sent", 1, ("1", "2"))
    assert not outbox.mark_queued(conn, "g:0", 0, "late")
    assert not outbox.hold(conn, "g:0", "late")


def test_a_part_goes_back_into_the_queue_with_a_time_and_a_reason(conn: sqlite3.Connection) -> None:
    add(conn, "g", first_sending=True)
    assert outbox.mark_queued(conn, "g:0", NOW_MS + 9, "connection refused \ud800")
    (row,) = outbox.group(conn, "g")
    assert (row.state, row.attempts, row.not_before_ms) == ("queued", 1, NOW_MS + 9)
    assert row.last_error == "connection refused \\ud800"
    assert outbox.pending(conn) == [("g", "telegram:work:7", NOW_MS + 9)]


def test_an_attempt_that_does_not_count_is_taken_back(conn: sqlite3.Connection) -> None:
    add(conn, "g", first_sending=True)
    outbox.mark_queued(conn, "g:0", 0, "throttled", count=False)
    outbox.mark_queued(conn, "g:0", 0, "throttled", count=False)
    assert outbox.group(conn, "g")[0].attempts == 0


def test_a_held_part_is_unknown_and_no_longer_pending_while_its_group_goes_on(
    conn: sqlite3.Connection,
) -> None:
    add(conn, "g", 2, first_sending=True)
    assert outbox.hold(conn, "g:0", "reset after the request")
    assert states(conn, "g") == ["unknown", "queued"]
    assert outbox.state_of(conn, "g") == "unknown"
    assert [row.id for row in outbox.group(conn, "g") if row.state in outbox.UNSENT] == ["g:1"]


@pytest.mark.parametrize(
    ("end", "state"),
    [
        (lambda conn: outbox.end_group(conn, "g", "failed", "refused"), "failed"),
        (lambda conn: outbox.end_group(conn, "g", "expired", "too late"), "expired"),
        (lambda conn: outbox.end_group(conn, "g", "cancelled", "not allowed"), "cancelled"),
    ],
)
def test_a_group_ends_as_a_whole_and_what_was_sent_stays_sent(
    conn: sqlite3.Connection, end, state: str
) -> None:
    add(conn, "g", 3)
    add(conn, "other")
    outbox.mark_sent(conn, "g:0")
    assert end(conn) == 2
    assert states(conn, "g") == ["sent", state, state]
    assert outbox.state_of(conn, "g") == state
    assert outbox.pending(conn) == [("other", "telegram:work:7", 0)]
    assert end(conn) == 0


def test_a_part_that_turns_out_to_be_sent_is_sent_whatever_was_thought(conn: sqlite3.Connection) -> None:
    add(conn, "g")
    outbox.end_group(conn, "g", "expired", "too late")
    assert outbox.mark_sent(conn, "g:0", ("1",))
    assert outbox.state_of(conn, "g") == "sent"


def test_the_state_of_a_group_is_sent_only_when_all_parts_are(conn: sqlite3.Connection) -> None:
    assert outbox.state_of(conn, "g") is None
    add(conn, "g", 2)
    assert outbox.state_of(conn, "g") == "queued"
    outbox.mark_sent(conn, "g:0")
    assert outbox.state_of(conn, "g") == "queued"
    outbox.mark_sending(conn, "g:1", NOW_MS)
    assert outbox.state_of(conn, "g") == "sending"
    outbox.mark_sent(conn, "g:1")
    assert outbox.state_of(conn, "g") == "sent"


def test_pending_groups_come_in_the_order_in_which_they_were_stored(conn: sqlite3.Connection) -> None:
    for name in ("z", "a", "m"):
        add(conn, name, 2)
    outbox.mark_sent(conn, "a:0")
    outbox.mark_sent(conn, "m:0")
    outbox.mark_sent(conn, "m:1")
    assert [name for name, _, _ in outbox.pending(conn)] == ["z", "a"]


def test_after_a_death_what_was_being_sent_is_sent_again_up_to_a_bound(conn: sqlite3.Connection) -> None:
    add(conn, "g", 2, first_sending=True)
    for death in range(1, 4):
        assert outbox.recover(conn, max_resends=3) == 1
        row = outbox.group(conn, "g")[0]
        assert (row.state, row.resends) == ("queued", death)
        outbox.mark_sending(conn, "g:0", NOW_MS)
    assert outbox.recover(conn, max_resends=3) == 1
    assert states(conn, "g") == ["unknown", "queued"]


def test_after_a_death_what_was_being_sent_is_held_when_the_policy_says_so(conn: sqlite3.Connection) -> None:
    add(conn, "g", first_sending=True)
    assert outbox.recover(conn, resend=False) == 1
    assert states(conn, "g") == ["unknown"]
    assert outbox.recover(conn) == 0
    assert states(conn, "g") == ["unknown"]


def test_after_a_death_a_platform_that_drops_repetitions_gets_it_again(conn: sqlite3.Connection) -> None:
    add(conn, "g", first_sending=True)
    now_ms = NOW_MS + 3_600_000
    assert outbox.recover(conn, now_ms=now_ms, resend=False, idempotent={"telegram": 3600.0}) == 1
    assert states(conn, "g") == ["queued"]
    outbox.mark_sending(conn, "g:0", now_ms)
    assert outbox.group(conn, "g")[0].tried_ms == NOW_MS


@pytest.mark.parametrize("late_ms", [3_600_001, -3_600_001])
def test_after_its_window_such_a_platform_is_like_any_other(conn: sqlite3.Connection, late_ms: int) -> None:
    add(conn, "g", first_sending=True)
    now_ms = NOW_MS + late_ms
    assert outbox.recover(conn, now_ms=now_ms, resend=False, idempotent={"telegram": 3600.0}) == 1
    assert states(conn, "g") == ["unknown"]


def test_the_window_begins_with_the_first_try_that_may_have_arrived(conn: sqlite3.Connection) -> None:
    add(conn, "g", first_sending=True)
    tried = []
    for later_ms, resend in ((1000, False), (2000, True), (3000, False), (4000, True)):
        outbox.mark_queued(conn, "g:0", 0, "no", resend=resend)
        outbox.mark_sending(conn, "g:0", NOW_MS + later_ms)
        tried.append(outbox.group(conn, "g")[0].tried_ms - NOW_MS)
    # The first one surely never arrived; from the second on nobody knows.
    assert tried == [1000, 1000, 1000, 1000]


@pytest.mark.parametrize("damage", ["payload = x'00'", "crc = 1", "message_ids = 'x'", "attempts = 'y'"])
def test_a_damaged_part_fails_its_whole_group_once_and_is_counted(
    conn: sqlite3.Connection, damage: str
) -> None:
    add(conn, "g", 3)
    add(conn, "other")
    conn.execute(f"UPDATE outbox SET {damage} WHERE id = 'g:1'")
    assert outbox.group(conn, "g") == []
    assert outbox.group(conn, "g") == []
    assert outbox.state_of(conn, "g") == "failed"
    assert counters(conn) == {"rows_quarantined": 1}
    assert states(conn, "other") == ["queued"]


def test_senders_are_the_accounts_that_an_operators_parts_wait_for(conn: sqlite3.Connection) -> None:
    answer = outbox.Part("r:0", "r", 0, 7, Outbound(Address("wecom", "a", "1"), "x", "r:0"), NOW_MS)
    own = outbox.Part("s:0", "s", 0, None, Outbound(Address("feishu", "b", "1"), "x", "s:0"), NOW_MS)
    outbox.add(conn, [answer, own], now_ms=NOW_MS, first_sending=False)
    add(conn, "t", first_sending=True)
    add(conn, "u")
    assert outbox.senders(conn) == [("feishu", "b"), ("telegram", "work")]
    outbox.mark_sent(conn, "s:0")
    assert outbox.senders(conn) == [("telegram", "work")]


def test_counts_are_by_account_and_leave_sent_out(conn: sqlite3.Connection) -> None:
    for name in ("a", "b", "c", "d"):
        add(conn, name)
    outbox.mark_sent(conn, "a:0")
    outbox.mark_sending(conn, "b:0", NOW_MS)
    outbox.end_group(conn, "c", "failed", "no")
    assert outbox.counts(conn) == {("telegram", "work"): {"sending": 1, "failed": 1, "queued": 1}}


@pytest.mark.parametrize("by_ms", [3_600_000, -3_600_000])
def test_times_of_what_is_still_to_be_sent_move_with_a_clock_that_was_set(
    conn: sqlite3.Connection, by_ms: int
) -> None:
    add(conn, "now")
    add(conn, "later")
    add(conn, "over")
    outbox.mark_sending(conn, "later:0", NOW_MS)
    outbox.mark_queued(conn, "later:0", NOW_MS + 5000, "wait")
    outbox.mark_sent(conn, "over:0")
    expires_ms = outbox.group(conn, "now")[0].expires_ms
    assert outbox.shift(conn, by_ms) == 2
    times = {
        name: (outbox.group(conn, name)[0].expires_ms - expires_ms, outbox.group(conn, name)[0].not_before_ms)
        for name in ("now", "later", "over")
    }
    assert times == {"now": (by_ms, 0), "later": (by_ms, NOW_MS + 5000 + by_ms), "over": (0, 0)}


def test_the_window_of_a_repetition_moves_with_a_clock_that_was_set(conn: sqlite3.Connection) -> None:
    add(conn, "g", 2, first_sending=True)
    outbox.shift(conn, -3_600_000)
    assert [row.tried_ms for row in outbox.group(conn, "g")] == [NOW_MS - 3_600_000, 0]
