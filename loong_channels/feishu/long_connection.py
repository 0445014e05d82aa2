"""One life of the long connection, in the thread that calls it: heartbeat, pushes in, acknowledgements out.

A push must be acknowledged within 3 s, and the acknowledgement says that the event is on disk, not that it was
answered. What is not acknowledged, or with code 500, the platform pushes again: after 15 s, 5 min, 1 h and 6 h.
An app may hold several connections; each event goes to one of them. So an old one is replaced by a new one without a
gap: for a moment both are served, in turns, and whatever comes twice is taken once, because the store knows it.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace
from enum import Enum
from typing import Callable, Protocol

from loong_channels.contract import Host
from loong_channels.decoding import load_json
from loong_channels.egress import Egress
from loong_channels.faults import BadCredentials, Conflict, Fault, Unreachable
from loong_channels.text import one_line
from loong_channels.waiting import Deadline, StopToken
from loong_channels.web_socket import HandshakeRefused, WebSocket

from .endpoint import AUTH_FAILED, CONFLICT_S, FORBIDDEN, TOO_MANY_CONNECTIONS, Endpoint, ping_interval_s
from .frames import CONTROL, DATA, Fragments, Frame, FrameInvalid, decode, encode, ping

__all__ = ["FindEndpoint", "LongConnection", "Outcome", "Timing"]

_MAX_MESSAGE_BYTES = 2 << 20
_CONNECT_S = 30.0
_SEND_S = 3.0
_LEAST_LOOK_S = 0.01
_MAX_ID = 64
# While one connection is replaced by another nothing on either may wait longer than the platform does.
_RENEWAL_STEP_S = 2.0
_RENEWAL_LOOK_S = 0.05
_RENEWAL_TURN_S = 0.5
_RENEWAL_RETRY_S = 300.0


class Outcome(Enum):
    """What became of an event. The value is the code of its acknowledgement."""

    TAKEN = 200
    NOT_TAKEN = 500


class FindEndpoint(Protocol):
    """Asks the platform where to connect."""

    def __call__(self, deadline: Deadline, stop: StopToken | None = None) -> Endpoint:
        """A new endpoint, good for one connection. Blocks; raises faults."""


@dataclass(frozen=True)
class Timing:
    """The clock and the times of a connection, in seconds; a test may make them short.

    `clock` returns monotonic seconds. After a ping, silence for `least_patience_s` or a tenth of the ping interval,
    whichever is longer, means that the connection is dead; 3 s were seen to kill healthy ones. `max_age_s`: a
    connection is replaced after so long, because some stay alive and deliver nothing; 0 means never. `look_s` is how
    often the clock is looked at while nothing comes.
    """

    clock: Callable[[], float] = time.monotonic
    least_patience_s: float = 20.0
    max_age_s: float = 21600.0
    look_s: float = 5.0


class LongConnection:
    """Receives until stopped. `run` belongs to one thread; the stop token may be set by any.

    `take` is given the payload of each whole push and its id, and returns when the event is stored or will never be.
    `_guard` protects the list of open connections.
    """

    def __init__(
        self,
        find_endpoint: FindEndpoint,
        egress: Egress,
        host: Host,
        take: Callable[[bytes, str], Outcome],
        *,
        identity: str,
        timing: Timing | None = None,
    ) -> None:
        self._find_endpoint = find_endpoint
        self._egress = egress
        self._host = host
        self._take = take
        self._identity = identity
        self._timing = timing or Timing()
        self._guard = threading.Lock()
        self._open: list[WebSocket] = []
        self._stopped = False

    def run(self, stop: StopToken) -> None:
        """Connect and receive; returns once stopped. Blocks; raises the fault that ended the connection."""
        with stop.watch(self._close_all):
            try:
                self._receive(stop)
            finally:
                self._close_all()

    def _receive(self, stop: StopToken) -> None:
        deadline = Deadline(_CONNECT_S)
        link = self._open_link(self._find_endpoint(deadline, stop), deadline, stop)
        renew_s = self._after(self._timing.max_age_s)
        while not stop.is_set():
            link.step(self._timing.look_s)
            if self._timing.clock() >= renew_s and not link.is_half_way:
                old, link = link, self._renewed(link, stop)
                renew_s = self._after(_RENEWAL_RETRY_S if link is old else self._timing.max_age_s)

    def _after(self, seconds: float) -> float:
        return self._timing.clock() + seconds if self._timing.max_age_s > 0 else float("inf")

    def _open_link(self, endpoint: Endpoint, deadline: Deadline, stop: StopToken) -> _Link:
        try:
            socket = WebSocket.connect(
                self._egress,
                endpoint.url,
                deadline=deadline,
                stop=stop,
                max_message_bytes=_MAX_MESSAGE_BYTES,
            )
        except HandshakeRefused as refusal:
            raise _judged(refusal) from refusal
        with self._guard:
            self._open.append(socket)
            stopped = self._stopped
        if stopped:
            socket.close()
        link = _Link(socket, endpoint, self._host, self._take, self._identity, self._timing)
        link.ping()
        return link

    def _renewed(self, old: _Link, stop: StopToken) -> _Link:
        """A fresh connection in place of an old one, which is ended only when the platform has spoken on the new one.

        Returns the old one where there is no other. Raises faults when both are lost.
        """
        lives = True
        try:
            endpoint = self._find_endpoint(Deadline(_RENEWAL_STEP_S), stop)
            lives = old.catch_up()
            link = self._open_link(endpoint, Deadline(_RENEWAL_STEP_S), stop)
            # What has arrived in part on the old one is waited for, as long as it is worth keeping.
            while not link.is_acknowledged or (lives and old.is_half_way):
                link.step(_RENEWAL_LOOK_S)
                lives = lives and old.catch_up()
        except Fault as fault:
            if not lives or stop.is_set():
                raise
            # The old one may be as good as ever: a renewal is a precaution.
            self._host.note("connection_not_renewed", reason=type(fault).__name__)
            self._keep_only(old)
            return old
        self._keep_only(link)
        return link

    def _keep_only(self, link: _Link) -> None:
        with self._guard:
            others = [socket for socket in self._open if socket is not link.socket]
            self._open = [link.socket]
        for socket in others:
            socket.close()

    def _close_all(self) -> None:
        with self._guard:
            self._stopped = True
            sockets = list(self._open)
        for socket in sockets:
            socket.close()


class _Link:
    """One WebSocket with its heartbeat and what is half received on it. Used by one thread."""

    def __init__(
        self,
        socket: WebSocket,
        endpoint: Endpoint,
        host: Host,
        take: Callable[[bytes, str], Outcome],
        identity: str,
        timing: Timing,
    ) -> None:
        self.socket = socket
        self._service = endpoint.service_id
        self._ping_interval_s = endpoint.ping_interval_s
        self._host = host
        self._take = take
        self._identity = identity
        self._timing = timing
        self._fragments = Fragments(timing.clock, self._lost)
        self._pinged_s = timing.clock()
        # The platform has spoken on it, so it takes us for connected.
        self.is_acknowledged = False
        # When a frame must have come at the latest; None while no ping is unanswered.
        self._silent_until_s: float | None = None

    @property
    def is_half_way(self) -> bool:
        """Whether a push has arrived in part."""
        return self._fragments.waiting > 0

    def ping(self) -> None:
        """Send a heartbeat. Blocks for 3 s at most; raises faults."""
        self._pinged_s = self._timing.clock()
        self.socket.send(encode(ping(self._service)), deadline=Deadline(_SEND_S))
        if self._silent_until_s is None:
            patience_s = max(self._timing.least_patience_s, self._ping_interval_s / 10)
            self._silent_until_s = self._pinged_s + patience_s

    def step(self, look_s: float) -> bool:
        """Do what is due and wait for one frame; True when one came. Blocks for `look_s` and a commit.

        Raises faults when the connection is over.
        """
        now_s = self._timing.clock()
        due_s = self._pinged_s + self._ping_interval_s
        is_silent = self._silent_until_s is not None and now_s >= self._silent_until_s
        if now_s >= due_s and not is_silent:
            self.ping()
            return False
        # An answer may have come while we were kept from looking.
        message = self.socket.receive(
            _LEAST_LOOK_S if is_silent else max(_LEAST_LOOK_S, min(look_s, due_s - now_s))
        )
        if message is not None:
            self._heard(message)
            return True
        self._fragments.forget()
        if is_silent:
            raise Unreachable("the long connection is silent: a ping was not answered", maybe_processed=True)
        return False

    def catch_up(self) -> bool:
        """Handle what has arrived on a connection that is being replaced; False when it has ended.

        Blocks for half a second at most, and a commit.
        """
        deadline = Deadline(_RENEWAL_TURN_S)
        try:
            while self.step(_RENEWAL_LOOK_S) and not deadline.expired:
                pass
        except Fault as fault:
            # What was not acknowledged on it comes again.
            self._host.note("old_connection_ended", reason=type(fault).__name__)
            return False
        return True

    def _heard(self, message: str | bytes) -> None:
        self._silent_until_s = None
        self._host.heard()
        try:
            self._handle(message)
        except FrameInvalid as error:
            self._host.note("frame_ignored", reason=error)
        self._host.caught_up()

    def _handle(self, message: str | bytes) -> None:
        if isinstance(message, str):
            raise FrameInvalid("text")
        frame = decode(message)
        # The first one usually answers the first ping.
        self.is_acknowledged = True
        self._host.ready(self._identity)
        kind = frame.header("type")
        if frame.method == CONTROL:
            if kind == "pong":
                self._reconfigure(frame.payload)
        elif frame.method == DATA and kind == "event":
            self._push(frame)
        elif frame.method == DATA and kind == "card":
            # A click on a card of the old kind; we send none, so there is nothing to say to it.
            if self._fragments.add(frame) is not None:
                self._acknowledge(frame, Outcome.TAKEN, 0.0)
        else:
            raise FrameInvalid("unknown method or type")

    def _push(self, frame: Frame) -> None:
        payload = self._fragments.add(frame)
        if payload is None:
            return
        started_s = time.monotonic()
        outcome = self._take(payload, _id_of(frame))
        self._acknowledge(frame, outcome, time.monotonic() - started_s)

    def _lost(self, push: str, came: int, pieces: int) -> None:
        self._host.note("push_incomplete", push=one_line(push, _MAX_ID), pieces=f"{came}/{pieces}")

    def _acknowledge(self, frame: Frame, outcome: Outcome, seconds: float) -> None:
        """Send the frame back, as it came but for the payload; it may only travel on the connection that it came by."""
        headers = (*frame.headers, ("biz_rt", str(int(seconds * 1000))))
        answer = replace(frame, headers=headers, payload=b'{"code":%d}' % outcome.value)
        self.socket.send(encode(answer), deadline=Deadline(_SEND_S))

    def _reconfigure(self, payload: bytes | None) -> None:
        if not payload:
            return
        try:
            self._ping_interval_s = ping_interval_s(load_json(payload), self._ping_interval_s)
        except ValueError:
            raise FrameInvalid("a pong that cannot be read") from None


def _id_of(frame: Frame) -> str:
    """What a push is known by in logs: the id of its event, else its own."""
    return one_line(frame.header("trace_id") or frame.header("message_id") or "", _MAX_ID)


def _judged(refusal: HandshakeRefused) -> Fault:
    """The fault for a refused handshake, whose headers say why; without them it may be anything on the way."""
    status = refusal.headers.get("handshake-status", "").strip()
    code = refusal.headers.get("handshake-autherrcode", "").strip()
    if status == str(AUTH_FAILED) and code == str(TOO_MANY_CONNECTIONS):
        return Conflict("the app has too many long connections", retry_after_s=CONFLICT_S)
    if status == str(FORBIDDEN):
        return BadCredentials("the platform refuses the long connection: it is not enabled for the app")
    return refusal
