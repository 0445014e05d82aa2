"""kill -9 at every point of a short life, once each, and one more life that must put things right.

R2-wire: at everything the daemon sends, before it is processed and before it is answered.
R2-store: before and after every change of the store, in a first life and in the one after a crash.
Each with Telegram alone, and as -mixed with all three platforms.
"""

from __future__ import annotations

import contextlib
import os
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Callable

from tests.e2e.gateway import ROOT, Gateway

from .platforms import ALL, Platform, WeCom
from .report import Outcome
from .stage import START_S, Stage, finish, pause, staged

# The second message of each platform gets a reply of several parts.
LONG = 1
LONG_PARTS = 3
STEP = 100
# Conversations of the messages that wait on each platform, by the number of platforms.
PLACES = {1: (0, 0, 0, 1, 2), 3: (0, 0, 1)}
LIFE_S = 30.0
AFTERMATH_S = 0.5
LOOK_S = 0.01
ALONE = ALL[:1]
FILLERS = {name: cls.filler for cls in Platform.__subclasses__() for name in [cls.name]}


def answer(messages: Sequence[dict[str, object]]) -> str:
    """A short reply, or one that takes several parts."""
    question = str(messages[-1]["content"])
    which, number = divmod(int(question[1:]), STEP)
    if number != LONG:
        return f"re: {question}"
    filler = FILLERS[ALL[which]]
    return "\n\n".join(f"re: {question} p{part} {filler}" for part in range(1, LONG_PARTS + 1))


@dataclass(frozen=True)
class Play:
    """What every point of an experiment has in common. After `trap` answers a life before has ended."""

    platforms: Sequence[str]
    command: Sequence[str]

    @property
    def trap(self) -> int:
        """The request at whose processing a life ends that leaves work of every kind behind."""
        return 6 if len(self.platforms) == 1 else 20


@contextlib.contextmanager
def scene(play: Play) -> Iterator[Stage]:
    """A fresh home with a few messages waiting for it."""
    places = PLACES[len(play.platforms)]
    parts = {which * STEP + LONG: LONG_PARTS for which in range(len(play.platforms))}
    with staged(play.platforms, command=play.command, parts=parts, answer=answer) as stage:
        for which, platform in enumerate(stage.platforms):
            if isinstance(platform, WeCom):
                # It would not keep them for somebody who is not there.
                platform.patient = True
            for number, place in enumerate(places):
                platform.say(which * STEP + number, place)
        yield stage


class Trap:
    """Kills the daemon at the n-th request of a phase; n 0 only counts."""

    def __init__(self, gateway: Gateway, phase: str, number: int) -> None:
        self._gateway = gateway
        self._phase = phase
        self._number = number
        self._lock = threading.Lock()
        self.seen: Counter[str] = Counter()
        self.sprung = threading.Event()

    def __call__(self, _request: object, phase: str) -> None:
        """One request."""
        with self._lock:
            if self.sprung.is_set():
                return
            self.seen[phase] += 1
            if phase == self._phase and self.seen[phase] == self._number:
                self._gateway.kill()
                self.sprung.set()


class Sums:
    """Adds up what the points found."""

    def __init__(self, outcome: Outcome) -> None:
        self._outcome = outcome
        self._totals: dict[str, int] = {}

    def note_kill(self, at: Stage, where: str) -> None:
        """Look into the store after a kill."""
        self._outcome.failures += [f"{where}: {one}" for one in at.note_kill()]

    def last_life(self, at: Stage, where: str) -> None:
        """Start once more and hold everything against the promise."""
        at.gateway.spawn()
        found = finish(at, START_S)
        metrics, failures = at.ledger.verdict()
        self._outcome.failures += [f"{where}: {one}" for one in found + failures]
        for name, value in metrics.items():
            if isinstance(value, int):
                self._totals[name] = self._totals.get(name, 0) + value
        self._outcome.metrics.update(self._totals)


def run_wire(stride: int, seed: int, command: Sequence[str] = ()) -> Outcome:
    """Every `stride`-th request, beginning at one chosen by the seed; with Telegram alone."""
    return _wire("R2-wire", Play(ALONE, command), stride, seed)


def run_wire_mixed(stride: int, seed: int, command: Sequence[str] = ()) -> Outcome:
    """With all three platforms."""
    return _wire("R2-wire-mixed", Play(ALL, command), stride, seed)


def run_store(stride: int, seed: int, command: Sequence[str] = ()) -> Outcome:
    """Every `stride`-th moment of both lives; the engine of this checkout runs, `command` only the last life."""
    return _store("R2-store", Play(ALONE, command), stride, seed)


def run_store_mixed(stride: int, seed: int, command: Sequence[str] = ()) -> Outcome:
    """With all three platforms."""
    return _store("R2-store-mixed", Play(ALL, command), stride, seed)


def _wire(name: str, play: Play, stride: int, seed: int) -> Outcome:
    outcome = Outcome(name, 0, seed)
    sums = Sums(outcome)
    begin = time.monotonic()
    first = 1 + random.Random(seed).randrange(stride)
    with scene(play) as at:
        counter = Trap(at.gateway, "", 0)
        at.watch(counter)
        at.gateway.spawn()
        outcome.failures += finish(at, START_S)
    for phase in ("arrived", "processed"):
        outcome.metrics[f"requests_{phase}"] = counter.seen[phase]
        for number in range(first, counter.seen[phase] + 1, stride):
            _wire_point(outcome, sums, phase, number, play)
    outcome.duration_s = time.monotonic() - begin
    return outcome


def _wire_point(outcome: Outcome, sums: Sums, phase: str, number: int, play: Play) -> None:
    with scene(play) as at:
        trap = Trap(at.gateway, phase, number)
        at.watch(trap)
        at.gateway.spawn()
        _let_live(at, trap.sprung.is_set)
        if not trap.sprung.is_set():
            # Requests run side by side, so this life may have needed fewer than the counted one.
            return
        at.watch(None)
        outcome.n += 1
        where = f"{phase} {number}"
        sums.note_kill(at, where)
        sums.last_life(at, where)


def _store(name: str, play: Play, stride: int, seed: int) -> Outcome:
    outcome = Outcome(name, 0, seed)
    sums = Sums(outcome)
    begin = time.monotonic()
    first = 1 + random.Random(seed).randrange(stride)
    for life in ("first", "after a crash"):
        total = _store_point(outcome, sums, life, 0, play)
        outcome.metrics[f"moments_{life.replace(' ', '_')}"] = total
        for moment in range(first, total + 1, stride):
            _store_point(outcome, sums, life, moment, play)
    outcome.duration_s = time.monotonic() - begin
    return outcome


def _store_point(outcome: Outcome, sums: Sums, life: str, moment: int, play: Play) -> int:
    """One point; with moment 0 the life is counted and ends when all is done. How many moments it had."""
    with scene(play) as at:
        where = f"{life} life, moment {moment}"
        if life != "first":
            # Died with a message being sent, one being answered and others waiting.
            trap = Trap(at.gateway, "processed", play.trap)
            at.watch(trap)
            at.gateway.spawn()
            if not trap.sprung.wait(LIFE_S):
                outcome.failures.append(f"{where}: the first life made too few requests")
                return 0
            at.watch(None)
            sums.note_kill(at, where)
        count = _live_with_fuse(at, moment)
        if moment:
            outcome.n += 1
            sums.note_kill(at, where)
            sums.last_life(at, where)
        return count


def _live_with_fuse(at: Stage, moment: int) -> int:
    notes = os.path.join(at.directory, "moments.txt")
    gateway = at.gateway
    usual = (gateway.launcher, gateway.arguments, gateway.environ)
    gateway.launcher = [sys.executable, "-m", "tests.e2e.kill_at"]
    gateway.arguments = [str(moment), notes]
    gateway.environ = {**gateway.environ, "PYTHONPATH": ROOT}
    process = gateway.spawn()
    _let_live(at, lambda: process.poll() is not None)
    gateway.kill()
    gateway.launcher, gateway.arguments, gateway.environ = usual
    with open(notes, encoding="ascii") as file:
        return len(file.readlines())


def _let_live(at: Stage, ended: Callable[[], bool]) -> None:
    """Wait until the life has ended, or all is answered and what follows the last answer is done."""
    end = time.monotonic() + LIFE_S
    while not ended() and time.monotonic() < end:
        if not at.ledger.open():
            end = min(end, time.monotonic() + AFTERMATH_S)
        pause(LOOK_S)
