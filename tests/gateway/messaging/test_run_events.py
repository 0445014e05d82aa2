"""What is told of runs and turns: order, numbers, and texts that add up."""

from __future__ import annotations

import threading

import pytest

from loong_channels.waiting import Deadline, StopToken
from loong_gateway.base.bus import Bus
from loong_gateway.base.clock import Clock
from loong_gateway.base.timers import Timers
from loong_gateway.control.runs import RunRequest
from loong_gateway.messaging.run_events import RunEvents
from loong_gateway.messaging.turns import TurnTask
from loong_gateway.providers.contract import Completion, ProviderFault
from tests.clocks import HandClock
from tests.gateway.messaging.engine_rig import WAIT_S
from tests.gateway.messaging.run_rig import SESSION, Watching, runs_at
from tests.waiting import wait_until


@pytest.fixture
def rig(tmp_path):
    with runs_at(tmp_path / "store.sqlite3") as made:
        yield made


def growing(*pieces):
    def answer(call, stop, on_text):
        for piece in pieces:
            on_text(piece)
        return Completion("".join(pieces), "scripted")

    return answer


def nobody_looks(after_s, action):
    """No timers: what waits is told with the next piece or the end."""


def phases(rig):
    return [one["data"].get("phase", one["stream"]) for one in rig.told("agent")]


def test_the_events_of_a_run_come_in_order_and_add_up(rig):
    rig.listen()
    rig.provider.script = [growing("Hel", "lo", ".")]
    told_at_end = []

    class Last(Watching):
        def ended(self, result):
            told_at_end.append([event.payload for event in rig.told_events])
            super().ended(result)

    assert rig.start("a", session=SESSION, watcher=Last()).wait().text == "Hello."
    assert phases(rig) == ["start", "assistant", "assistant", "end"]
    numbers = [one["seq"] for one in rig.told("agent")]
    assert numbers == sorted(set(numbers))
    assert [one["state"] for one in rig.told("chat")] == ["delta", "delta", "final"]
    assert "".join(one["deltaText"] for one in rig.told("chat")[:-1]) == "Hello."
    final = rig.told("chat")[-1]
    assert final["message"]["content"] == [{"type": "text", "text": "Hello."}]
    assert final["sessionKey"] == SESSION
    assert told_at_end == [[event.payload for event in rig.told_events]]
    assert all(
        event.is_kept is (event.payload.get("state") != "delta")
        for event in rig.told_events
        if event.name == "chat"
    )


def test_a_run_by_itself_has_no_chat(rig):
    rig.listen()
    rig.provider.script = [growing("Hello.")]
    rig.ask("a")
    assert rig.told("chat") == []
    assert phases(rig) == ["start", "assistant", "end"]


@pytest.mark.parametrize(
    ("kind", "said"), [("auth_rejected", "unknown"), ("timed_out", "timeout"), ("rate_limited", "rate_limit")]
)
def test_a_failed_run_ends_with_one_error(rig, kind, said):
    rig.listen()
    rig.provider.script = [ProviderFault(kind, "no")]
    rig.ask("a", session=SESSION)
    assert phases(rig) == ["start", "error"]
    (end,) = rig.told("chat")
    assert (end["state"], end["errorKind"]) == ("error", said)


def test_who_begins_to_listen_late_is_told_all():
    clock = HandClock()
    bus = Bus(clock.wall_ms)
    events = RunEvents(bus, clock, nobody_looks, "a", SESSION)
    told = []
    events.started()
    events.grown("one ")
    bus.listen(lambda numbered: told.append(numbered.event.payload))
    clock.advance(1)
    events.grown("two ")
    events.grown("three")
    events.finished("one two three")
    deltas = [one["deltaText"] for one in told if one.get("state") == "delta"]
    assert deltas == ["one two ", "three"]


def test_what_begins_again_replaces_what_was_said():
    clock = HandClock()
    bus = Bus(clock.wall_ms)
    told = []
    bus.listen(lambda numbered: told.append(numbered.event.payload))
    events = RunEvents(bus, clock, nobody_looks, "a", SESSION)
    events.started()
    events.grown("one")
    events.started()
    events.finished("one again")
    deltas = [one for one in told if one.get("state") == "delta"]
    assert [(one["deltaText"], one.get("replace")) for one in deltas] == [("one", None), ("one again", True)]


def test_a_turn_of_a_channel_is_told_as_a_run(rig):
    rig.listen()
    rig.provider.script = [ProviderFault("provider_overloaded", "503")]
    later = rig.ask_channel("hello")
    assert rig.run(later.task) is None
    assert phases(rig) == ["start", "start", "assistant", "end"]
    assert [one["state"] for one in rig.told("chat")] == ["delta", "final"]
    seq = next(iter(rig.inbox_states()))
    assert {one["runId"] for one in rig.told("chat")} == {f"reply-{seq}"}
    assert {one["sessionKey"] for one in rig.told("chat")} == {"agent:main:telegram:work:direct:7"}
    assert rig.runs.active() == []


def test_a_turn_of_a_channel_can_be_aborted(rig):
    rig.listen()
    began = threading.Event()

    def held(call, stop, on_text):
        began.set()
        assert stop.wait(WAIT_S)
        raise ProviderFault("interrupted", "stopped")

    rig.provider.script = [held]
    seq = rig.put(rig.message("hello"))
    thread = threading.Thread(target=rig.run, args=(TurnTask(rig.turns, seq), StopToken()))
    thread.start()
    assert began.wait(WAIT_S)
    key = "agent:main:telegram:work:direct:7"
    assert list(rig.runs.active(key)) == [f"reply-{seq}"]
    assert list(rig.runs.abort(session=key)) == [f"reply-{seq}"]
    thread.join(WAIT_S)
    (end,) = rig.told("chat")
    assert (end["state"], end["stopReason"]) == ("aborted", "rpc")
    assert rig.channel.texts() == []


def test_a_turn_that_a_stop_interrupts_is_not_told_to_have_ended(rig):
    rig.listen()
    stop = StopToken()

    def cut(call, stop, on_text):
        stop.set("stopping")
        raise ProviderFault("interrupted", "stopped")

    rig.provider.script = [cut]
    seq = rig.put(rig.message("hello"))
    assert rig.run(TurnTask(rig.turns, seq), stop) is None
    assert (phases(rig), rig.told("chat"), rig.runs.active()) == (["start"], [], [])
    # The next process begins the run of this name again.
    rig.run(TurnTask(rig.turns, seq), StopToken())
    assert [one["state"] for one in rig.told("chat")] == ["delta", "final"]


def test_nobody_is_told_of_a_run_that_is_refused_twice(rig):
    rig.listen()
    rig.ask("a", session=SESSION)
    before = len(rig.told_events)
    rig.runs.start(RunRequest("a", "again", session=SESSION))
    assert len(rig.told_events) == before


def test_what_waits_when_the_model_pauses_is_told_soon():
    clock = HandClock()
    bus = Bus(clock.wall_ms)
    looks, told = [], []
    events = RunEvents(bus, clock, lambda after_s, look: looks.append((after_s, look)), "a", SESSION)
    events.started()
    events.grown("unheard ")
    assert looks == []
    bus.listen(lambda numbered: told.append(numbered.event.payload))

    def deltas():
        return [one["deltaText"] for one in told if one.get("state") == "delta"]

    clock.advance(1)
    events.grown("one ")
    clock.advance(0.01)
    events.grown("two ")
    events.grown("three ")
    ((after_s, look),) = looks
    assert deltas() == ["unheard one "]
    clock.advance(after_s)
    look()
    assert deltas() == ["unheard one ", "two three "]
    look()
    events.grown("four")
    # Somebody else has told it by the time of the look.
    events.finished("unheard one two three four")
    assert deltas()[2:] == ["four"]
    clock.advance(1)
    looks[1][1]()
    assert deltas()[2:] == ["four"]
    assert told[-1]["state"] == "final"


def test_a_look_that_comes_too_early_is_put_off():
    clock = HandClock()
    bus = Bus(clock.wall_ms)
    looks, told = [], []
    bus.listen(lambda numbered: told.append(numbered.event.payload))
    events = RunEvents(bus, clock, lambda after_s, look: looks.append((after_s, look)), "a", None)
    events.grown("one ")
    events.grown("two ")
    clock.advance(looks[0][0])
    events.grown("three ")
    events.grown("four")
    looks[0][1]()
    clock.advance(looks[1][0])
    looks[1][1]()
    assert [one["data"]["delta"] for one in told] == ["one ", "two three ", "four"]
    assert len(looks) == 2


def test_without_a_thread_the_end_tells_what_waits():
    clock = HandClock()
    bus = Bus(clock.wall_ms)
    told = []
    bus.listen(lambda numbered: told.append(numbered.event.payload))

    def no_thread(after_s, look):
        raise RuntimeError("can't start new thread")

    events = RunEvents(bus, clock, no_thread, "a", None)
    events.grown("one ")
    events.grown("two")
    events.aborted("user")
    assert [one["data"]["delta"] for one in told[:-1]] == ["one ", "two"]


def test_looks_and_pieces_from_two_threads_stay_in_order(rig):
    timers = Timers("timers", rig.threads)
    rig.later = timers.later
    rig.clock = Clock()
    rig.restart()
    rig.listen()
    waits = threading.Event()

    def pausing(call, stop, on_text):
        for number in range(200):
            on_text(f"{number} ")
        # Nothing but a look can tell the rest before this goes on.
        assert waits.wait(WAIT_S)
        on_text("end")
        return Completion("".join(f"{number} " for number in range(200)) + "end", "scripted")

    rig.provider.script = [pausing]
    watcher = rig.start("a", session=SESSION)
    wait_until(
        lambda: "".join(one["deltaText"] for one in rig.told("chat")).endswith(" 199 "), what="the pause"
    )
    waits.set()
    text = watcher.wait().text
    *pieces, final = rig.told("chat")
    assert "".join(one["deltaText"] for one in pieces) == text == final["message"]["content"][0]["text"]
    numbers = [one["seq"] for one in rig.told("agent")]
    assert numbers == sorted(set(numbers))
    assert timers.close(Deadline(WAIT_S))
