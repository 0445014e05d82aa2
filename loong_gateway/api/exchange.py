"""One connection from its first byte to its close: reads requests, checks them in order, answers. Runs in `http:<n>`.

The order of the checks is fixed: syntax, where the request comes from, route and method, credential, media type,
size, body. Nothing before the credential allocates or waits for what an unknown peer announces.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Callable, Union

from loong_channels.contract import MAX_WEBHOOK_BYTES, WebhookRequest
from loong_channels.waiting import Deadline, StopToken
from loong_gateway.messaging.webhooks import Webhooks

from .answers import Answer, StreamedAnswer, refusal_answer, render, render_head
from .auth import Auth, bearer
from .body import BodyReader
from .connections import Connection, ConnectionTable
from .guards import Guards
from .http_request import HeadReader, Limits, Refusal, RequestHead
from .peers import Peer
from .router import Request, Route, Router, Takeover
from .wire import PeerGone, TooSlow, Wire

__all__ = ["Exchange", "Rules"]

logger = logging.getLogger("loong.http")

ANSWER_S = 10.0
# A platform sends its few bytes at once; whoever takes longer is somebody else.
WEBHOOK_BODY_S = 5.0


_AnyAnswer = Union[Answer, StreamedAnswer]


@dataclass(frozen=True)
class Rules:
    """Everything the connections of one listener share. `scrub` takes secrets out of what is sent."""

    router: Router
    guards: Guards
    auth: Auth
    limits: Limits
    header_s: float
    body_s: float
    keepalive_s: float
    stop: StopToken
    webhooks: Webhooks
    scrub: Callable[[str], str] = str


class Exchange:
    """Serves one connection. Used by one thread. Also what a taken-over connection is known by (see Session)."""

    def __init__(self, connection: Connection, table: ConnectionTable, rules: Rules) -> None:
        self.wire = Wire(connection.socket)
        self.peer: Peer = connection.peer
        self.stop = rules.stop
        self._connection = connection
        self._table = table
        self._rules = rules
        self.head: RequestHead

    def serve(self) -> None:
        """Answer requests until one side ends the connection; closes it in the end. Blocks."""
        try:
            first = True
            while self._serve_one(first=first):
                first = False
            self._table.enter(self._connection, "closing")
            self.wire.finish()
        except (PeerGone, TooSlow):
            # The peer left or dawdles over an answer: nobody is there to be told.
            pass
        finally:
            self._table.remove(self._connection)

    def authenticated(self) -> bool:
        """Count this connection as one of a client that proved who it is; False when there are too many."""
        if not self._table.promote(self._connection):
            return False
        self._table.enter(self._connection, "busy")
        return True

    def _serve_one(self, *, first: bool) -> bool:
        """One request and its answer; True when another may follow."""
        try:
            head = self._read_head(first=first)
        except Refusal as refusal:
            self._refuse(refusal, None)
            return False
        if head is None:
            return False
        self.head = head
        self._table.enter(self._connection, "busy")
        try:
            answer = self._answer(head)
        except Refusal as refusal:
            self._refuse(refusal, head)
            return False
        if answer is None:
            return False
        if isinstance(answer, StreamedAnswer):
            try:
                self._stream(answer, head)
            finally:
                answer.over()
            return False
        close = answer.close or not head.keeps_alive or self._table.closed
        self._send(answer, close=close, head=head)
        if not close:
            self._table.enter(self._connection, "waiting")
        return not close

    def _read_head(self, *, first: bool) -> RequestHead | None:
        """The next head; None when the connection ends instead. Raises Refusal, 408 once a head has begun."""
        reader = HeadReader(self._rules.limits)
        deadline = Deadline(self._rules.header_s if first else self._rules.keepalive_s)
        try:
            while True:
                data = self.wire.receive(deadline)
                if not first and not reader.begun:
                    deadline = Deadline(self._rules.header_s)
                head = reader.feed(data)
                if head is not None:
                    self.wire.unread(reader.rest)
                    return head
        except TooSlow:
            if reader.begun:
                raise Refusal(408, "head_timeout") from None
            return None

    def _answer(self, head: RequestHead) -> _AnyAnswer | None:
        rules = self._rules
        if rules.webhooks.has(head.path) and not rules.router.knows(head.path):
            return self._deliver(head)
        if rules.router.is_empty:
            raise Refusal(404, "not_found")
        probe = rules.router.probes(head.path)
        rules.guards.check(head, self.peer, self._connection.local_address, probe=probe)
        takeover = rules.router.takeover(head)
        if takeover is not None:
            self._take_over(takeover, head)
            return None
        if head.method != "POST" and head.has_body:
            raise Refusal(400, "body_not_allowed")
        if head.method == "OPTIONS":
            return self._options(head)
        route = rules.router.find(head)
        if route is None:
            raise Refusal(405, "method_not_allowed")
        if route.authorize is not None:
            refused = route.authorize(head, self.peer, self.stop)
            if refused is not None:
                # Its body was not read, and must not be taken for the next request.
                return replace(refused, close=True)
            self._count_as_client()
            authenticated = True
        else:
            authenticated = self._authenticate(head, route)
        body = self._read_body(head, route)
        request = Request(
            head,
            self.peer,
            body,
            authenticated,
            tail=head.path[len(route.path) + 1 :],
            gone=self.wire.gone,
            stop=self.stop,
        )
        return self._run(head, lambda: route.handler(request))

    def _deliver(self, head: RequestHead) -> _AnyAnswer:
        """A platform's call. It comes from anywhere and through any proxy: what tells it is its signature."""
        body = b""
        if head.method == "POST":
            # Nobody has proven anything yet, so it gives way to newcomers until it is whole.
            self._table.enter(self._connection, "waiting")
            body = self._receive_body(head, MAX_WEBHOOK_BYTES, Deadline(WEBHOOK_BODY_S))
            self._table.enter(self._connection, "busy")
        # Copies of a field that may not be repeated make a value that nobody has signed.
        fields = {name: ", ".join(v for other, v in head.fields if other == name) for name, _ in head.fields}
        request = WebhookRequest(head.method, fields, body)
        return self._run(head, lambda: self._taken(request, head))

    def _taken(self, request: WebhookRequest, head: RequestHead) -> Answer:
        answer = self._rules.webhooks.answer(head.path, request)
        # A body that was not asked for is still on its way.
        close = head.method != "POST" and head.has_body
        return Answer(answer.status, answer.body, headers=answer.fields, close=close)

    def _options(self, head: RequestHead) -> Answer:
        if head.path != "*":
            self._rules.router.find(head)
        return Answer(204, headers=(("Allow", self._rules.router.allowed(head.path)),))

    def _take_over(self, takeover: Takeover, head: RequestHead) -> None:
        if head.has_body:
            raise Refusal(400, "body_not_allowed")
        self._table.enter(self._connection, "waiting")
        takeover.serve(self)

    def _authenticate(self, head: RequestHead, route: Route) -> bool:
        """True when a credential was proven, False where none is needed. Raises Refusal. May block, see Auth."""
        field = head.get("authorization")
        if route.access == "open" or (route.access == "optional" and field is None):
            return False
        verdict = self._rules.auth.judge(bearer(field), self.peer, stop=self.stop)
        if verdict.outcome == "locked":
            raise Refusal(429, "rate_limited", retry_after_s=verdict.retry_after_s)
        if verdict.outcome != "ok":
            raise Refusal(401, "unauthorized")
        self._count_as_client()
        return True

    def _count_as_client(self) -> None:
        if not self.authenticated():
            raise Refusal(503, "too_many_connections", retry_after_s=1)

    def _read_body(self, head: RequestHead, route: Route) -> bytes:
        if head.method == "POST":
            media_type = head.get("content-type")
            if media_type is None and not head.has_body:
                return b""
            # Anything but JSON is what a form on a foreign page can send without asking first.
            if media_type is None or media_type.partition(";")[0].strip().lower() != "application/json":
                raise Refusal(415, "unsupported_media_type")
        return self._receive_body(head, route.body_bytes, Deadline(self._rules.body_s))

    def _receive_body(self, head: RequestHead, limit_bytes: int, deadline: Deadline) -> bytes:
        reader = BodyReader(head, limit_bytes=limit_bytes)
        if reader.complete:
            return b""
        if head.minor == 1 and head.get("expect") is not None and not self.wire.pending:
            self.wire.send(b"HTTP/1.1 100 Continue\r\n\r\n", deadline)
        try:
            while not reader.feed(self.wire.receive(deadline)):
                pass
        except TooSlow:
            raise Refusal(408, "body_timeout") from None
        self.wire.unread(reader.rest)
        return reader.body

    def _run(self, head: RequestHead, handler: Callable[[], _AnyAnswer]) -> _AnyAnswer:
        try:
            return handler()
        except Refusal:
            raise
        except Exception:
            # A bug in one route answers one request with 500 and ends nothing else.
            logger.exception("handler of %s %s failed", head.method, head.path)
            raise Refusal(500, "internal") from None

    def _refuse(self, refusal: Refusal, head: RequestHead | None) -> None:
        shape, allow = "control", ""
        if head is not None:
            shape = self._rules.router.shape(head.path)
            allow = self._rules.router.allowed(head.path) if refusal.status == 405 else ""
        if refusal.status != 404:
            logger.info("refused with %d %s: %s", refusal.status, refusal.code, self.peer.address)
        self._send(refusal_answer(refusal, shape=shape, allow=allow), close=True, head=head)

    def _stream(self, answer: StreamedAnswer, head: RequestHead) -> None:
        """Send a body that grows. Whatever cuts it short leaves the last chunk out, so that the client can tell."""
        chunked = head.minor == 1
        self.wire.send(render_head(answer, chunked=chunked), Deadline(ANSWER_S))
        if head.method == "HEAD":
            return
        try:
            answer.body(_Body(self.wire, chunked=chunked))
        except (PeerGone, TooSlow):
            raise
        except Exception:
            # A bug in one stream ends one connection.
            logger.exception("the answer to %s %s broke off", head.method, head.path)
            raise PeerGone from None
        if chunked:
            self.wire.send(b"0\r\n\r\n", Deadline(ANSWER_S))

    def _send(self, answer: Answer, *, close: bool, head: RequestHead | None) -> None:
        if answer.status >= 400:
            text = self._rules.scrub(answer.body.decode("utf-8"))
            answer = Answer(answer.status, text.encode("utf-8"), answer.content_type, answer.headers)
        head_only = head is not None and head.method == "HEAD"
        self.wire.send(render(answer, close=close, head_only=head_only), Deadline(ANSWER_S))


class _Body:
    """See answers.BodyStream."""

    def __init__(self, wire: Wire, *, chunked: bool) -> None:
        self._wire = wire
        self._chunked = chunked

    def write(self, data: bytes) -> None:
        """Send a piece; an empty one would be the end."""
        if data:
            framed = b"%x\r\n%s\r\n" % (len(data), data) if self._chunked else data
            self._wire.send(framed, Deadline(ANSWER_S))
