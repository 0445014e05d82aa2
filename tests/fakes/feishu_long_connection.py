"""A double of Feishu's long-connection server: tickets, heartbeats, pushes until acknowledged, and every way to break.

It uses a codec of its own (feishu_wire). The REST side of the double, if there is one, answers
`POST /callback/ws/endpoint` with what `endpoint_answer` returns; tests without it call that directly.
"""

from __future__ import annotations

import itertools
import json
import socket
import struct
import threading
import time
import urllib.parse
import uuid
from dataclasses import dataclass, field
from typing import Any, Callable

from .feishu_wire import pack, unpack
from .web_socket_server import ServerConnection, WebSocketServer

ACK_LIMIT_S = 3.0
WAIT_S = 10.0


@dataclass
class Push:
    """An event on its way. `codes` are those of its acknowledgements, `took_s` how long each took; `late` counts the
    ones after 3 s."""

    event_id: str
    payload: bytes
    pieces: int = 1
    order: list[int] | None = None
    headers: list[tuple[str, str]] = field(default_factory=list)
    kind: str = "event"
    pushed: int = 0
    codes: list[int] = field(default_factory=list)
    acks: list[dict[str, Any]] = field(default_factory=list)
    took_s: list[float] = field(default_factory=list)
    late: int = 0


@dataclass
class Link:
    """One connection of the client. `open_pushes` holds (push, sent frames by seq, time) by push id."""

    connection: ServerConnection
    service: int
    device: str
    open_pushes: dict[str, tuple[Push, dict[int, dict[str, Any]], float]] = field(default_factory=dict)
    pings: list[float] = field(default_factory=list)
    alive: bool = True


class FakeLongConnection:
    """Serves one app. Use as a context manager. Everything may be called from any thread.

    `config` is the ClientConfig; `pong` the payload of pongs (None: empty), `pongs` False makes it silent.
    `complaints` lists what no client may do.
    """

    max_connections = 50

    def __init__(self, app_id: str = "cli_a1b2c3", app_secret: str = "s3cr3t-of-the-app") -> None:
        self.app_id = app_id
        self.app_secret = app_secret
        self.config: dict[str, object] = {
            "ReconnectCount": -1,
            "ReconnectInterval": 120,
            "ReconnectNonce": 30,
            "PingInterval": 120,
        }
        self.pong: bytes | None = None
        self.pongs = True
        # Where clients are sent, when that is not the server itself but a line to it.
        self.public_port: int | None = None
        # Called with each frame of a client and "arrived" (nothing done yet) or "processed" (nothing answered yet).
        self.on_frame: Callable[[object, str], None] | None = None
        self.changed = threading.Condition()
        self.links: list[Link] = []
        self.complaints: list[str] = []
        self.endpoint_requests = 0
        self.connected = 0
        self._endpoint_answers: list[tuple[int, object]] = []
        self._tickets: dict[str, tuple[int, str]] = {}
        self._services = itertools.count(33554678)
        self._numbers = itertools.count(1)
        self.server = WebSocketServer(self._serve)

    def __enter__(self) -> FakeLongConnection:
        self.server.__enter__()
        return self

    def __exit__(self, *details: object) -> None:
        self.server.__exit__(*details)

    # --- the endpoint request

    def answer_next_endpoint(self, body: object, status: int = 200, *, times: int = 1) -> None:
        """The next endpoint requests get this instead of an endpoint."""
        with self.changed:
            self._endpoint_answers += [(status, body)] * times

    def endpoint_answer(self, request: object) -> tuple[int, object]:
        """(HTTP status, JSON body) for the decoded body of an endpoint request."""
        with self.changed:
            self.endpoint_requests += 1
            self.changed.notify_all()
            if self._endpoint_answers:
                return self._endpoint_answers.pop(0)
            if not isinstance(request, dict) or set(request) != {"AppID", "AppSecret"}:
                self.complaints.append(f"a malformed endpoint request: {sorted(request)}")  # type: ignore[call-overload]
                return 400, {"code": 1000040345, "msg": "bad request"}
            if (request["AppID"], request["AppSecret"]) != (self.app_id, self.app_secret):
                return 200, {"code": 514, "msg": "auth failed"}
            if len(self.alive) >= self.max_connections:
                return 200, {"code": 1000040350, "msg": "connection limit exceeded"}
            ticket, device, service = uuid.uuid4().hex, str(uuid.uuid4().int)[:19], next(self._services)
            self._tickets[ticket] = (service, device)
            query = urllib.parse.urlencode(
                {
                    "fpid": 493,
                    "aid": 552564,
                    "device_id": device,
                    "access_key": "ak-" + ticket[:8],
                    "service_id": service,
                    "ticket": ticket,
                }
            )
            url = f"ws://127.0.0.1:{self.public_port or self.server.port}/ws/v2?{query}"
            return 200, {"code": 0, "msg": "", "data": {"URL": url, "ClientConfig": dict(self.config)}}

    # --- what the platform does

    @property
    def alive(self) -> list[Link]:
        """The open connections, oldest first."""
        return [link for link in self.links if link.alive]

    def push(self, event: object, *, link: Link | None = None, wait: bool = True, **details: Any) -> Push:
        """Push an event to the newest connection; `details` are the fields of Push. Waits for it unless told not to."""
        payload = event if isinstance(event, bytes) else json.dumps(event, ensure_ascii=False).encode()
        event_id = ""
        if isinstance(event, dict):
            event_id = str(event.get("header", {}).get("event_id", ""))
        one = Push(event_id, payload, **details)
        self.push_again(one, link=link)
        if wait:
            self.wait_for(lambda: one.codes)
        return one

    def push_again(self, one: Push, *, link: Link | None = None, only: list[int] | None = None) -> None:
        """(Re)deliver: a new push id, the same event. `only` limits the pieces that are sent."""
        link = link or self.link()
        push_id = str(uuid.uuid4())
        cut = [len(one.payload) * n // one.pieces for n in range(one.pieces + 1)]
        frames: dict[int, dict[str, Any]] = {}
        with self.changed:
            one.pushed += 1
            for seq in range(one.pieces):
                number = next(self._numbers)
                frames[seq] = {
                    "seq_id": number,
                    "log_id": (1 << 64) - number,
                    "service": link.service,
                    "method": 1,
                    "headers": [
                        ("type", one.kind),
                        ("message_id", push_id),
                        ("sum", str(one.pieces)),
                        ("seq", str(seq)),
                        ("trace_id", one.event_id),
                        *one.headers,
                    ],
                    "payload": one.payload[cut[seq] : cut[seq + 1]],
                    "log_id_new": f"log-{number}",
                }
            link.open_pushes[push_id] = (one, frames, time.monotonic())
        for seq in one.order or range(one.pieces):
            if only is None or seq in only:
                link.connection.send(pack(frames[seq]))

    def redeliver(self, *, link: Link | None = None) -> int:
        """Push everything again that was not acknowledged with 200; how many that were."""
        with self.changed:
            waiting = [one for other in self.links for one, _, _ in other.open_pushes.values()]
            for other in self.links:
                other.open_pushes.clear()
            again = {id(one): one for one in waiting if 200 not in one.codes}
        for one in again.values():
            self.push_again(one, link=link)
        return len(again)

    def send_raw(self, data: str | bytes) -> None:
        """Send any message on the newest connection."""
        self.link().connection.send(data)

    def send_pong(self, payload: bytes | None) -> None:
        """A pong without a ping, which may carry a ClientConfig."""
        link = self.link()
        link.connection.send(self._control("pong", link.service, payload))

    def cut(self, *, reset: bool = False) -> None:
        """End the newest connection without a close frame, with FIN or with RST."""
        sock = self.link().connection.sock
        if reset:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # Only the thread that reads can close: the system waits for whoever is within a call.
        sock.shutdown(socket.SHUT_RD)

    def link(self) -> Link:
        """The newest open connection; waits for it."""
        self.wait_for(lambda: self.alive)
        with self.changed:
            return self.alive[-1]

    def wait_for(self, condition: Callable[[], Any], timeout: float = WAIT_S) -> Any:
        """Wait until `condition()` holds, looked at whenever something happened."""
        with self.changed:
            assert self.changed.wait_for(condition, timeout), (self.complaints, len(self.links))
            return condition()

    # --- the server

    def _serve(self, connection: ServerConnection) -> None:
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(connection.path).query)
        ticket = (query.get("ticket") or [""])[0]
        with self.changed:
            # A ticket is good for one connection.
            known = self._tickets.pop(ticket, None)
            if known is None:
                self.complaints.append("a connection without a good ticket")
                self.changed.notify_all()
                connection.close(1008, "bad ticket")
                return
            link = Link(connection, *known)
            self.links.append(link)
            self.connected += 1
            self.changed.notify_all()
        try:
            while link.alive:
                message = connection.receive(60.0)
                if message is None:
                    return
                if self.on_frame is not None:
                    self.on_frame(message, "arrived")
                with self.changed:
                    self._take(link, message)
                    self.changed.notify_all()
                if self.on_frame is not None:
                    self.on_frame(message, "processed")
        finally:
            with self.changed:
                link.alive = False
                self.changed.notify_all()

    def _take(self, link: Link, message: str | bytes) -> None:
        if isinstance(message, str):
            self.complaints.append("a text message")
            return
        try:
            frame = unpack(message)
        except ValueError as error:
            self.complaints.append(f"a bad frame: {error}")
            return
        if frame["service"] != link.service:
            self.complaints.append("a frame of another service")
        if frame["method"] == 0:
            self._take_ping(link, frame)
        elif frame["method"] == 1:
            self._take_ack(link, frame)
        else:
            self.complaints.append(f"method {frame['method']}")

    def _take_ping(self, link: Link, frame: dict[str, Any]) -> None:
        if frame["headers"] != [("type", "ping")] or "payload" in frame or frame["seq_id"] or frame["log_id"]:
            self.complaints.append("a control frame that is no plain ping")
        link.pings.append(time.monotonic())
        if self.pongs:
            link.connection.send(self._control("pong", link.service, self.pong))

    def _take_ack(self, link: Link, frame: dict[str, Any]) -> None:
        headers = dict(frame["headers"])
        known = link.open_pushes.get(headers.get("message_id", ""))
        if known is None:
            self.complaints.append("an acknowledgement of nothing that is open on this connection")
            return
        one, frames, sent_s = known
        sent = next((f for f in frames.values() if f["seq_id"] == frame["seq_id"]), None)
        answer = json.loads(frame["payload"])
        # A handler that failed has no time that counts: the platform's own client leaves it out then.
        took = headers.get("biz_rt", "" if answer["code"] == 200 else "0")
        if sent is None or not took.isdecimal():
            self.complaints.append("an acknowledgement without a known SeqID or a numeric biz_rt")
            return
        echo = {name: value for name, value in frame.items() if name != "payload"}
        expected = {name: value for name, value in sent.items() if name != "payload"}
        expected["headers"] = [*sent["headers"], *([("biz_rt", took)] if "biz_rt" in headers else [])]
        if echo != expected:
            self.complaints.append(f"an acknowledgement that is no echo: {echo} for {expected}")
        if set(answer) - {"code", "data", "headers"}:
            self.complaints.append(f"an acknowledgement with {sorted(answer)}")
        one.took_s.append(time.monotonic() - sent_s)
        one.late += one.took_s[-1] > ACK_LIMIT_S
        one.codes.append(answer["code"])
        one.acks.append(frame)
        if answer["code"] == 200:
            del link.open_pushes[headers["message_id"]]

    @staticmethod
    def _control(kind: str, service: int, payload: bytes | None) -> bytes:
        frame: dict[str, Any] = {"service": service, "method": 0, "headers": [("type", kind)]}
        if payload is not None:
            frame["payload"] = payload
        return pack(frame)
