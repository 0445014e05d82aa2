"""kill -9 at every request the daemon makes, one life each: before it is processed, and before it is answered."""

from __future__ import annotations

import contextlib
import random
import tempfile
import threading
import time
from collections.abc import Sequence

from tests.e2e.gateway import Gateway, config_for
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


def answer(messages: Sequence[dict[str, object]]) -> str:
    """A short reply, or one that takes several parts."""
    question = str(messages[-1]["content"])
    if question != f"m{LONG}":
        return f"re: {question}"
    return "\n\n".join(f"re: {question} p{part} {FILLER}" for part in range(1, LONG_PARTS + 1))


class Trap:
    """Kills the daemon at the n-th request of a phase; n 0 only counts."""

    def __init__(self, gateway: Gateway, phase: str, number: int) -> None:
        self._gateway = gateway
        self._phase = phase
        self._left = number
        self._lock = threading.Lock()
        self.seen = 0
        self.sprung = threading.Event()

    def __call__(self, _request: object, phase: str) -> None:
        """One request."""
        with self._lock:
            if phase != self._phase or self.sprung.is_set():
                return
            self.seen += 1
            if self.seen == self._left:
                self._gateway.kill()
                self.sprung.set()


def run(stride: int, seed: int, command: Sequence[str] = ()) -> Outcome:
    """The experiment; every `stride`-th point, beginning at one chosen by the seed."""
    outcome = Outcome("R2-wire", 0, seed)
    begin = time.monotonic()
    first = random.Random(seed).randrange(stride)
    totals: dict[str, int] = {}
    for phase in ("arrived", "processed"):
        count = _point(outcome, phase, 0, command)
        outcome.metrics[f"requests_{phase}"] = count
        for number in range(1 + first, count + 1, stride):
            outcome.n += 1
            _point(outcome, phase, number, command, totals)
    outcome.metrics.update(totals)
    outcome.duration_s = time.monotonic() - begin
    return outcome


def _point(
    outcome: Outcome, phase: str, number: int, command: Sequence[str], totals: dict[str, int] | None = None
) -> int:
    """One life, killed at a point, and one more that puts things right; how many requests the life made."""
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="loong-point-"))
        telegram = stack.enter_context(FakeTelegram())
        model = stack.enter_context(FakeModel(answer=answer))
        config = config_for(telegram, model, chats=set(CHATS), more=MORE)
        gateway = stack.enter_context(Gateway(directory, config, command=command))
        ledger = Ledger(telegram, {LONG: LONG_PARTS})
        trap = Trap(gateway, phase, number)
        telegram.on_request = model.on_request = trap
        for n, chat_id in enumerate(CHATS):
            telegram.say(f"m{n}", chat_id)
        gateway.spawn()
        where = f"{phase} {number}"
        if number:
            if not trap.sprung.wait(LIFE_S):
                # Requests run side by side, so a life may need one fewer than the counted one.
                return trap.seen
            outcome.failures += [
                f"{where}: {one}" for one in ledger.note_kill(look(gateway.store_path).sending)
            ]
            telegram.on_request = model.on_request = None
            gateway.spawn()
        outcome.failures += [f"{where}: {one}" for one in finish(gateway, telegram, ledger, START_S)]
        metrics, failures = ledger.verdict()
        outcome.failures += [f"{where}: {one}" for one in failures]
        for name, value in metrics.items():
            if totals is not None and isinstance(value, int):
                totals[name] = totals.get(name, 0) + value
        return trap.seen
