"""kill -9 at random moments under steady load, over and over on one home."""

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
from tests.waiting import wait_until

from .ledger import Ledger
from .report import Outcome
from .store_view import is_settled, look

CHATS = 6
EVERY_S = 0.03
MODEL_S = 0.04
SEND_S = 0.015
LONGEST_LIFE_S = 1.5
START_S = 20.0
DRAIN_S = 90.0
# Longer than any pause of a daemon that still works on what it has.
QUIET_S = 20.0
# The breaker would rightly hold the channels back after some of these lives.
MORE = "[gateway]\ncrash_loop_boots = 0\n"


class Load(threading.Thread):
    """Writes numbered messages to the chats in turn until `end` is called."""

    def __init__(self, telegram: FakeTelegram) -> None:
        super().__init__(name="load", daemon=True)
        self._telegram = telegram
        self._over = threading.Event()

    def run(self) -> None:
        """Write at a steady pace."""
        number = 0
        while not self._over.wait(EVERY_S):
            self._telegram.say(f"m{number}", 1001 + number % CHATS)
            number += 1

    def end(self) -> None:
        """Write no more."""
        self._over.set()
        self.join()


def run(kills: int, seed: int, command: Sequence[str] = ()) -> Outcome:
    """The experiment. `command` runs loong, default: the checkout."""
    outcome = Outcome("R1", kills, seed)
    chance = random.Random(seed)
    begin = time.monotonic()
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="loong-kills-"))
        telegram = stack.enter_context(FakeTelegram())
        model = stack.enter_context(FakeModel(delay_s=MODEL_S))
        config = config_for(telegram, model, chats=range(1001, 1001 + CHATS), more=MORE)
        gateway = stack.enter_context(Gateway(directory, config, command=command))
        _experiment(outcome, chance, gateway, telegram)
    outcome.duration_s = time.monotonic() - begin
    return outcome


def _experiment(outcome: Outcome, chance: random.Random, gateway: Gateway, telegram: FakeTelegram) -> None:
    ledger = Ledger(telegram)
    load = Load(telegram)
    load.start()
    polls: list[float] = []
    answers: list[float] = []
    for turn in range(outcome.n):
        _slow_sends(chance, telegram)
        _live(gateway, telegram, chance.uniform(0.0, LONGEST_LIFE_S), polls, answers)
        if gateway.process is not None and gateway.process.poll() is not None:
            ended = gateway.process.returncode
            outcome.failures.append(f"life {turn} ended by itself with {ended}: {gateway.output()[-500:]}")
            break
        gateway.kill()
        view = look(gateway.store_path)
        if not view.sound:
            outcome.failures.append(f"the store is damaged after kill {turn}")
        outcome.failures += ledger.note_kill(view.sending)
    load.end()
    telegram.clear_faults()
    _drain(outcome, gateway, telegram, ledger)
    metrics, failures = ledger.verdict()
    outcome.failures += failures
    outcome.metrics.update(metrics)
    outcome.metrics["lives_that_polled"] = len(polls)
    outcome.metrics.update(_spread("first_poll_s", polls))
    outcome.metrics.update(_spread("first_answer_s", answers))


def _spread(name: str, values: list[float]) -> dict[str, float]:
    values.sort()
    if not values:
        return {}
    p99 = values[min(len(values) - 1, int(len(values) * 0.99))]
    return {f"{name}_p50": round(values[len(values) // 2], 3), f"{name}_p99": round(p99, 3)}


def _slow_sends(chance: random.Random, telegram: FakeTelegram) -> None:
    """In some lives the platform takes its time, before it takes the message or before it says so."""
    telegram.clear_faults()
    kind = chance.choice(("", "delay", "hold"))
    if kind:
        telegram.fault("sendMessage", kind, times=None, seconds=SEND_S)


def _live(
    gateway: Gateway, telegram: FakeTelegram, life_s: float, polls: list[float], answers: list[float]
) -> None:
    """Start the daemon and let it live; notes how long its first poll and its first answer took, if it got so far."""
    polls_before = len(telegram.calls("getUpdates"))
    answers_before = len(telegram.messages)
    begin = time.monotonic()
    process = gateway.spawn()
    # Two thirds of the lives are counted from the first poll, so that most kills hit a daemon at work.
    if life_s > LONGEST_LIFE_S / 3:
        telegram.wait_for(
            lambda: len(telegram.calls("getUpdates")) > polls_before or process.poll() is not None, START_S
        )
        life_s -= LONGEST_LIFE_S / 3
    threading.Event().wait(life_s)
    polls += [request.at - begin for request in telegram.calls("getUpdates")[polls_before:][:1]]
    answers += [sent.at - begin for sent in telegram.messages[answers_before:][:1]]


def _drain(outcome: Outcome, gateway: Gateway, telegram: FakeTelegram, ledger: Ledger) -> None:
    """One last life, in which everything must be answered."""
    begin = time.monotonic()
    gateway.spawn()
    outcome.failures += finish(gateway, telegram, ledger, DRAIN_S)
    outcome.metrics["drained_s"] = round(time.monotonic() - begin, 2)


def finish(gateway: Gateway, telegram: FakeTelegram, ledger: Ledger, timeout_s: float) -> list[str]:
    """Let the running daemon answer everything and stop it as an operator does; what went wrong."""
    end = quiet_end = time.monotonic() + timeout_s
    seen = -1
    while ledger.open() and time.monotonic() < min(end, quiet_end):
        if len(telegram.messages) != seen:
            seen = len(telegram.messages)
            quiet_end = time.monotonic() + QUIET_S
        telegram.wait_count(seen + 1, 0.5)
    try:
        gateway.wait_ready(START_S)
        wait_until(lambda: is_settled(gateway.store_path), START_S, "an empty inbox and outbox")
        code = gateway.stop()
    except AssertionError as error:
        return [str(error)[:1500]]
    failures = [] if code == 0 else [f"the last stop ended with {code}"]
    view = look(gateway.store_path)
    left = {f"inbox {state}": n for state, n in view.inbox.items() if state != "done"}
    left.update({f"outbox {state}": n for state, n in view.outbox.items() if state != "sent"})
    if left:
        failures.append(f"rows left at the end: {left}")
    return failures
