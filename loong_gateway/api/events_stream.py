"""Events as they happen, over plain HTTP: one server-sent event each, for clients without a WebSocket.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import json
import threading
from collections import deque

from loong_gateway.base.bus import KEPT, Bus, Numbered, StaleCursor
from loong_gateway.control import ControlPlane

from .answers import Answer, BodyStream, StreamedAnswer, error_answer
from .fields import BadFields
from .query import query_number, query_of
from .router import Request, Route

__all__ = ["events_routes"]

USUAL = 50
KEEPALIVE_S = 10.0
MOST_FOLLOWERS = 32
LARGEST_SEQ = 10**15


def events_routes(control: ControlPlane, *, keepalive_s: float = KEEPALIVE_S) -> list[Route]:
    """The stream. Every `keepalive_s` without an event the client is looked after."""
    events = _Events(control.bus, keepalive_s)
    return [Route("GET", "/v1/events", events.follow)]


class _Events:
    """Counts who follows, with `_guard`. Thread-safe."""

    def __init__(self, bus: Bus, keepalive_s: float) -> None:
        self._bus = bus
        self._keepalive_s = keepalive_s
        self._guard = threading.Lock()
        self._followers = 0

    def follow(self, request: Request) -> Answer | StreamedAnswer:
        """The events after a cursor, or the last ones, and then those that happen until the client leaves."""
        try:
            after, limit = _cursor(request)
        except BadFields as error:
            return error_answer(400, "invalid_request", str(error))
        if after is not None:
            try:
                self._bus.since(after)
            except StaleCursor:
                return self._stale()
        if request.head.method == "HEAD":
            return Answer(200, content_type="text/event-stream; charset=utf-8")
        if not self._admit():
            answer = error_answer(503, "busy", "too many clients follow the events")
            return Answer(503, answer.body, headers=(("Retry-After", "5"),))

        def body(stream: BodyStream) -> None:
            _Follower(self._bus, after, limit).run(stream, request, self._keepalive_s)

        return StreamedAnswer(200, "text/event-stream; charset=utf-8", body, over=self._leave)

    def _admit(self) -> bool:
        with self._guard:
            if self._followers >= MOST_FOLLOWERS:
                return False
            self._followers += 1
            return True

    def _leave(self) -> None:
        with self._guard:
            self._followers -= 1

    def _stale(self) -> Answer:
        message = "these events are not kept any more; read the state anew, then follow without a cursor"
        return error_answer(409, "stale_cursor", message, details={"last_seq": self._bus.last_seq})


def _cursor(request: Request) -> tuple[int | None, int]:
    given = query_of(request.head.query, ("after_seq", "limit"))
    limit = query_number(given, "limit", minimum=1, maximum=KEPT, default=USUAL)
    after = query_number(given, "after_seq", minimum=0, maximum=LARGEST_SEQ)
    # What a client sends by itself when it connects again; it is later than the address it began with.
    last = request.head.get("last-event-id")
    if last:
        name = "Last-Event-ID"
        after = query_number({name: last}, name, minimum=0, maximum=LARGEST_SEQ)
    return after, limit or USUAL


class _Follower:
    """One client. The publisher only appends to `_waiting`; who does not keep up is cut: nobody waits for it."""

    def __init__(self, bus: Bus, after: int | None, limit: int) -> None:
        self._bus = bus
        self._changed = threading.Condition()
        self._waiting: deque[Numbered] = deque()
        self._late = False
        self._after = after
        self._limit = limit

    def run(self, stream: BodyStream, request: Request, keepalive_s: float) -> None:
        """Write until the client has left, does not keep up, or the port stops. Blocks."""
        leave = self._bus.listen(self._heard)
        try:
            with request.stop.watch(self._look):
                sent = self._send_past(stream)
                while not (request.stop.is_set() or self._late or request.gone()):
                    events = self._next(request, keepalive_s)
                    if not events:
                        stream.write(b":\n\n")
                    for event in events:
                        # It may have been published between the listening and the look at the past.
                        if event.seq > sent:
                            stream.write(_text(event))
                            sent = event.seq
        finally:
            leave()

    def _send_past(self, stream: BodyStream) -> int:
        """Send what was before, and return the number of the last event that the client has then."""
        try:
            past = self._bus.newest(self._limit) if self._after is None else self._bus.since(self._after)
        except StaleCursor:
            # It fell out of what is kept this moment: the connection ends, and the next cursor is refused.
            self._late = True
            return 0
        # A comment at once: a client takes the stream for open when something has come.
        stream.write(b": events\n\n" + b"".join(_text(event) for event in past))
        return past[-1].seq if past else self._after or 0

    def _heard(self, event: Numbered) -> None:
        # What is not kept has no number: it would break the count of a client that comes back.
        if event.seq == 0:
            return
        with self._changed:
            if len(self._waiting) >= KEPT:
                self._late = True
            else:
                self._waiting.append(event)
            self._changed.notify_all()

    def _look(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _next(self, request: Request, keepalive_s: float) -> list[Numbered]:
        """What has been published meanwhile; nothing after a while without anything."""
        with self._changed:
            self._changed.wait_for(
                lambda: bool(self._waiting) or self._late or request.stop.is_set(), keepalive_s
            )
            events = list(self._waiting)
            self._waiting.clear()
            return events


def _text(numbered: Numbered) -> bytes:
    event = numbered.event
    document = {"seq": numbered.seq, "event": event.name, "at_ms": numbered.at_ms, "payload": event.payload}
    data = json.dumps(document, separators=(",", ":"))
    return f"id: {numbered.seq}\nevent: {event.name}\ndata: {data}\n\n".encode("ascii")
