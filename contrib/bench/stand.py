"""The stand: both doubles as processes of their own, and the subject under test between them."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from tests.e2e.gateway import Gateway, config_for
from tests.fakes.process import Remote

TOKEN = "123456789:AAExampleExampleExampleExampleExamp"
KEY = "sk-test-0123456789abcdef"
FIRST_CHAT = 1001
CHATS = range(FIRST_CHAT, FIRST_CHAT + 200)
START_S = 30.0
NUMBER = re.compile(r"m(\d+)$")


class Subject(Protocol):
    """What is measured."""

    name: str

    @property
    def pid(self) -> int:
        """Its process."""

    def spawn(self) -> None:
        """Start and do not wait."""

    def wait_ready(self) -> None:
        """Wait until it serves."""

    def kill(self) -> None:
        """kill -9."""

    def close(self) -> None:
        """End for good."""


class Floor:
    """The polling loop of floor.py."""

    name = "floor"

    def __init__(self, telegram: Remote, model: Remote, python: str) -> None:
        here = os.path.dirname(os.path.abspath(__file__))
        self._telegram = telegram
        targets = [f"127.0.0.1:{telegram.port}", TOKEN, f"127.0.0.1:{model.port}", KEY]
        self._command = [python, os.path.join(here, "floor.py"), *targets]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None
        return self._process.pid

    def spawn(self) -> None:
        """Start and do not wait."""
        self._process = subprocess.Popen(self._command, stderr=subprocess.DEVNULL)

    def wait_ready(self) -> None:
        """The loop serves as soon as it polls."""
        wait_polls(self._telegram, 1)

    def kill(self) -> None:
        """kill -9."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def close(self) -> None:
        """End for good."""
        self.kill()


class Loong:
    """The daemon, in a home of its own."""

    name = "loong"

    def __init__(self, telegram: Remote, model: Remote, script: str) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="loong-bench-")
        config = config_for(telegram, f"{model.base_url}/v1", chats=CHATS)
        self.gateway = Gateway(self._directory.name, config, command=[script])

    @property
    def pid(self) -> int:
        """Its process."""
        return self.gateway.pid

    def spawn(self) -> None:
        """Start and do not wait."""
        self.gateway.spawn()

    def wait_ready(self) -> None:
        """Wait until the status says ready."""
        self.gateway.wait_ready(START_S)

    def kill(self) -> None:
        """kill -9."""
        self.gateway.kill()

    def close(self) -> None:
        """End for good."""
        self.gateway.close()
        self._directory.cleanup()


@dataclass
class Stand:
    """One subject between fresh doubles."""

    telegram: Remote
    model: Remote
    subject: Subject


@contextlib.contextmanager
def stand(name: str, script: str, python: str, *, delay_ms: float = 0, start: bool = True) -> Iterator[Stand]:
    """A stand for "loong" or "floor"; with `start` the subject serves already."""
    with contextlib.ExitStack() as stack:
        telegram = stack.enter_context(Remote("tests.fakes.telegram", "--batch-wait-ms", "0"))
        model = stack.enter_context(Remote("tests.fakes.model", "--delay-ms", str(delay_ms)))
        subject: Subject = (
            Floor(telegram, model, python) if name == "floor" else Loong(telegram, model, script)
        )
        stack.callback(subject.close)
        if start:
            subject.spawn()
            subject.wait_ready()
            wait_polls(telegram, 1)
        yield Stand(telegram, model, subject)


def wait_polls(telegram: Remote, count: int) -> None:
    """Wait until that many polls reached the platform."""
    end = time.monotonic() + START_S
    while telegram.ask("state")["polls"] < count:
        if time.monotonic() > end:
            raise RuntimeError("the subject does not poll")
        time.sleep(0.02)


def warm_up(at: Stand, chats: int) -> None:
    """One message in each chat, answered, so that connections and code are warm; the record is emptied."""
    at.telegram.ask(
        "pace", count=chats, interval_ms=0, chats=chats, first_chat_id=FIRST_CHAT, start=1_000_000
    )
    answered = at.telegram.ask("wait_count", count=chats, timeout=60)
    if answered < chats:
        raise RuntimeError(f"{at.subject.name}: {answered} of {chats} messages of the warm-up answered")
    at.telegram.ask("reset_record")


@dataclass
class Fate:
    """What became of a run's messages. Latencies in milliseconds, from the writing to the reply at the platform."""

    asked: int
    answered: int
    lost: int
    twice: int
    chats_out_of_order: int
    latencies_ms: list[float]
    first_at: float
    last_at: float
    chat_of: dict[int, int]
    latency_of: dict[int, float]


def fate(state: dict[str, Any]) -> Fate:
    """Match replies "re: m<n>" with the messages "m<n>"."""
    asked_at = {int(one["text"][1:]): one["at"] for one in state["injected"]}
    chat_of = {int(one["text"][1:]): one["chat_id"] for one in state["injected"]}
    replies: dict[int, list[float]] = defaultdict(list)
    order: dict[int, list[int]] = defaultdict(list)
    last = 0.0
    for sent in state["messages"]:
        match = NUMBER.search(sent["text"])
        if match is None or int(match.group(1)) not in asked_at:
            continue
        number = int(match.group(1))
        replies[number].append(sent["at"])
        last = max(last, sent["at"])
        if len(replies[number]) == 1:
            order[sent["chat_id"]].append(number)
    latency_of = {number: (times[0] - asked_at[number]) * 1000 for number, times in replies.items()}
    return Fate(
        asked=len(asked_at),
        answered=len(replies),
        lost=len(asked_at) - len(replies),
        twice=sum(len(times) - 1 for times in replies.values()),
        chats_out_of_order=sum(numbers != sorted(numbers) for numbers in order.values()),
        latencies_ms=sorted(latency_of.values()),
        first_at=min(asked_at.values(), default=0.0),
        last_at=last,
        chat_of=chat_of,
        latency_of=latency_of,
    )


def percentile(values: list[float], share: float) -> float:
    """The value below which that share of the sorted values lies."""
    return values[min(len(values) - 1, int(len(values) * share))] if values else float("nan")


def host() -> dict[str, object]:
    """Where the figures come from."""
    system = os.uname()
    return {
        "python": ".".join(map(str, sys.version_info[:3])),
        "cores": os.cpu_count(),
        "system": f"{system.sysname} {system.release} {system.machine}",
    }
