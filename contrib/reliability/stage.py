"""A home between platforms and a model, and the way every experiment ends: everything answered, a clean stop."""

from __future__ import annotations

import contextlib
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Callable

from tests.e2e.gateway import ROOT, Gateway, config_for
from tests.fakes.model import FakeModel
from tests.waiting import wait_until

from .ledger import Ledger
from .platforms import Platform, opened
from .store_view import look, unsettled

__all__ = ["START_S", "Stage", "finish", "pause", "quick_launcher", "staged"]

START_S = 20.0
# Longer than any pause of a daemon that still works on what it has.
QUIET_S = 20.0
LOOK_S = 0.01
# The breaker would rightly hold the channels back after some of these lives.
MORE = "[gateway]\ncrash_loop_boots = 0\n"


@dataclass
class Stage:
    """Everything that takes part."""

    directory: str
    platforms: list[Platform]
    model: FakeModel
    gateway: Gateway
    ledger: Ledger

    def watch(self, hook: Callable[[object, str], None] | None) -> None:
        """Call the hook with everything that the daemon sends to anybody."""
        for platform in self.platforms:
            platform.watch(hook)
        self.model.on_request = hook

    def note_kill(self) -> list[str]:
        """Look into the store of the dead daemon and account for it; what must not be."""
        view = look(self.gateway.store_path)
        return self.ledger.note_kill(view) + ([] if view.sound else ["the store is damaged"])


@contextlib.contextmanager
def staged(
    names: Sequence[str],
    *,
    command: Sequence[str] = (),
    parts: dict[int, int] | None = None,
    wecom_replaces: bool = False,
    speed: float | None = None,
    prepare: Callable[[Platform], None] | None = None,
    more: str = MORE,
    **model: Any,
) -> Iterator[Stage]:
    """Set everything up, nothing started yet.

    `parts` is of Ledger, `model` of FakeModel. With `speed` the daemon lives in quick time. `prepare` may change a
    platform before its configuration is written; `more` are further tables of that.
    """
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="loong-reliability-"))
        platforms = stack.enter_context(opened(names, wecom_replaces=wecom_replaces, speed=speed or 1.0))
        double = stack.enter_context(FakeModel(**model))
        for platform in platforms:
            if prepare is not None:
                prepare(platform)
        config = config_for(None, double) + "".join(platform.config() for platform in platforms) + more
        environ = {name: value for platform in platforms for name, value in platform.environ().items()}
        launcher = [] if speed is None else quick_launcher(speed)
        gateway = stack.enter_context(
            Gateway(
                directory,
                config,
                command=command,
                launcher=launcher,
                environ={**environ, "PYTHONPATH": ROOT} if launcher else environ,
            )
        )
        yield Stage(directory, platforms, double, gateway, Ledger(platforms, parts))


def quick_launcher(speed: float, *, ahead_s: float = 0.0, jump_s: float = 0.0) -> list[str]:
    """What runs the daemon of this checkout in quick time."""
    times = [f"{value:g}" for value in (speed, ahead_s, jump_s)]
    return [sys.executable, "-m", "tests.e2e.quick_time", *times]


def pause(seconds: float) -> None:
    """Let time pass."""
    threading.Event().wait(seconds)


def finish(stage: Stage, timeout_s: float) -> list[str]:
    """Let the running daemon answer everything and stop it as an operator does; what went wrong."""
    gateway, ledger = stage.gateway, stage.ledger
    end = quiet_end = time.monotonic() + timeout_s
    seen = -1
    while ledger.open() and time.monotonic() < min(end, quiet_end):
        count = ledger.count()
        if count != seen:
            seen, quiet_end = count, time.monotonic() + QUIET_S
        pause(LOOK_S)
    try:
        gateway.wait_ready(START_S)
        wait_until(lambda: not unsettled(gateway.store_path), START_S, "an empty inbox and outbox")
        code = gateway.stop()
    except AssertionError as error:
        return [f"{error}; unsettled: {unsettled(gateway.store_path)}"[:1500]]
    failures = [] if code == 0 else [f"the last stop ended with {code}"]
    view = look(gateway.store_path)
    left = {f"inbox {state}": n for state, n in view.inbox.items() if state != "done"}
    left.update({f"outbox {state}": n for state, n in view.outbox.items() if state != "sent"})
    if left:
        failures.append(f"rows left at the end: {left}")
    return failures
