"""A child process that speaks JSON-RPC 2.0 on its standard streams, one message a line, in both directions.

https://www.jsonrpc.org/specification
"""

from __future__ import annotations

import contextlib
import json
import logging
import signal
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Callable

from loong_channels.waiting import Deadline, StopToken

from .child_process import ChildPipes, Lines, NotStarted, Tail, reap, signal_group, start_child
from .pool import Pool
from .strict_json import read_json
from .threads import ThreadRegistry
from .wording import one_line

__all__ = ["OnNotice", "OnRequest", "PeerFailed", "PeerLimits", "PeerProgram", "StdioPeer"]

logger = logging.getLogger("loong.peer")

METHOD_NOT_FOUND = -32601
INTERNAL_ERROR = -32603
GRACE_S = 2.0
LAST_WORDS_S = 0.3
LAST_READS = 64
# Two faults that may only be how its end is seen first.
CLOSED = ("it closed its output", "it closed its input")
# What a message that nobody asked for weighs at least: a flood of small ones is one, too.
LEAST_WEIGHT = 512
REFILL_S = 16.0


@dataclass(frozen=True)
class PeerProgram:
    """What to start. `env` is all that it is given (`child_environment`), `name` is for threads and logs."""

    name: str
    command: tuple[str, ...]
    cwd: str | None = None
    env: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class PeerLimits:
    """How much of a peer is borne: its longest line, what of its messages may wait, what is kept of its words.

    `waiting_messages` and `waiting_bytes` bound its requests that wait for an answer. `waiting_bytes` also bounds what
    it did not read yet, and what it may say unasked at once, its words to people included;
    of the latter a sixteenth more is free every second.
    `answering` of its requests are answered at a time; with one, they are answered in order. `noise_lines` lines on
    its output that are no messages are borne.
    """

    line_bytes: int = 4 << 20
    waiting_messages: int = 1000
    waiting_bytes: int = 16 << 20
    stderr_bytes: int = 64 << 10
    answering: int = 1
    noise_lines: int = 20


class PeerFailed(Exception):
    """Raised for a request that gave nothing; `str()` is `message`, one line, with the peer's last words to people.

    `kind`: "not_started", "gone" (it ended), "timed_out", "interrupted", "refused" (its own JSON-RPC error, with
    `code`), "invalid" (not the protocol) or "flooded" (more than it may send; it was ended).
    """

    def __init__(self, kind: str, message: str, *, code: int | None = None, last_words: str = "") -> None:
        super().__init__(f"{message}; its last words: {last_words}" if last_words else message)
        self.kind = kind
        self.message = message
        self.code = code
        self.last_words = last_words


# Answers a request of the peer with its result, in a thread of the peer; may block, and may raise PeerFailed of kind
# "refused" with a code. Notices are told in the thread that reads, before whatever the peer sent after them: be quick.
OnRequest = Callable[[str, object], object]
OnNotice = Callable[[str, object], None]


class _Answer:
    """What a request waits for. `document` is the answer once there is one."""

    def __init__(self) -> None:
        self.come = threading.Event()
        self.document: Mapping[str, object] | None = None


class StdioPeer:
    """Thread-safe. `_guard` protects the tables, what waits to be written, and why it ends.

    Thread `peer:NAME` reads, writes and reaps; `peer:NAME-ask-N` is there while the peer's own requests are answered.
    """

    def __init__(
        self,
        program: PeerProgram,
        threads: ThreadRegistry,
        *,
        on_request: OnRequest | None = None,
        on_notice: OnNotice | None = None,
        limits: PeerLimits | None = None,
    ) -> None:
        """Start it. Raises PeerFailed of kind "not_started". Without `on_request` what it asks is refused."""
        self._name = program.name
        self._limits = limits = limits or PeerLimits()
        self._on_request = on_request or _unknown_method
        self._on_notice = on_notice or _ignored
        self._guard = threading.Lock()
        self._waiting: dict[int, _Answer] = {}
        self._asked: set[object] = set()
        self._last_number = 0
        self._outgoing: deque[memoryview] = deque()
        self._outgoing_bytes = 0
        self._verdict: PeerFailed | None = None
        # When which signal is due, once it has to end.
        self._plan: list[tuple[float, signal.Signals]] = []
        self._signalled = False
        self._over = threading.Event()
        self._noise = 0
        self._unasked = _Allowance(limits.waiting_bytes)
        self._answers = Pool(
            f"peer:{program.name}-ask",
            threads,
            threads=limits.answering,
            waiting=limits.waiting_messages,
            weight=limits.waiting_bytes,
        )
        try:
            self._process = start_child(program.command, cwd=program.cwd, env=program.env)
        except NotStarted as error:
            raise PeerFailed("not_started", f"it cannot be started: {error}") from None
        self._lines = Lines(limits.line_bytes)
        self._tail = Tail(limits.stderr_bytes)
        self._pipes = ChildPipes(self._process)
        try:
            threads.spawn(f"peer:{program.name}", self._run)
        except RuntimeError:
            signal_group(self._process, signal.SIGKILL)
            self._process.wait()
            self._pipes.close()
            raise PeerFailed("not_started", "the system gives no more threads") from None

    def request(
        self,
        method: str,
        params: object,
        *,
        deadline: Deadline,
        stop: StopToken,
        on_cancel: Callable[[int], None] | None = None,
    ) -> object:
        """Its result. Blocks; raises PeerFailed.

        When the deadline passes or `stop` is set first, `on_cancel` is called with the number of the request, so that
        the peer can be told; an answer that comes later is dropped.
        """
        answer = _Answer()
        with self._guard:
            self._last_number = number = self._last_number + 1
        line = _line({"id": number, "method": method, "params": params})
        self._put(line, number, answer)
        try:
            with stop.watch(answer.come.set):
                answer.come.wait(deadline.remaining())
        finally:
            with self._guard:
                self._waiting.pop(number, None)
                verdict = self._verdict
        if answer.document is not None:
            return _result(answer.document)
        if verdict is not None and self._over.is_set():
            raise _again(verdict)
        if on_cancel is not None:
            with contextlib.suppress(PeerFailed):
                on_cancel(number)
        if stop.is_set():
            raise PeerFailed("interrupted", "it was stopped")
        raise PeerFailed("timed_out", "it did not answer in time")

    def notify(self, method: str, params: object) -> None:
        """Tell it something; what it can not take any more is dropped. Raises PeerFailed when it is gone."""
        try:
            self._put(_line({"method": method, "params": params}))
        except PeerFailed as failed:
            if failed.kind != "timed_out":
                raise

    def close(self, deadline: Deadline) -> None:
        """End it: close its input, then TERM, then KILL, all of its group; reap it. Blocks; idempotent."""
        grace = min(GRACE_S, deadline.remaining() / 3)
        self._end(PeerFailed("gone", "it was ended"), term_s=grace, kill_s=2 * grace)
        self._over.wait(deadline.remaining())
        self._answers.close(deadline)

    @property
    def alive(self) -> bool:
        """Whether it still runs and can be asked."""
        return self._verdict is None

    @property
    def failure(self) -> PeerFailed | None:
        """Why it ended or is being ended, None while it lives."""
        return self._verdict

    @property
    def pid(self) -> int:
        """The number of its process, and of its group."""
        return self._process.pid

    def stderr_tail(self) -> Sequence[str]:
        """The last lines that it wrote for people, without control characters."""
        return self._tail.lines()

    def _put(self, line: bytes, number: int = 0, answer: _Answer | None = None) -> None:
        """Have a line written soon. Raises PeerFailed; never blocks."""
        with self._guard:
            if self._verdict is not None:
                raise _again(self._verdict)
            if self._outgoing and self._outgoing_bytes + len(line) > self._limits.waiting_bytes:
                raise PeerFailed("timed_out", "it does not read what it is told")
            if answer is not None:
                self._waiting[number] = answer
            self._outgoing.append(memoryview(line))
            self._outgoing_bytes += len(line)
            self._pipes.wake()

    def _end(self, verdict: PeerFailed, *, term_s: float, kill_s: float) -> None:
        """Have it ended; the first reason stays, an earlier end wins."""
        now = time.monotonic()
        plan = [(now + term_s, signal.SIGTERM), (now + kill_s, signal.SIGKILL)]
        with self._guard:
            if self._over.is_set():
                return
            self._verdict = self._verdict or verdict
            if not self._plan or plan[-1][0] < self._plan[-1][0]:
                self._plan = plan
            self._outgoing.clear()
            self._outgoing_bytes = 0
            self._pipes.wake()

    def _run(self) -> None:
        try:
            while not self._pipes.wait(*self._due()):
                self._turn()
            # What it said before it ended still counts; a descendant that left the group may say more for ever.
            for _ in range(LAST_READS):
                if not self._read():
                    break
        finally:
            self._finish()

    def _due(self) -> tuple[float | None, bool]:
        """How long nothing is due, and whether there is something to write."""
        with self._guard:
            wait_s = self._plan[0][0] - time.monotonic() if self._plan else None
            return wait_s, bool(self._outgoing)

    def _turn(self) -> None:
        with self._guard:
            ending = self._verdict is not None
            due = self._plan.pop(0)[1] if self._plan and self._plan[0][0] <= time.monotonic() else None
        if due is not None:
            self._signalled = True
            signal_group(self._process, due)
        if ending:
            self._pipes.close_input()
        else:
            self._write()
        if self._read() is None and not ending:
            # If it is just dying, it says with which code.
            self._end(PeerFailed("gone", CLOSED[0]), term_s=LAST_WORDS_S, kill_s=GRACE_S)

    def _write(self) -> None:
        while True:
            with self._guard:
                if not self._outgoing:
                    return
                line = self._outgoing[0]
            written = self._pipes.write(line)
            if written < 0:
                self._end(PeerFailed("gone", CLOSED[1]), term_s=LAST_WORDS_S, kill_s=GRACE_S)
                return
            with self._guard:
                if self._outgoing:
                    self._outgoing_bytes -= written
                    self._outgoing[0] = line[written:]
                    if written < len(line):
                        return
                    self._outgoing.popleft()

    def _read(self) -> bool | None:
        """Take what is there on both outputs, a piece of each; None after the end of the first, False for nothing."""
        said = self._pipes.read_error()
        self._tail.add(said)
        if said and self._verdict is None:
            self._bear(len(said))
        piece = self._pipes.read()
        if not piece or self._verdict is not None:
            return None if piece is None else bool(piece or said)
        for line in self._lines.add(piece):
            if self._verdict is None:
                self._take(line)
        if self._lines.too_long:
            self._spoilt("invalid", f"it sent a line of more than {self._limits.line_bytes} bytes")
        return True

    def _bear(self, size: int) -> bool:
        """Take note of something that nobody asked for; False when it was too much."""
        if self._unasked.take(max(LEAST_WEIGHT, size)):
            return True
        self._spoilt("flooded", "it sends more than anybody can read")
        return False

    def _spoilt(self, kind: str, message: str) -> None:
        logger.warning("%s is ended: %s", self._name, message)
        self._end(PeerFailed(kind, message), term_s=0, kill_s=GRACE_S / 2)

    def _take(self, line: bytes) -> None:
        document = _message(line)
        if document is None:
            self._take_noise(line)
            return
        method, number = document.get("method"), document.get("id")
        is_notice = "id" not in document
        if isinstance(method, str) and (is_notice or type(number) in (int, str)):
            if self._bear(len(line)) and is_notice:
                _tell(self._on_notice, method, document.get("params"))
            elif self._verdict is None:
                self._take_request(number, method, document.get("params"), len(line))
        elif method is None and type(number) is int and 0 < number <= self._last_number:
            with self._guard:
                answer = self._waiting.pop(number, None)
            if answer is not None:
                answer.document = document
                answer.come.set()
            else:
                self._bear(len(line))
        else:
            self._take_noise(line)

    def _take_noise(self, line: bytes) -> None:
        """Bear a line that is no message: many programs greet on the wrong stream."""
        if not self._bear(len(line)) or not line.strip():
            return
        self._noise += 1
        self._tail.add(line + b"\n")
        if self._noise > self._limits.noise_lines:
            self._spoilt("invalid", "its output is not JSON-RPC")

    def _take_request(self, number: object, method: str, params: object, weight: int) -> None:
        with self._guard:
            again = number in self._asked
            self._asked.add(number)
        if again:
            self._spoilt("invalid", "it used the number of a request twice")
        elif not self._answers.submit(lambda: self._answer(number, method, params), weight=weight):
            self._spoilt("flooded", "it asks more than anybody can answer")

    def _answer(self, number: object, method: str, params: object) -> None:
        """Answer a request of the peer, in a thread of the pool."""
        answer = {"id": number, **_answer_of(self._on_request, method, params)}
        with self._guard:
            self._asked.discard(number)
        try:
            self._put(_line(answer))
        except PeerFailed as failed:
            if failed.kind == "timed_out":
                self._spoilt("flooded", str(failed))

    def _finish(self) -> None:
        """Reap it, say so to whoever waits, give everything back."""
        words = reap(self._process, GRACE_S)
        last = one_line(next((line for line in reversed(self._tail.lines()) if line), ""), 200)
        with self._guard:
            seen = self._verdict
            if seen is None or (str(seen) in CLOSED and not self._signalled):
                seen = PeerFailed("gone", f"it ended with {words}")
            self._verdict = PeerFailed(seen.kind, seen.message, last_words=last)
            self._over.set()
            waiting = list(self._waiting.values())
            self._outgoing.clear()
            self._pipes.close()
        logger.debug("%s is gone (%s)", self._name, words)
        # Nothing waits here: a thread that rests is only told not to.
        self._answers.close(Deadline(0))
        for answer in waiting:
            answer.come.set()


class _Allowance:
    """What may be spent at once; spent, it comes back in `REFILL_S`. For one thread."""

    def __init__(self, most: float) -> None:
        self._most = self._left = most
        self._at = time.monotonic()

    def take(self, amount: float) -> bool:
        now = time.monotonic()
        self._left = min(self._most, self._left + (now - self._at) * self._most / REFILL_S) - amount
        self._at = now
        return self._left >= 0


def _line(message: Mapping[str, object]) -> bytes:
    text = json.dumps({"jsonrpc": "2.0", **message}, separators=(",", ":"), allow_nan=False)
    return text.encode("ascii") + b"\n"


def _message(line: bytes) -> Mapping[str, object] | None:
    """What a line says, None for one that is no message."""
    try:
        document = read_json(line)
    except ValueError:
        return None
    return document if isinstance(document, dict) and document.get("jsonrpc") == "2.0" else None


def _again(verdict: PeerFailed) -> PeerFailed:
    """One of its own for each who asks: an exception collects where it was raised."""
    return PeerFailed(verdict.kind, verdict.message, last_words=verdict.last_words)


def _result(document: Mapping[str, object]) -> object:
    error = document.get("error")
    if "result" in document and error is None:
        return document["result"]
    if not isinstance(error, dict) or "result" in document:
        raise PeerFailed("invalid", "its answer is neither a result nor an error")
    code, message = error.get("code"), error.get("message")
    text = one_line(message) if isinstance(message, str) and message.strip() else "it gives no reason"
    raise PeerFailed("refused", text, code=code if type(code) is int else None)


def _tell(on_notice: OnNotice, method: str, params: object) -> None:
    try:
        on_notice(method, params)
    except Exception:
        # One notice that we cannot take costs nothing else.
        logger.exception("a notice of a peer could not be taken")


def _ignored(_method: str, _params: object) -> None:
    """Nobody listens."""


def _answer_of(on_request: OnRequest, method: str, params: object) -> dict[str, object]:
    try:
        return {"result": on_request(method, params)}
    except PeerFailed as failed:
        return {"error": {"code": failed.code or INTERNAL_ERROR, "message": str(failed)}}
    except Exception:
        # One request that we cannot answer costs nothing else.
        logger.exception("a request of a peer could not be answered")
        return {"error": {"code": INTERNAL_ERROR, "message": "internal error"}}


def _unknown_method(_method: str, _params: object) -> object:
    raise PeerFailed("refused", "method not found", code=METHOD_NOT_FOUND)
