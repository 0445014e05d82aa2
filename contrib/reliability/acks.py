"""Feishu pushes an event again when it is not acknowledged within three seconds, and hours later.

So the acknowledgement must not wait for anything but the disk, and what comes again must be known.
"""

from __future__ import annotations

import itertools
import signal
import time
from collections.abc import Sequence

from tests.waiting import wait_until

from .platforms import Feishu
from .report import Outcome
from .stage import START_S, Stage, finish, pause, quick_launcher, staged

__all__ = ["run", "run_late"]

WORKERS = 4
EVERY_S = 0.025
# Below what a conversation may have waiting.
MOST_PER_CONVERSATION = 90
GOAL_S = 0.1
DRAIN_S = 120.0
ACK_WAIT_S = 10.0
SETTINGS = f"[gateway]\nworkers = {WORKERS}\ncrash_loop_boots = 0\n"


def run(busy_s: int, seed: int, command: Sequence[str] = (), *, goal_s: float = GOAL_S) -> Outcome:
    """Events in conversations that are being answered, and in new ones, while every worker is busy for `busy_s`."""
    outcome = Outcome("acks", 0, seed)
    begin = time.monotonic()
    with staged(("feishu",), command=command, more=SETTINGS) as stage:
        (feishu,) = stage.platforms
        assert isinstance(feishu, Feishu)
        stage.gateway.start(timeout=START_S)
        stage.model.set_delay(busy_s)
        for number in range(WORKERS):
            feishu.say(number, number)
        stage.model.wait_calls(WORKERS)
        took_s = _press(feishu, busy_s)
        if stage.model.running < WORKERS or feishu.replies():
            outcome.failures.append("the workers were not busy all the time")
        stage.model.set_delay(0)
        _judge(outcome, feishu, took_s, goal_s)
        outcome.failures += finish(stage, DRAIN_S)
        metrics, failures = stage.ledger.verdict()
        outcome.failures += failures
        for name in ("messages", "lost", "duplicates", "feishu_events_pushed_again"):
            outcome.metrics[name] = metrics[name]
    outcome.duration_s = time.monotonic() - begin
    return outcome


def _press(feishu: Feishu, busy_s: int) -> list[float]:
    """Say something all the time for nearly as long as the workers are busy; how long each acknowledgement took."""
    end = time.monotonic() + busy_s * 0.9
    for turn in itertools.count():
        if time.monotonic() >= end:
            break
        # Every other one in a conversation of its own; the rest in those that are occupied, while there is room.
        occupied = turn % 2 == 0 and turn // 2 < WORKERS * MOST_PER_CONVERSATION
        feishu.say(WORKERS + turn, turn // 2 % WORKERS if occupied else 1000 + turn)
        pause(EVERY_S)
    events = list(feishu.resource.events)
    with_answer = [event for event in events if any(push.codes for push in event.pushes)]
    if len(with_answer) < len(events):
        wait_until(lambda: all(event.acknowledged for event in events), ACK_WAIT_S, "acknowledgements")
    return [seconds for event in events for push in event.pushes for seconds in push.took_s]


def _judge(outcome: Outcome, feishu: Feishu, took_s: list[float], goal_s: float) -> None:
    took_s.sort()
    p99 = took_s[int(len(took_s) * 0.99)]
    pushes = [push for event in feishu.resource.events for push in event.pushes]
    outcome.n = len(took_s)
    outcome.metrics.update(
        {
            "ack_ms_p50": round(took_s[len(took_s) // 2] * 1000, 1),
            "ack_ms_p99": round(p99 * 1000, 1),
            "ack_ms_max": round(took_s[-1] * 1000, 1),
            "refused": sum(code != 200 for push in pushes for code in push.codes),
            "late": sum(push.late for push in pushes),
        }
    )
    if p99 > goal_s:
        outcome.failures.append(f"p99 of {p99:.3f} s is above {goal_s} s")
    if any(set(push.codes) != {200} or push.late for push in pushes):
        outcome.failures.append("an event was refused or acknowledged late")


def run_late(hours: int, seed: int, command: Sequence[str] = ()) -> Outcome:  # noqa: ARG001  of this checkout
    """An answered event comes again after so many hours on the daemon's clocks, in the same life and in the next."""
    outcome = Outcome("acks-late", hours, seed)
    begin = time.monotonic()
    with staged(("feishu",), speed=1.0) as stage:
        (feishu,) = stage.platforms
        for life in range(2):
            seconds = hours * 3600
            stage.gateway.launcher = quick_launcher(1.0, ahead_s=life * seconds, jump_s=seconds)
            stage.gateway.start(timeout=START_S)
            _converse(stage, 2 * life)
            _let_hours_pass(stage, hours)
            for event in list(feishu.resource.events):
                for new_id in (False, True):
                    codes = feishu.resource.push_again(event, new_id=new_id).codes
                    if codes[-1] != 200:
                        outcome.failures.append(f"life {life}: {event.message_id} was answered {codes}")
            # What is said now is answered behind whatever a repetition would have started.
            _converse(stage, 2 * life + 1)
            stage.gateway.kill()
        metrics, failures = stage.ledger.verdict()
        outcome.failures += failures
        outcome.metrics.update({name: metrics[name] for name in ("messages", "lost", "duplicates")})
        outcome.metrics["pushed_again"] = metrics["feishu_events_pushed_again"]
        outcome.metrics["asked_of_the_model"] = len(stage.model.calls)
        if len(stage.model.calls) != len(feishu.asked()):
            outcome.failures.append("the model was asked for a repetition")
    outcome.duration_s = time.monotonic() - begin
    return outcome


def _converse(stage: Stage, number: int) -> None:
    stage.platforms[0].say(number, 0)
    wait_until(lambda: not stage.ledger.open(), START_S, "an answer")


def _let_hours_pass(stage: Stage, hours: int) -> None:
    before = int(stage.gateway.document()["uptime_ms"])
    stage.platforms[0].resource.rest.advance(hours * 3600)
    stage.gateway.signal(signal.SIGUSR1)
    wait_until(
        lambda: stage.gateway.document().get("uptime_ms", 0) - before >= hours * 3_600_000,
        START_S,
        "the hours to pass",
    )
