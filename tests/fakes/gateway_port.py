"""The WebSocket side of a gateway, written by hand after the protocol's description: refuses what it has to refuse.

with GatewayPort() as port:
    port.answers["health"] = {"ok": True, ...}
    ... a client at port.url with port.token ...
    assert port.calls == [("health", {}, ["operator.read"])]

An answer is a payload, a `Fault`, a list of both (one response each, for methods that answer twice), or a callable
that is given the params and returns one of these.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from dataclasses import dataclass
from typing import Any, Callable

from .web_socket_server import ServerConnection, WebSocketServer

__all__ = ["Fault", "GatewayPort", "Hangup", "Silence"]

CLIENT_IDS = {"cli", "gateway-client", "openclaw-probe", "test", "webchat", "openclaw-control-ui"}
CLIENT_MODES = {"webchat", "cli", "ui", "backend", "node", "worker", "probe", "test"}
CONNECT_KEYS = {
    *("minProtocol", "maxProtocol", "client", "role", "scopes", "caps", "commands", "permissions"),
    *("pathEnv", "locale", "userAgent", "auth", "device"),
}
CLIENT_KEYS = {
    *("id", "version", "platform", "mode", "displayName", "buildId", "deviceFamily", "modelIdentifier"),
    *("timeZone", "instanceId"),
}
SCOPES = {
    "health": None,
    **dict.fromkeys(
        ("status", "system-presence", "channels.status", "logs.tail", "config.get", "models.list"),
        "operator.read",
    ),
    **dict.fromkeys(("agent", "agent.wait", "chat.send", "send"), "operator.write"),
    **dict.fromkeys(("secrets.reload", "config.patch", "gateway.restart.request"), "operator.admin"),
}
GIVES = {
    "operator.admin": {"operator.admin", "operator.write", "operator.read"},
    "operator.write": {"operator.write", "operator.read"},
    "operator.read": {"operator.read"},
}
PRE_AUTH_BYTES = 65_536


@dataclass(frozen=True)
class Fault:
    """`ok: false`; `payload` stands beside the error."""

    code: str
    message: str
    payload: dict | None = None


@dataclass(frozen=True)
class Hangup:
    """The connection is closed instead of an answer."""

    code: int = 1012
    reason: str = "service restart"


class Silence:
    """No answer ever comes."""


class GatewayPort(WebSocketServer):
    """Listens on loopback. `token` is the shared secret, or reads it; `calls` are (method, params, scopes).

    `handshake` replaces what it does at first: a callable with the connection, for servers that are not as they
    should be.
    """

    def __init__(self, token: str | Callable[[], str] = "port-secret-0001") -> None:
        self.token = token
        self.answers: dict[str, Any] = {
            "health": {"ok": True, "ts": 1, "durationMs": 3, "channels": {}, "channelOrder": []},
            "status": {"runtimeVersion": "1.2.3", "sessions": {"count": 0}},
            "system-presence": [{"ts": 1, "mode": "gateway", "reason": "self", "text": "Gateway"}],
            "config.get": {"path": "/x", "exists": True, "valid": True},
        }
        self.calls: list[tuple[str, dict, list[str]]] = []
        self.hellos: list[dict] = []
        self.handshake: Callable[[ServerConnection], None] | None = None
        self._order = threading.Lock()
        super().__init__(self._talk)

    def _serve(self, sock: socket.socket) -> None:
        sock.settimeout(10)
        head = b""
        while len(head) < len(b"GET /healthz "):
            head = sock.recv(13, socket.MSG_PEEK)
            if not head:
                return
        if head == b"GET /healthz ":
            while not sock.recv(65536).endswith(b"\r\n\r\n"):
                pass
            body = b'{"ok":true,"status":"live"}'
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            return
        super()._serve(sock)

    def _talk(self, peer: ServerConnection) -> None:
        if self.handshake is not None:
            self.handshake(peer)
            return
        _send(peer, {"type": "event", "event": "connect.challenge", "payload": {"nonce": "n-1", "ts": 1}})
        first = peer.receive()
        if first is None:
            return
        if len(first) > PRE_AUTH_BYTES:
            peer.close(1009, "preauth payload too large")
            return
        granted = self._admit(peer, first)
        if granted is None:
            return
        while True:
            message = peer.receive(60)
            if message is None:
                return
            if not self._answer(peer, json.loads(message), granted):
                return

    def _admit(self, peer: ServerConnection, first: str | bytes) -> list | None:
        frame = json.loads(first)
        problem = _frame_problem(frame)
        if problem:
            peer.close(1008, "invalid request frame")
            return None
        if frame["method"] != "connect":
            _refuse(peer, frame["id"], "invalid handshake: first request must be connect")
            return None
        params = frame.get("params")
        problem = _connect_problem(params)
        if problem:
            _refuse(peer, frame["id"], f"invalid connect params: {problem}")
            return None
        if not params["minProtocol"] <= 4 <= params["maxProtocol"]:
            _refuse(peer, frame["id"], "protocol mismatch", {"code": "PROTOCOL_MISMATCH"}, close=1002)
            return None
        secret = self.token if isinstance(self.token, str) else self.token()
        given = params.get("auth", {}).get("token")
        if given != secret:
            code = "AUTH_TOKEN_MISMATCH" if given else "AUTH_TOKEN_MISSING"
            message = "unauthorized: gateway token mismatch (provide gateway auth token)"
            _refuse(peer, frame["id"], message, {"code": code})
            return None
        scopes = params.get("scopes", [])
        with self._order:
            self.hellos.append(params)
        hello = {
            "type": "hello-ok",
            "protocol": 4,
            "server": {"version": "1.2.3", "connId": "c-1"},
            "features": {"methods": sorted(SCOPES), "events": ["tick"], "capabilities": []},
            "snapshot": {},
            "auth": {"role": "operator", "scopes": scopes},
            "policy": {"maxPayload": 26214400, "maxBufferedBytes": 52428800, "tickIntervalMs": 30000},
        }
        _send(peer, {"type": "res", "id": frame["id"], "ok": True, "payload": hello})
        _send(peer, {"type": "event", "event": "health", "seq": 1, "payload": {"ok": True}})
        return list(scopes)

    def _answer(self, peer: ServerConnection, frame: Any, granted: list) -> bool:
        problem = _frame_problem(frame)
        if problem:
            frame_id = frame.get("id", "invalid") if isinstance(frame, dict) else "invalid"
            _fail(peer, frame_id, Fault("INVALID_REQUEST", f"invalid request frame: {problem}"))
            return True
        method = frame["method"]
        known = SCOPES.get(method, "")
        if method not in SCOPES and method not in self.answers:
            _fail(peer, frame["id"], Fault("INVALID_REQUEST", f"unknown method: {method}"))
            return True
        if known and not any(known in GIVES.get(scope, set()) for scope in granted):
            _fail(peer, frame["id"], Fault("FORBIDDEN", f"missing scope: {known}"))
            return True
        params = frame.get("params") or {}
        if method == "agent":
            missing = [name for name in ("message", "idempotencyKey") if not params.get(name)]
            if missing:
                text = f"invalid agent params: must have required property '{missing[0]}'"
                _fail(peer, frame["id"], Fault("INVALID_REQUEST", text))
                return True
        with self._order:
            self.calls.append((method, params, granted))
        answer = self.answers.get(method, {})
        answer = answer(params) if callable(answer) and not isinstance(answer, type) else answer
        _send(peer, {"type": "event", "event": "tick", "seq": 2, "payload": {"ts": 1}})
        for one in answer if isinstance(answer, list) and method == "agent" else [answer]:
            if one is Silence:
                continue
            if isinstance(one, Hangup):
                peer.close(one.code, one.reason)
                return False
            if isinstance(one, Fault):
                _fail(peer, frame["id"], one)
            else:
                _send(peer, {"type": "res", "id": frame["id"], "ok": True, "payload": one})
        return True


def _frame_problem(frame: Any) -> str:
    if not isinstance(frame, dict) or frame.get("type") != "req":
        return "must be a request"
    for name in ("id", "method"):
        if not isinstance(frame.get(name), str) or not frame[name]:
            return f"at /{name}: must be string"
    extra = set(frame) - {"type", "id", "method", "params", "traceparent"}
    return f"unexpected property '{sorted(extra)[0]}'" if extra else ""


def _connect_problem(params: Any) -> str:
    if not isinstance(params, dict):
        return "must be object"
    extra = set(params) - CONNECT_KEYS
    client = params.get("client")
    if extra:
        return f"unexpected property '{sorted(extra)[0]}'"
    if not all(
        type(params.get(name)) is int and params[name] >= 1 for name in ("minProtocol", "maxProtocol")
    ):
        return "at /minProtocol: must be integer"
    if not isinstance(client, dict) or set(client) - CLIENT_KEYS:
        return "at /client: must be a client"
    if client.get("id") not in CLIENT_IDS or client.get("mode") not in CLIENT_MODES:
        return "at /client/id: must be one of the known"
    if not all(isinstance(value, str) and value for value in client.values()) or len(client) < 4:
        return "at /client: must have non-empty texts"
    if not all(isinstance(scope, str) for scope in params.get("scopes", [])):
        return "at /scopes: must be strings"
    return ""


def _refuse(
    peer: ServerConnection, frame_id: str, message: str, details: dict | None = None, close: int = 1008
) -> None:
    error: dict[str, Any] = {"code": "INVALID_REQUEST", "message": message}
    if details:
        error["details"] = details
    _send(peer, {"type": "res", "id": frame_id, "ok": False, "error": error})
    peer.close(close, message[:120])


def _fail(peer: ServerConnection, frame_id: str, fault: Fault) -> None:
    frame: dict[str, Any] = {
        "type": "res",
        "id": frame_id,
        "ok": False,
        "error": {"code": fault.code, "message": fault.message},
    }
    if fault.payload is not None:
        frame["payload"] = fault.payload
    _send(peer, frame)


def _send(peer: ServerConnection, frame: dict) -> None:
    with contextlib.suppress(OSError):
        peer.send(json.dumps(frame))
