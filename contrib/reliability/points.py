"""kill -9 at every point of a short life, once each, and one more life that must put things right.

R2-wire: at every request the daemon makes, before it is processed and before it is answered.
R2-store: before and after every change of the store, in a first life and in the one after a crash.
"""

from __future__ import annotations

import contextlib
import os
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Callable

from tests.e2e.gateway import ROOT, Gateway, config_for
from tests.fakes.model import FakeModel
from tests.fakes.telegram import FakeTelegram

from .kills import MORE, START_S, finish
from .ledger import Ledger
from .report import Outcome
from .store_view import look

LONG = 3
LONG_PARTS = 3
FILLER = "word " * 600
CHATS = (1001, 1001, 1001, 1002, 1003)
LIFE_S = 30.0
AFTERMATH_S = 0.5


def answer(messages: Sequence[dict[str, object]]) -> str:
    """A short reply, or one that takes several parts."""
    question = str(messages[-1]["content"])
    if question != f"m{LONG}":
        return f"re: {question}"
    return "\n\n".join(f"re: {question} p{part} {FILLER}" for part in range(1, LONG_PARTS + 1))


@dataclass
class Scene:
    """A fresh home with five messages waiting for it."""

    directory: str
    telegram: FakeTelegram
    model: FakeModel
    gateway: Gateway
    ledger: Ledger


@contextlib.contextmanager
def scene(command: Sequence[str]) -> Iterator[Scene]:
    """Set the scene and clear it away."""
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="loong-point-"))
        telegram = stack.enter_context(FakeTelegram())
        model = stack.enter_context(FakeModel(answer=answer))
        config = config_for(telegram, model, chats=set(CHATS), more=MORE)
        gateway = stack.enter_context(Gateway(directory, config, command=command))
        for n, chat_id in enumerate(CHATS):
            telegram.say(f"m{n}", chat_id)
        yield Scene(directory, telegram, model, gateway, Ledger(telegram, {LONG: LONG_PARTS}))


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

    def note_kill(self, at: Scene, where: str) -> None:
        """Look into the store after a kill."""
        view = look(at.gateway.store_path)
        found = at.ledger.note_kill(view.sending) + ([] if view.sound else ["the store is damaged"])
        self._outcome.failures += [f"{where}: {one}" for one in found]

    def last_life(self, at: Scene, where: str) -> None:
        """Start once more and hold everything against the promise."""
        at.gateway.spawn()
        found = finish(at.gateway, at.telegram, at.ledger, START_S)
        metrics, failures = at.ledger.verdict()
        self._outcome.failures += [f"{where}: {one}" for one in found + failures]
        for name, value in metrics.items():
            if isinstance(value, int):
                self._totals[name] = self._totals.get(name, 0) + value
        self._outcome.metrics.update(self._totals)


def run_wire(stride: int, seed: int, command: Sequence[str] = ()) -> Outcome:
    """Every `stride`-th request, beginning at one chosen by the seed."""
    outcome = Outcome("R2-wire", 0, seed)
    sums = Sums(outcome)
    begin = time.monotonic()
    first = 1 + random.Random(seed).randrange(stride)
    with scene(command) as at:
        counter = Trap(at.gateway, "", 0)
        at.telegram.on_request = at.model.on_request = counter
        at.gateway.spawn()
        outcome.failures += finish(at.gateway, at.telegram, at.ledger, START_S)
    for phase in ("arrived", "processed"):
        outcome.metrics[f"requests_{phase}"] = counter.seen[phase]
        for number in range(first, counter.seen[phase] + 1, stride):
            _wire_point(outcome, sums, phase, number, command)
    outcome.duration_s = time.monotonic() - begin
    return outcome


def _wire_point(outcome: Outcome, sums: Sums, phase: str, number: int, command: Sequence[str]) -> None:
    with scene(command) as at:
        trap = Trap(at.gateway, phase, number)
        at.telegram.on_request = at.model.on_request = trap
        at.gateway.spawn()
        _let_live(at, trap.sprung.is_set)
        if not trap.sprung.is_set():
            # Requests run side by side, so this life may have needed fewer than the counted one.
            return
        at.telegram.on_request = at.model.on_request = None
        outcome.n += 1
        where = f"{phase} {number}"
        sums.note_kill(at, where)
        sums.last_life(at, where)


def run_store(stride: int, seed: int, command: Sequence[str] = ()) -> Outcome:
    """Every `stride`-th moment of both lives; the engine of this checkout runs, `command` only the last life."""
    outcome = Outcome("R2-store", 0, seed)
    sums = Sums(outcome)
    begin = time.monotonic()
    first = 1 + random.Random(seed).randrange(stride)
    for life in ("first", "after a crash"):
        total = _store_point(outcome, sums, life, 0, command)
        outcome.metrics[f"moments_{life.replace(' ', '_')}"] = total
        for moment in range(first, total + 1, stride):
            _store_point(outcome, sums, life, moment, command)
    outcome.duration_s = time.monotonic() - begin
    return outcome


def _store_point(outcome: Outcome, sums: Sums, life: str, moment: int, command: Sequence[str]) -> int:
    """One point; with moment 0 the life is counted and ends when all is done. How many moments it had."""
    with scene(command) as at:
        where = f"{life} life, moment {moment}"
        if life != "first":
            # Died with a message being sent, one being answered and others waiting.
            trap = Trap(at.gateway, "processed", 6)
            at.telegram.on_request = trap
            at.gateway.spawn()
            if not trap.sprung.wait(LIFE_S):
                outcome.failures.append(f"{where}: the first life made too few requests")
                return 0
            at.telegram.on_request = None
            sums.note_kill(at, where)
        count = _live_with_fuse(at, moment)
        if moment:
            outcome.n += 1
            sums.note_kill(at, where)
            sums.last_life(at, where)
        return count


def _live_with_fuse(at: Scene, moment: int) -> int:
    notes = os.path.join(at.directory, "moments.txt")
    gateway = at.gateway
    usual = (gateway.command, gateway.arguments, gateway.environ)
    gateway.command = [sys.executable, "-m", "tests.e2e.kill_at"]
    gateway.arguments = [str(moment), notes]
    gateway.environ = {**gateway.environ, "PYTHONPATH": ROOT}
    process = gateway.spawn()
    _let_live(at, lambda: process.poll() is not None)
    gateway.kill()
    gateway.command, gateway.arguments, gateway.environ = usual
    with open(notes, encoding="ascii") as file:
        return len(file.readlines())


def _let_live(at: Scene, ended: Callable[[], bool]) -> None:
    """Wait until the life has ended, or all is answered and what follows the last answer is done."""
    end = time.monotonic() + LIFE_S
    while not ended() and time.monotonic() < end:
        if not at.ledger.open():
            end = min(end, time.monotonic() + AFTERMATH_S)
        at.telegram.wait_count(len(at.telegram.messages) + 1, 0.05)
