from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from loong_channels.contract import Address, Cursor
from loong_channels.faults import BadCredentials, Busy, Conflict, NotStored, Overloaded, Unreachable
from loong_channels.telegram.spec import SPEC
from loong_channels.waiting import Deadline
from loong_gateway.base.threads import ThreadRegistry
from loong_gateway.config.secrets import SecretUnavailable, resolve
from loong_gateway.messaging.full_lanes import FullLanes
from tests.gateway.messaging.slot_rig import MESSAGE, TOKEN, WAIT_S, ScriptedLife, slots_in
from tests.waiting import wait_until


@pytest.fixture
def make(tmp_path):
    with slots_in(tmp_path) as build:
        yield build


def test_a_slot_is_ready_when_the_platform_has_acknowledged_it(make):
    slot, world = make(ScriptedLife())
    assert slot.state().phase == "starting"
    assert not slot.can_send()
    slot.start()
    state = world.wait_for(slot, lambda s: s.phase == "ready")
    assert (state.identity, state.trouble, state.started) == ("@bot", "", True)
    assert slot.can_send()
    assert world.opened_gates == ["telegram=work"]


def test_a_lost_connection_is_tried_again_and_trouble_shows_until_it_works(make):
    lost = Unreachable("connection reset", maybe_processed=True)
    slot, world = make(ScriptedLife(lost))
    slot.start()
    state = world.wait_for(slot, lambda s: s.phase == "backoff")
    assert (state.trouble, state.last_error) == ("unreachable", "connection reset")
    assert state.next_try_ms is not None
    state = world.wait_for(slot, lambda s: s.phase == "ready")
    assert (state.trouble, state.last_error, state.restarts) == ("", None, 1)


def test_a_refused_credential_names_its_setting_and_is_read_again(make):
    slot, world = make(ScriptedLife(BadCredentials("the platform refused the token (HTTP 401)")))
    slot.start()
    state = world.wait_for(slot, lambda s: s.phase == "auth_failed")
    assert state.where == "telegram.bot_token (env BOT_TOKEN)"
    assert not slot.can_send()
    slot.try_now()
    world.wait_for(slot, lambda s: s.phase == "ready")
    assert world.opens == 2


def test_a_missing_secret_stops_only_this_surface_and_says_which(make):
    slot, world = make(ScriptedLife())
    with pytest.raises(SecretUnavailable) as unset:
        resolve(TOKEN, {})
    world.problem = unset.value
    slot.start()
    state = world.wait_for(slot, lambda s: s.trouble == "secret_missing")
    assert state.phase == "auth_failed"
    assert "BOT_TOKEN" in str(state.last_error)
    world.problem = None
    slot.try_now()
    world.wait_for(slot, lambda s: s.phase == "ready")


def test_an_empty_allow_list_serves_nobody(make):
    channel = ScriptedLife()
    slot, world = make(channel, allowed_chat_ids=())
    slot.start()
    state = world.wait_for(slot, lambda s: s.trouble == "allow_list_empty")
    assert "telegram.allowed_chat_ids is empty; configure at least one trusted chat id" in str(
        state.last_error
    )
    assert channel.lives == 0


def test_a_conflict_is_a_state_and_sending_goes_on(make):
    slot, world = make(ScriptedLife(Conflict("another poller")))
    slot.start()
    world.wait_for(slot, lambda s: s.phase == "conflict")
    assert slot.can_send()


def test_a_conflict_for_ever_ends_when_somebody_asks_for_it(make):
    channel = ScriptedLife(Conflict("taken over", retry_after_s=float("inf")))
    slot, world = make(channel)
    slot.start()
    state = world.wait_for(slot, lambda s: s.phase == "conflict")
    assert state.next_try_ms is None
    slot.try_now()
    world.wait_for(slot, lambda s: s.phase == "ready")
    assert channel.lives == 2


def test_a_bug_in_a_channel_is_survived(make):
    slot, world = make(ScriptedLife(ZeroDivisionError("oops")))
    slot.start()
    world.wait_for(slot, lambda s: s.trouble == "unreachable")
    world.wait_for(slot, lambda s: s.phase == "ready")


def test_a_connection_that_ends_without_a_reason_is_made_again(make):
    slot, world = make(ScriptedLife(lambda host, stop: None))
    slot.start()
    world.wait_for(slot, lambda s: s.phase == "ready")
    assert slot.state().restarts == 1


def test_a_lane_that_stays_full_is_shown_until_there_is_room(make):
    slot, world = make(ScriptedLife())
    world.full = True
    for seconds, trouble in ((0, ""), (9, ""), (2, "lane_full")):
        world.clock.advance(seconds)
        with pytest.raises(Busy):
            slot.accept([MESSAGE])
        assert slot.state().trouble == trouble
    slot.start()
    world.full = False
    slot.accept([MESSAGE])
    assert (slot.state().trouble, slot.state().last_error) == ("", None)


def test_a_lane_that_stays_full_is_shown_however_well_the_others_do(make):
    slot, world = make(ScriptedLife())
    slot.start()
    world.wait_for(slot, lambda s: s.phase == "ready")
    other = replace(MESSAGE, address=Address("telegram", "work", "8"))
    for _ in range(12):
        world.full = True
        with pytest.raises(Busy):
            slot.accept([MESSAGE])
        world.full = False
        slot.accept([other])
        world.clock.advance(1)
    assert (slot.state().phase, slot.state().trouble) == ("degraded", "lane_full")
    # Nobody has offered it anything for a minute, so nothing is known of it.
    world.clock.advance(60)
    slot.accept([other])
    assert (slot.state().phase, slot.state().trouble) == ("ready", "")


GONE = Unreachable("connection refused", maybe_processed=False)


def fail_for(slot, world, seconds, fault=GONE):
    began_s = world.clock.monotonic_s()
    world.clock.advance(seconds)
    slot.send_failed(fault, began_s)


def well(slot, world):
    slot.start()
    world.wait_for(slot, lambda s: s.phase == "ready")
    world.opened_gates.clear()


def test_sends_that_go_on_failing_are_shown_until_one_succeeds(make, caplog):
    slot, world = make(ScriptedLife())
    well(slot, world)
    for seconds, trouble in ((3, ""), (6, ""), (2, "sends_failing"), (2, "sends_failing")):
        fail_for(slot, world, seconds)
        assert slot.state().trouble == trouble
    assert (slot.state().phase, slot.state().last_error) == ("degraded", "connection refused")
    assert slot.can_send()
    # The platform goes on being heard all the while.
    slot.ready("@bot")
    fail_for(slot, world, 1, Overloaded("HTTP 503"))
    assert (slot.state().trouble, slot.state().last_error) == ("sends_failing", "HTTP 503")
    assert world.opened_gates == []
    slot.sent()
    slot.sent()
    state = slot.state()
    assert (state.phase, state.trouble, state.last_error) == ("ready", "", None)
    assert world.opened_gates == ["telegram=work"]
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert told == ["sends have been failing for some time: connection refused", "sends arrive again"]


def test_sends_that_fail_now_and_then_are_not_shown(make):
    slot, world = make(ScriptedLife())
    well(slot, world)
    for _ in range(10):
        fail_for(slot, world, 6)
        slot.sent()
    # A long try that began before the last success says little about what came after it.
    began_s = world.clock.monotonic_s() - 60
    slot.send_failed(GONE, began_s)
    fail_for(slot, world, 9)
    assert slot.state().trouble == ""
    # Nor do two failures that lie hours apart.
    world.clock.advance(7200)
    fail_for(slot, world, 1)
    assert slot.state().trouble == ""


def test_a_surface_in_other_trouble_keeps_that_while_its_sends_fail(make):
    slot, world = make(ScriptedLife(Conflict("another process polls")))
    slot.start()
    world.wait_for(slot, lambda s: s.phase == "conflict")
    fail_for(slot, world, 60)
    slot.sent()
    fail_for(slot, world, 60)
    assert (slot.state().phase, slot.state().trouble) == ("conflict", "conflict")
    assert slot.state().last_error == "another process polls"


def test_the_lanes_that_are_remembered_are_bounded():
    lanes = FullLanes()
    for number in range(3000):
        lanes.refused([str(number)], 0.0)
    assert not lanes.taken([], 59.0)
    assert lanes.taken([str(number) for number in range(3000 - 1024, 3000)], 59.0)


def test_stopping_ends_the_wait_for_the_next_try(make):
    slot, world = make(ScriptedLife(BadCredentials("401")))
    slot.start()
    world.wait_for(slot, lambda s: s.phase == "auth_failed")
    slot.stop_receiving()
    assert slot.join(Deadline(WAIT_S))
    assert slot.state().phase == "stopped"


def test_a_message_that_was_taken_back_is_passed_on_with_its_account(make):
    slot, world = make(ScriptedLife())
    slot.recalled("7", "m1")
    assert world.recalls == [("telegram", "work", "7", "m1")]
    world.full = True
    with pytest.raises(NotStored):
        slot.recalled("7", "m1")


def test_cursors_belong_to_the_account(make):
    slot, world = make(ScriptedLife())
    assert slot.cursor("offset:1") == "55"
    slot.accept([MESSAGE], Cursor("offset:1", "56"))
    assert world.accepted == [([MESSAGE], Cursor("telegram=work:offset:1", "56"))]
    assert slot.state().last_inbound_ms is not None


def test_a_moved_conversation_is_followed_only_if_the_old_one_was_allowed(make):
    slot, _ = make(ScriptedLife())
    slot.moved("7", "-1007")
    slot.moved("8", "-1008")
    assert slot.current(Address("telegram", "work", "7")).conversation == "-1007"
    assert slot.allows(Address("telegram", "work", "-1007"))
    assert not slot.allows(Address("telegram", "work", "-1008"))


def newest(slot):
    return [(one.kind, one.detail, one.count) for one in slot.state().history.newest(5)]


def test_a_failure_and_the_recovery_after_it_are_incidents(make):
    lost = Unreachable("connection reset", maybe_processed=True)
    slot, world = make(ScriptedLife(lost))
    slot.start()
    world.wait_for(slot, lambda s: s.phase == "ready")
    assert newest(slot) == [("recovery", "ready as @bot", 1), ("failure", "connection reset", 1)]
    assert slot.state().history.consecutive_failures == 0


def test_what_was_taken_back_after_a_conflict_is_a_reclaim(make):
    slot, world = make(ScriptedLife(Conflict("taken over", retry_after_s=float("inf"))))
    slot.start()
    world.wait_for(slot, lambda s: s.phase == "conflict")
    assert slot.state().history.kicked_total == 1
    slot.restart()
    world.wait_for(slot, lambda s: s.phase == "ready")
    assert newest(slot)[0][0] == "duplicate_reclaim"


def test_a_takeover_is_counted_once_however_many_replies_meet_it(make):
    slot, world = make(ScriptedLife(Conflict("taken over", retry_after_s=float("inf"))))
    slot.start()
    world.wait_for(slot, lambda s: s.phase == "conflict")
    for _ in range(5):
        slot.trouble(Conflict("taken over"))
    assert (slot.state().history.kicked_total, slot.state().history.consecutive_failures) == (1, 1)
    slot.restart()
    world.wait_for(slot, lambda s: s.phase == "ready")
    # A reply that met it a moment before says so only now.
    slot.trouble(Conflict("taken over"))
    assert slot.state().phase == "ready"


def test_a_credential_that_only_a_send_was_refused_for_is_tried_again_like_any_other(make):
    # What only waits for its platform's calls hears of nothing.
    channel = ScriptedLife()
    slot, world = make(channel)
    slot.start()
    world.wait_for(slot, lambda s: s.phase == "ready")
    slot.trouble(BadCredentials("99991663 invalid token"))
    slot.trouble(BadCredentials("99991663 invalid token"))
    state = world.wait_for(slot, lambda s: s.restarts == 1)
    assert (state.phase, state.trouble, state.where) == (
        "auth_failed",
        "auth_failed",
        "telegram.bot_token (env BOT_TOKEN)",
    )
    assert state.next_try_ms - world.clock.wall_ms() <= 5000
    assert not slot.can_send()
    slot.try_now()
    world.wait_for(slot, lambda s: s.phase == "ready")
    assert slot.can_send()
    assert world.opens == 2
    assert newest(slot) == [("recovery", "ready as @bot", 1), ("failure", "99991663 invalid token", 1)]


def test_each_oddity_is_a_message_of_its_own_to_the_log(make, caplog):
    slot, _ = make(ScriptedLife())
    with caplog.at_level("INFO"):
        slot.note("frame_ignored", reason="100% odd")
        slot.note("message_dropped", chat="room")
    assert [one.getMessage() for one in caplog.records] == [
        "frame_ignored reason=100% odd",
        "message_dropped chat=room",
    ]
    assert len({one.msg for one in caplog.records}) == 2


def test_a_thread_that_died_is_started_again_and_that_is_an_incident(make):
    channel = ScriptedLife(SystemExit("a bug"))
    slot, world = make(channel)
    slot.start()
    wait_until(lambda: world.threads.alive() == [])
    assert slot.state().phase == "connecting"
    slot.start()
    world.wait_for(slot, lambda s: s.phase == "ready")
    assert ("failure", "its thread died and was started again", 1) in newest(slot)
    slot.start()
    assert channel.lives == 2


def test_a_quiet_channel_is_healthy(make):
    slot, world = make(ScriptedLife())
    slot.start()
    world.wait_for(slot, lambda s: s.phase == "ready")
    slot.heard()
    world.clock.advance(400 * 86_400)
    slot.start()
    state = slot.state()
    assert (state.phase, state.trouble, state.history.incidents) == ("ready", "", ())


def test_an_account_that_is_kept_off_is_closed_and_no_trouble(make):
    channel = ScriptedLife(Unreachable("gone", maybe_processed=False))
    slot, world = make(channel)
    slot.start()
    world.wait_for(slot, lambda s: s.phase == "backoff")
    slot.switch_off()
    assert not slot.can_send()
    state = world.wait_for(slot, lambda s: s.phase == "stopped")
    assert (state.trouble, state.last_error, state.stopped_by, state.started) == ("", None, "operator", True)
    assert slot.join(Deadline(WAIT_S))
    assert channel.interrupted
    slot.start()
    assert world.threads.alive() == []
    assert slot.wait_turn(slot.restart(), Deadline(WAIT_S))
    state = world.wait_for(slot, lambda s: s.phase == "ready")
    assert state.stopped_by is None
    assert slot.can_send()
    # What was closed is of no further use.
    assert world.opens == 2


def test_an_account_that_was_never_started_can_be_kept_off(make):
    slot, world = make(ScriptedLife())
    slot.switch_off()
    slot.start()
    assert world.threads.alive() == []
    slot.restart()
    world.wait_for(slot, lambda s: s.phase == "ready")


def test_a_restart_ends_a_good_connection_and_makes_another_without_an_incident(make):
    channel = ScriptedLife()
    slot, world = make(channel)
    slot.start()
    world.wait_for(slot, lambda s: s.phase == "ready")
    assert slot.wait_turn(slot.restart(), Deadline(WAIT_S))
    assert slot.state().phase == "ready"
    assert (channel.lives, world.opens, newest(slot), slot.state().restarts) == (2, 1, [], 0)


def test_a_restart_takes_another_channel_only_with_other_secrets(make):
    channel = ScriptedLife()
    slot, world = make(channel)
    slot.start()
    world.wait_for(slot, lambda s: s.phase == "ready")
    assert not slot.has_new_secrets()
    world.token = "t2"
    assert slot.has_new_secrets()
    assert slot.wait_turn(slot.restart(), Deadline(WAIT_S))
    assert (world.opens, channel.interrupted) == (2, True)
    assert not slot.has_new_secrets()


def test_many_stops_and_starts_from_many_threads_end_as_the_last_one_said(make):
    channel = ScriptedLife()
    slot, world = make(channel)
    slot.start()
    registry = ThreadRegistry()
    for number in range(8):
        registry.spawn(f"operator:{number}", lambda: [slot.switch_off() or slot.restart() for _ in range(50)])
    assert registry.join_all(Deadline(WAIT_S)) == []
    slot.restart()
    world.wait_for(slot, lambda s: s.phase == "ready")
    assert world.threads.alive() == ["chan:telegram:work"]
    slot.switch_off()
    assert slot.join(Deadline(WAIT_S))
    assert slot.state().phase == "stopped"


def test_what_comes_only_once_is_taken_until_the_end_of_the_drain(make):
    began = threading.Event()

    def deliver(host, stop):
        host.ready("@bot")
        began.wait(WAIT_S)
        host.accept([MESSAGE])
        stop.wait(WAIT_S)

    slot, world = make(ScriptedLife(deliver), spec=replace(SPEC, redelivers=False))
    slot.start()
    world.wait_for(slot, lambda s: s.phase == "ready")
    slot.stop_receiving()
    assert slot.state().phase == "stopping"
    assert slot.can_send()
    began.set()
    wait_until(lambda: world.accepted)
    assert not slot.join(Deadline(0))
    slot.stop()
    assert slot.join(Deadline(WAIT_S))
    assert slot.state().phase == "stopped"


def test_a_line_that_breaks_during_the_drain_is_made_again_and_shown_as_stopping(make):
    broken = threading.Event()

    def first(host, stop):
        host.ready("@bot")
        broken.wait(WAIT_S)
        raise Unreachable("reset", maybe_processed=True)

    channel = ScriptedLife(first)
    slot, world = make(channel, spec=replace(SPEC, redelivers=False))
    slot.start()
    world.wait_for(slot, lambda s: s.phase == "ready")
    slot.stop_receiving()
    broken.set()
    world.wait_for(slot, lambda s: s.history.last_recovery_ms is not None)
    assert slot.state().phase == "stopping"
    assert slot.can_send()
    assert channel.lives == 2


def test_what_comes_again_is_not_taken_any_more_when_the_stop_begins(make):
    slot, world = make(ScriptedLife())
    slot.start()
    world.wait_for(slot, lambda s: s.phase == "ready")
    slot.stop_receiving()
    assert slot.join(Deadline(WAIT_S))
    assert slot.state().phase == "stopped"
