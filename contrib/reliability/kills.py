"""kill -9 at random moments under steady load, over and over on one home."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence

from .platforms import ALL
from .report import Outcome
from .stage import START_S, Stage, finish, pause, staged

PLACES = {1: 6, 3: 3}
EVERY_S = 0.03
MODEL_S = 0.04
SEND_S = 0.015
LONGEST_LIFE_S = 1.5
DRAIN_S = 90.0
LOOK_S = 0.005


class Load(threading.Thread):
    """Writes numbered messages to the conversations of all platforms in turn until `end` is called."""

    def __init__(self, stage: Stage, every_s: float = EVERY_S) -> None:
        super().__init__(name="load", daemon=True)
        self._platforms = stage.platforms
        self._places = PLACES[len(stage.platforms)]
        self._every_s = every_s
        self._over = threading.Event()

    def run(self) -> None:
        """Write at a steady pace."""
        number = 0
        while not self._over.wait(self._every_s):
            turn, which = divmod(number, len(self._platforms))
            self._platforms[which].say(number, turn % self._places)
            number += 1

    def end(self) -> None:
        """Write no more."""
        self._over.set()
        self.join()


class Recovery:
    """How long the lives took to ask for messages and to give their first answer, in seconds."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.visits: list[float] = []
        self.answers: list[float] = []

    def live(self, life_s: float) -> None:
        """Start the daemon and let it live."""
        stage = self._stage
        asked, answered, begin = self._visits(), stage.ledger.count(), time.monotonic()
        process = stage.gateway.spawn()
        # Two thirds of the lives are counted from the first visit, so that most kills hit a daemon at work.
        counts_later = life_s > LONGEST_LIFE_S / 3
        end = begin + (START_S if counts_later else life_s)
        is_there = has_answered = False
        while time.monotonic() < end and process.poll() is None:
            if not is_there and self._visits() > asked:
                is_there = True
                self.visits.append(time.monotonic() - begin)
                if counts_later:
                    end = time.monotonic() + life_s - LONGEST_LIFE_S / 3
            if not has_answered and stage.ledger.count() > answered:
                has_answered = True
                self.answers.append(time.monotonic() - begin)
            pause(LOOK_S)

    def _visits(self) -> int:
        return self._stage.platforms[0].visits()


def run(kills: int, seed: int, command: Sequence[str] = ()) -> Outcome:
    """With Telegram alone. `command` runs loong, default: the checkout."""
    return _run("R1", ALL[:1], kills, seed, command)


def run_mixed(kills: int, seed: int, command: Sequence[str] = ()) -> Outcome:
    """With all three platforms."""
    return _run("R1-mixed", ALL, kills, seed, command)


def _run(name: str, platforms: Sequence[str], kills: int, seed: int, command: Sequence[str]) -> Outcome:
    outcome = Outcome(name, kills, seed)
    chance = random.Random(seed)
    begin = time.monotonic()
    with staged(platforms, command=command, wecom_replaces=chance.random() < 0.5, delay_s=MODEL_S) as stage:
        _experiment(outcome, chance, stage)
    outcome.duration_s = time.monotonic() - begin
    return outcome


def _experiment(outcome: Outcome, chance: random.Random, stage: Stage) -> None:
    gateway = stage.gateway
    load, recovery = Load(stage), Recovery(stage)
    load.start()
    for turn in range(outcome.n):
        _slow_sends(chance, stage)
        recovery.live(chance.uniform(0.0, LONGEST_LIFE_S))
        if gateway.process is not None and gateway.process.poll() is not None:
            ended = gateway.process.returncode
            outcome.failures.append(f"life {turn} ended by itself with {ended}: {gateway.output()[-500:]}")
            break
        gateway.kill()
        outcome.failures += [f"kill {turn}: {one}" for one in stage.note_kill()]
    load.end()
    for platform in stage.platforms:
        platform.calm()
    begin = time.monotonic()
    # One last life, in which everything must be answered.
    gateway.spawn()
    outcome.failures += finish(stage, DRAIN_S)
    outcome.metrics["drained_s"] = round(time.monotonic() - begin, 2)
    metrics, failures = stage.ledger.verdict()
    outcome.failures += failures
    outcome.metrics.update(metrics)
    outcome.metrics["lives_that_asked"] = len(recovery.visits)
    outcome.metrics.update(_spread("first_visit_s", recovery.visits))
    outcome.metrics.update(_spread("first_answer_s", recovery.answers))


def _spread(name: str, values: list[float]) -> dict[str, float]:
    values.sort()
    if not values:
        return {}
    p99 = values[min(len(values) - 1, int(len(values) * 0.99))]
    return {f"{name}_p50": round(values[len(values) // 2], 3), f"{name}_p99": round(p99, 3)}


def _slow_sends(chance: random.Random, stage: Stage) -> None:
    """In some lives the platforms take their time, before they take a message or before they say so."""
    for platform in stage.platforms:
        platform.calm()
        kind = chance.choice(("", "delay", "hold"))
        if kind:
            platform.slow(SEND_S, before=kind == "delay")
