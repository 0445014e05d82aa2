from __future__ import annotations

from loong_gateway.daemon.main_loop import MainLoop, Timer
from loong_gateway.daemon.news import News
from loong_gateway.messaging.slot_state import SlotState
from tests.clocks import HandClock


def test_timers_run_when_they_are_due_and_once_after_a_long_pause():
    clock = HandClock()
    runs = []
    loop = MainLoop(
        [Timer(5.0, lambda: runs.append("slow")), Timer(1.0, lambda: runs.append("quick"))], clock
    )
    loop.step(0.0)
    assert runs == ["slow", "quick"]
    loop.step(0.0)
    assert runs == ["slow", "quick"]
    clock.advance(1.0)
    loop.step(0.0)
    assert runs == ["slow", "quick", "quick"]
    clock.advance(3600.0)
    loop.step(0.0)
    assert runs[3:] == ["slow", "quick"]


def test_the_first_reason_for_a_stop_is_kept_and_every_request_counted():
    loop = MainLoop([], HandClock())
    assert loop.stop_reason is None
    loop.ask_to_stop("gateway stop requested")
    loop.ask_to_stop("sigterm received")
    loop.step(0.0)
    loop.step(0.0)
    assert (loop.stop_reason, loop.times_asked) == ("gateway stop requested", 2)


def test_a_wake_ends_the_wait_and_asks_for_nothing():
    loop = MainLoop([], HandClock())
    loop.wake()
    loop.step(60.0)
    assert (loop.stop_reason, loop.times_asked) == (None, 0)


def state(**changes):
    return SlotState(**{"channel": "telegram", "account": "work", "since_ms": 0, **changes})


def test_the_start_is_told_once_and_changes_after_it():
    lines = []
    clock = HandClock()
    news = News(lines.append, clock, stop_command="loong --dev gateway stop")
    news.part("store", "ok")
    news.surfaces([state(phase="starting")])
    news.surfaces([state(phase="connecting", started=True)])
    clock.advance(0.7)
    news.surfaces([state(phase="ready", started=True, identity="@bot")])
    news.surfaces([state(phase="ready", started=True, identity="@bot")])
    news.surfaces([state(phase="backoff", started=True, trouble="unreachable", last_error="gone")])
    assert lines == [
        "  store     ok",
        "  telegram/work  connecting",
        "  telegram/work  ready as @bot",
        "ready in 0.7 s: 1 of 1 surface. Stop with Ctrl-C; from another shell: loong --dev gateway stop",
        "  telegram/work  backoff: gone",
    ]


def test_a_gateway_without_surfaces_is_ready_at_once():
    lines = []
    News(lines.append, HandClock(), stop_command="loong gateway stop").surfaces([])
    assert lines == [
        "ready in 0.0 s: no surface is enabled. Stop with Ctrl-C; from another shell: loong gateway stop"
    ]


def test_the_end_says_what_stays_on_disk():
    lines = []
    clock = HandClock()
    news = News(lines.append, clock, stop_command="loong gateway stop")
    news.stopping(2, 25.0)
    clock.advance(1.4)
    news.stopped(1, 2)
    news.stopped(0, 0)
    assert lines == [
        "stopping: 2 turns running, at most 25 s; Ctrl-C again ends now (unfinished turns run again at the next start)",
        "stopped after 1.4 s; 1 message and 2 replies on disk for the next start",
        "stopped after 1.4 s; nothing is waiting",
    ]
