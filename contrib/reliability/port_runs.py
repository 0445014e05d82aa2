"""kill -9 at random moments while clients of the port start durable runs and call hooks, over and over on one home.

In a third of the lives a client asks for a restart before, so that the kill meets its drain or its successor.

A run is acknowledged when `accepted` has been read, a hook when its 200 has been. What was not answered is asked for
again under the same key, as a client does that was cut off.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Callable

from contrib.port_client import PortClient, PortGone

from .report import Outcome
from .stage import START_S, Stage, pause, staged

TOKEN = "reliability-port-0001"
HOOK_TOKEN = "reliability-hook-0001"
MODEL_S = 0.04
EVERY_S = 0.02
LONGEST_LIFE_S = 1.5
CONNECT_EVERY_S = 0.03
SETTLE_S = 20.0
# How many lives have a restart in them, when it is asked for, and how much longer such a life may be.
WITH_RESTART = 1 / 3
RESTART_AFTER_S = 0.6
RESTART_TAKES_S = 1.0
SESSIONS = 3
MOST_HISTORY = 1000
NUMBER = re.compile(r"m(\d+)$")
CONFIG = f"""
[gateway]
crash_loop_boots = 0
[gateway.auth]
mode = "token"
token = "{TOKEN}"
[hooks]
enabled = true
token = "{HOOK_TOKEN}"
allowRequestSessionKey = true
"""


@dataclass
class Asked:
    """One run by its number. `run_id` is what it was acknowledged as; `settled` once its result was seen."""

    number: int
    session: str
    is_hook: bool
    text: str
    acknowledged: bool = False
    run_id: str = ""
    settled: bool = False

    @property
    def key(self) -> str:
        """Its idempotency key."""
        return f"key-{self.number}"


@dataclass
class Book:
    """Everything that was asked for, by number; shared by the askers and the experiment.

    `text` makes the question with a number, which must end with "m<number>"; `every_s` is how often one is asked.
    """

    text: Callable[[int], str] = "m{}".format
    every_s: float = EVERY_S
    asked: dict[int, Asked] = field(default_factory=dict)
    repeated: int = 0
    failures: list[str] = field(default_factory=list)
    guard: threading.Lock = field(default_factory=threading.Lock)

    def new(self, life: int, *, is_hook: bool) -> Asked:
        """The next run."""
        with self.guard:
            number = len(self.asked)
            kind = "hooks" if is_hook else "port"
            one = Asked(number, f"{kind}-{life}-{number % SESSIONS}", is_hook, self.text(number))
            self.asked[number] = one
        return one

    def take(self, one: Asked, run_id: str) -> None:
        """It was acknowledged."""
        with self.guard:
            one.acknowledged, one.run_id = True, run_id

    def unanswered(self, *, is_hook: bool) -> list[Asked]:
        """What was asked for and not acknowledged."""
        with self.guard:
            found = [one for one in self.asked.values() if one.is_hook == is_hook and not one.acknowledged]
            self.repeated += len(found)
        return found

    def open(self) -> list[Asked]:
        """What was acknowledged, and its result not seen yet."""
        with self.guard:
            return [one for one in self.asked.values() if one.acknowledged and not one.settled]

    def fail(self, what: str) -> None:
        """Something that must not be."""
        with self.guard:
            self.failures.append(what[:300])


class Asker(threading.Thread):
    """Asks on one connection for as long as one life lasts: what is unanswered, then new runs at a steady pace."""

    def __init__(self, port: int, book: Book, life: int, *, is_hook: bool) -> None:
        super().__init__(name=f"asker:{'hooks' if is_hook else 'port'}", daemon=True)
        self._port = port
        self._book = book
        self._life = life
        self._is_hook = is_hook
        self.over = threading.Event()

    def run(self) -> None:
        """Until the life is over."""
        waiting = self._book.unanswered(is_hook=self._is_hook)
        while not self.over.is_set():
            try:
                if self._is_hook:
                    self._call_hooks(waiting)
                else:
                    self._talk(waiting)
            except (OSError, PortGone, http.client.HTTPException, ValueError):
                self.over.wait(CONNECT_EVERY_S)

    def _next(self, waiting: list[Asked]) -> Asked:
        return waiting[0] if waiting else self._book.new(self._life, is_hook=self._is_hook)

    def _talk(self, waiting: list[Asked]) -> None:
        client = PortClient(self._port, TOKEN)
        try:
            while not self.over.is_set():
                one = self._next(waiting)
                if one not in waiting:
                    waiting.append(one)
                answer = client.ask("agent", params_of(one))
                client.frames.clear()
                status = (answer.get("payload") or {}).get("status")
                if status in ("accepted", "in_flight", "ok"):
                    self._book.take(one, answer["payload"]["runId"])
                    waiting.remove(one)
                elif answer.get("error", {}).get("code") != "UNAVAILABLE" or status == "error":
                    self._book.fail(f"agent {one.key}: {answer}")
                    waiting.remove(one)
                self.over.wait(self._book.every_s)
        finally:
            client.close()

    def _call_hooks(self, waiting: list[Asked]) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=START_S)
        try:
            while not self.over.is_set():
                one = self._next(waiting)
                if one not in waiting:
                    waiting.append(one)
                body = {"message": one.text, "sessionKey": one.session, "idempotencyKey": one.key}
                head = {"Authorization": f"Bearer {HOOK_TOKEN}", "Content-Type": "application/json"}
                connection.request("POST", "/hooks/agent", json.dumps(body), head)
                answer = connection.getresponse()
                found = answer.read()
                if answer.status == 200:
                    self._book.take(one, json.loads(found)["runId"])
                    waiting.remove(one)
                elif answer.status != 503:
                    self._book.fail(f"hook {one.key}: {answer.status} {found[:120]!r}")
                    waiting.remove(one)
                self.over.wait(self._book.every_s)
        finally:
            connection.close()


def params_of(one: Asked) -> dict[str, Any]:
    """The parameters of `agent`."""
    return {"message": one.text, "sessionKey": one.session, "idempotencyKey": one.key, "timeout": 60}


def run(kills: int, seed: int, command: Sequence[str] = ()) -> Outcome:
    """`command` runs loong, default: the checkout."""
    outcome = Outcome("R1-port", kills, seed)
    chance = random.Random(seed)
    begin = time.monotonic()
    book = Book()
    with staged((), command=command, delay_s=MODEL_S, more=CONFIG) as stage:
        at_kills = 0
        for life in range(kills):
            life_s, restart_s = lengths(chance)
            live(stage, book, life, life_s, restart_s)
            if stage.gateway.process is not None and stage.gateway.process.poll() is not None:
                outcome.failures.append(f"life {life} ended by itself: {stage.gateway.output()[-500:]}")
                break
            stage.gateway.kill()
            at_kills += len(book.open())
        restarts = stage.gateway.output().count(" stopped after ")
        stage.gateway.start(timeout=START_S)
        settle(stage, book)
        judge(outcome, stage, book, kills)
        code = stage.gateway.stop()
        if code != 0:
            outcome.failures.append(f"the last stop ended with {code}")
    outcome.metrics["restarts"] = restarts
    outcome.metrics["acknowledged_and_not_looked_at_at_kills"] = at_kills
    outcome.failures += book.failures
    outcome.duration_s = time.monotonic() - begin
    return outcome


def lengths(chance: random.Random) -> tuple[float, float | None]:
    """How long a life is to be, and when it is asked for a restart, if at all."""
    life_s = chance.uniform(0.0, LONGEST_LIFE_S)
    if chance.random() < WITH_RESTART:
        return life_s + RESTART_TAKES_S, chance.uniform(0.0, RESTART_AFTER_S)
    return life_s, None


def live(stage: Stage, book: Book, life: int, life_s: float, restart_s: float | None = None) -> None:
    """Start the daemon and let it live; two thirds of the lives are counted from when the port answers.

    `restart_s` is when it is to become another process, if at all.
    """
    port = stage.gateway.port
    begin = time.monotonic()
    process = stage.gateway.spawn()
    counts_later = life_s > LONGEST_LIFE_S / 3
    askers = [Asker(port, book, life, is_hook=is_hook) for is_hook in (False, True)]
    over = askers[0].over
    others = [threading.Thread(target=_look, args=(port, book, over), name="looker", daemon=True)]
    if restart_s is not None:
        arguments = (port, restart_s, over)
        others.append(threading.Thread(target=_restart, args=arguments, name="restarter", daemon=True))
    for thread in (*askers, *others):
        thread.start()
    if counts_later:
        known = len(book.asked)
        while len(book.asked) == known and process.poll() is None and time.monotonic() < begin + START_S:
            pause(CONNECT_EVERY_S)
        begin, life_s = time.monotonic(), life_s - LONGEST_LIFE_S / 3
    while time.monotonic() < begin + life_s and process.poll() is None:
        pause(CONNECT_EVERY_S)
    is_alive = process.poll() is None
    if is_alive:
        process.kill()
        process.wait()
        # An end that the experiment brought about is none that the daemon did by itself.
        stage.gateway.process = None
    for asker in askers:
        asker.over.set()
    for thread in (*askers, *others):
        thread.join(START_S)


def _restart(port: int, after_s: float, over: threading.Event) -> None:
    """Ask for a restart, so long after the port lets somebody in."""
    while not over.is_set():
        try:
            client = PortClient(port, TOKEN)
        except PortGone:
            over.wait(CONNECT_EVERY_S)
            continue
        over.wait(after_s)
        with contextlib.suppress(PortGone):
            client.ask("gateway.restart.request", {"reason": "the experiment"})
        client.close()
        return


def _look(port: int, book: Book, over: threading.Event) -> None:
    """Ask for the results of what the lives before have acknowledged; an unknown one is asked for once more."""
    while not over.is_set():
        client = None
        try:
            client = PortClient(port, TOKEN)
            for one in book.open():
                if over.is_set():
                    return
                look_at(client, book, one, wait_ms=3000)
            over.wait(CONNECT_EVERY_S)
        except PortGone:
            over.wait(CONNECT_EVERY_S)
        finally:
            if client is not None:
                client.close()


def look_at(client: PortClient, book: Book, one: Asked, wait_ms: int) -> None:
    """Wait for its end, then ask for it again and compare. Raises PortGone."""
    answer = client.ask("agent.wait", {"runId": one.run_id, "timeoutMs": wait_ms})
    status = (answer.get("payload") or {}).get("status")
    if status == "error":
        book.fail(f"{one.key} ended badly: {answer}")
        one.settled = True
    if status != "ok":
        return
    if not one.is_hook:
        again = client.ask("agent", params_of(one))
        if (again.get("error") or {}).get("code") == "UNAVAILABLE":
            # A gateway that ends starts nothing and says so, whatever it knows; the next one is asked.
            return
        payload = again.get("payload") or {}
        texts = [part.get("text") for part in (payload.get("result") or {}).get("payloads") or []]
        if payload.get("status") != "ok" or texts != [f"re: {one.text}"]:
            book.fail(f"{one.key} asked again: {str(again)[:200]}")
    one.settled = True


def settle(stage: Stage, book: Book) -> None:
    """In the last life, everything is asked for until it is acknowledged and its result seen."""
    askers = [Asker(stage.gateway.port, book, -1, is_hook=is_hook) for is_hook in (False, True)]
    for asker in askers:
        asker.start()
    end = time.monotonic() + SETTLE_S
    while time.monotonic() < end and any(not one.acknowledged for one in list(book.asked.values())):
        pause(CONNECT_EVERY_S)
        if time.monotonic() > end - SETTLE_S + 2:
            break
    for asker in askers:
        asker.over.set()
        asker.join(START_S)
    client = PortClient(stage.gateway.port, TOKEN)
    while book.open() and time.monotonic() < end:
        for one in book.open():
            if time.monotonic() < end:
                look_at(client, book, one, wait_ms=500)
                client.frames.clear()
    client.close()


def judge(outcome: Outcome, stage: Stage, book: Book, least: int) -> None:
    """Hold the transcripts against the book, which must have as many runs at `least`."""
    client = PortClient(stage.gateway.port, TOKEN)
    said: Counter[tuple[str, int]] = Counter()
    asked = list(book.asked.values())
    for session in sorted({one.session for one in asked}):
        answer = client.ask("chat.history", {"sessionKey": session, "limit": MOST_HISTORY})
        client.frames.clear()
        for message in (answer.get("payload") or {}).get("messages", ()):
            match = NUMBER.search(text_of(message))
            if match is not None:
                said[message["role"], int(match.group(1))] += 1
    client.close()
    acknowledged = [one for one in asked if one.acknowledged]
    lost = [
        one.number
        for one in acknowledged
        if not said["user", one.number] or not said["assistant", one.number]
    ]
    twice = [one.number for one in asked if max(said["user", one.number], said["assistant", one.number]) > 1]
    unfound = [one.number for one in acknowledged if not one.settled]
    for what, found in (("lost", lost), ("twice", twice), ("no result", unfound)):
        if found:
            outcome.failures.append(f"{what}: {len(found)}, such as {found[:8]}")
    if len(acknowledged) < least:
        outcome.failures.append(f"only {len(acknowledged)} runs were acknowledged")
    outcome.metrics.update(
        {
            "asked": len(asked),
            "acknowledged": len(acknowledged),
            "hooks": sum(one.is_hook for one in acknowledged),
            "asked_again": book.repeated,
            "lost": len(lost),
            "twice": len(twice),
            "without_a_result": len(unfound),
            "model_calls": len(stage.model.calls),
        }
    )


def text_of(message: dict[str, Any]) -> str:
    """The text of a message of a transcript."""
    content = message.get("content")
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content or ())
