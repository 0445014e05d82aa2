"""WeCom takes a silent connection for dead, and gives the robot to whoever subscribes: pings in time, no fights."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from tests.waiting import wait_until

from .platforms import WeCom
from .report import Outcome
from .stage import START_S, Stage, finish, staged

__all__ = ["run", "run_takeover"]

PING_S = 1
LATE_S = 1.0
SLOW_S = 20.0
PIECES = 40
DRAIN_S = 60.0
MINUTE_S = 60.0
HOUR_S = 3600.0
SPEED = 60.0
# A channel waits a tenth less than a minute at most before it takes the robot back for the first time.
LEAST_RECLAIM_S = 54.0


def run(
    turns: int,
    seed: int,
    command: Sequence[str] = (),
    *,
    slow_s: float = SLOW_S,
    late_s: float = LATE_S,
    speed: float | None = None,
) -> Outcome:
    """So many slow turns at once, with answers that grow in their bubbles, on one connection.

    `slow_s` is how long each answer takes the model in our seconds, `late_s` how late a ping may be.
    """
    outcome = Outcome("pings", turns, seed)
    begin = time.monotonic()

    def prepare(platform: object) -> None:
        assert isinstance(platform, WeCom)
        platform.people = turns
        platform.more = f'ping_interval_s = {PING_S}\nstreaming_mode = "stream"\n'

    with staged(("wecom",), command=command, speed=speed, prepare=prepare, answer=_slow_answer) as stage:
        stage.model.piece_chars = 8
        stage.model.piece_delay_s = slow_s / PIECES
        (wecom,) = stage.platforms
        stage.gateway.start(timeout=START_S)
        wecom.resource.wait_ready()
        for number in range(turns):
            wecom.say(number, number)
        wait_until(lambda: not stage.ledger.open(), 3 * slow_s + DRAIN_S, "all answers")
        frames = list(wecom.resource.received)
        outcome.failures += finish(stage, DRAIN_S)
        metrics, failures = stage.ledger.verdict()
    pings = [one.at for one in frames if one.cmd == "ping"]
    late = sorted(after - before - PING_S / (speed or 1.0) for before, after in zip(pings, pings[1:]))
    outcome.metrics.update({name: metrics[name] for name in ("messages", "lost", "duplicates")})
    outcome.metrics.update(
        {
            "pings": len(pings),
            "late_by_more_than_1_s": sum(seconds > LATE_S for seconds in late),
            "late_s_max": round(late[-1], 3),
            "stream_frames": sum(one.cmd == "aibot_respond_msg" for one in frames),
            "turns_at_once": stage.model.max_running,
            "connections": len(wecom.resource.clients),
        }
    )
    outcome.failures += failures
    if late[-1] > late_s:
        outcome.failures.append(f"a ping was {late[-1]:.2f} s late")
    if len(wecom.resource.clients) != 1:
        outcome.failures.append("the connection was lost")
    outcome.duration_s = time.monotonic() - begin
    return outcome


def _slow_answer(messages: Sequence[dict[str, object]]) -> str:
    question = str(messages[-1]["content"])
    return f"re: {question} ".ljust(8 * PIECES, ".")


class Rival:
    """Another client that takes the robot back whenever we have it. `reclaims` are when we took it, by our clock."""

    def __init__(self, stage: Stage) -> None:
        self._fake = stage.platforms[0].resource
        self.reclaims: list[float] = []
        self._fake.on_subscribed = self._subscribed

    def _subscribed(self) -> None:
        self.reclaims.append(time.monotonic())
        # Not in the thread that serves our connection.
        timer = threading.Timer(0.02, self._fake.kick)
        timer.daemon = True
        timer.start()


def run_takeover(
    minutes: int,
    seed: int,
    command: Sequence[str] = (),  # noqa: ARG001  the daemon is this checkout's
    *,
    speed: float = SPEED,
) -> Outcome:
    """Another client holds on to the robot for so many minutes of the daemon's clock."""
    outcome = Outcome("takeover", minutes, seed)
    begin = time.monotonic()
    with staged(("wecom",), speed=speed) as stage:
        rival = Rival(stage)
        stage.gateway.spawn()
        wait_until(lambda: rival.reclaims, START_S, "the first subscription")
        phases = _watch(stage, minutes * MINUTE_S / speed)
        code = stage.gateway.terminate()
    times = [(at - rival.reclaims[0]) * speed for at in rival.reclaims]
    gaps = [after - before for before, after in zip(times, times[1:])]
    most = max(sum(1 for at in times[1:] if start <= at < start + MINUTE_S) for start in times)
    outcome.metrics.update(
        {
            "reclaims": len(gaps),
            "waits_s": [round(gap) for gap in gaps],
            "most_reclaims_in_a_minute": most,
            "phases": sorted(phases),
        }
    )
    if most > 1 or min(gaps, default=LEAST_RECLAIM_S) < LEAST_RECLAIM_S:
        outcome.failures.append(f"a fight over the robot: {gaps}")
    if not gaps or "conflict" not in phases:
        outcome.failures.append(f"no conflict, or the robot was never taken back: {phases}")
    if code != 0:
        outcome.failures.append(f"the stop ended with {code}")
    outcome.duration_s = time.monotonic() - begin
    return outcome


def _watch(stage: Stage, seconds: float) -> set[str]:
    """The phases of the surface over a time."""
    phases: set[str] = set()
    end, never = time.monotonic() + seconds, threading.Event()
    while time.monotonic() < end:
        for surface in stage.gateway.document().get("surfaces") or []:
            phases.add(str(surface["phase"]))
        never.wait(0.02)
    return phases
