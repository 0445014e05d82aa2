"""A small real gateway behind a real listener, and a client that sends exactly the bytes it is told to."""

from __future__ import annotations

import json
import socket
from dataclasses import replace

from loong_channels.waiting import Deadline
from loong_gateway.api.auth import Auth
from loong_gateway.api.bind import open_listener
from loong_gateway.api.listener import Listener
from loong_gateway.api.router import Route
from loong_gateway.api.routes import control_routes
from loong_gateway.api.turn_route import turn_routes
from loong_gateway.base.faults import CommandError
from loong_gateway.base.threads import ThreadRegistry
from loong_gateway.config.snapshot import GatewaySettings, SecretRef
from loong_gateway.control import (
    ChannelOutcome,
    ChannelRequest,
    ProbeOutcome,
    SecretsOutcome,
    SendOutcome,
    SendRequest,
)
from loong_gateway.providers.contract import Usage
from loong_gateway.storage.acp_sessions import AcpSession
from tests.gateway.api.small_runs import SmallRuns

SECRET = "configured-secret-0001"
CONTROL = "control-token-of-this-run"
PATIENCE_S = 10.0


def gateway_settings(**changes: object) -> GatewaySettings:
    settings = GatewaySettings(
        mode="local",
        port=0,
        bind="127.0.0.1",
        custom_bind_host=None,
        auth_mode="token",
        token=SecretRef("inline", SECRET, "gateway.auth.token"),
        password=SecretRef("absent", None, "gateway.auth.password"),
        allowed_hosts=(),
        workers=4,
        drain_s=25,
        crash_loop_boots=5,
        header_timeout_s=10.0,
        body_timeout_s=30.0,
        keepalive_s=15.0,
        max_unauthenticated=64,
        max_per_peer=16,
        max_clients=256,
        auth_attempts=10,
        auth_window_s=60.0,
        auth_lockout_s=300.0,
    )
    return replace(settings, **changes)


class SmallGateway:
    """A control plane that keeps what it was asked for. `gate` holds turns back while it is not set."""

    def __init__(self) -> None:
        self.failing: tuple[str, ...] = ()
        self.has_started = True
        self.stops: list[str] = []
        self.sends: list[SendRequest] = []
        self.channel_requests: list[ChannelRequest] = []
        self.probes: list[tuple[str, str, float]] = []
        self.restarts: list[tuple[str, float]] = []
        self.restart_error: Exception | None = None
        self.runs = SmallRuns()
        self.runs.pieces = ("an answer",)
        self.runs.usage = Usage(input=3)
        self.send_error: Exception | None = None
        self.turn_began = self.runs.began
        self.gate = self.runs.gate

    def started(self) -> bool:
        return self.has_started

    def ready(self) -> tuple[str, ...]:
        return self.failing

    def status(self) -> dict[str, object]:
        return {"phase": "running", "running": True, "version": "9.9.9", "uptime_ms": 1234}

    def request_stop(self, reason: str) -> str:
        self.stops.append(reason)
        return "requested" if len(self.stops) == 1 else "already_requested"

    def send(self, request: SendRequest) -> SendOutcome:
        self.sends.append(request)
        if self.send_error is not None:
            raise self.send_error
        return SendOutcome("send-1", "sent", request.account or "default", ("77",))

    def channel(self, request: ChannelRequest) -> ChannelOutcome:
        self.channel_requests.append(request)
        if request.channel == "nowhere":
            raise CommandError("channels.not_served", given="nowhere", served="telegram=work")
        return ChannelOutcome("restarted", request.channel, request.account or "work", "ready", "@bot")

    def probe_channel(self, channel: str, account: str, *, timeout_s: float) -> ProbeOutcome:
        self.probes.append((channel, account, timeout_s))
        return ProbeOutcome("ok", "ok 3 ms as @bot", "@bot", 3)

    def request_restart(self, reason: str, *, delay_s: float = 0.0) -> str:
        if self.restart_error is not None:
            raise self.restart_error
        self.restarts.append((reason, delay_s))
        return "requested" if len(self.restarts) == 1 else "already_requested"

    def restart_due_in_s(self) -> float | None:
        return self.restarts[0][1] if self.restarts else None

    def agent_sessions(self, limit: int) -> tuple[list[AcpSession], int]:
        known = AcpSession(
            "acp:codex:k", "k", "codex", "codex", "explicit_request", "turn", "/work", state="ready"
        )
        return [known][:limit], 1

    def reload_secrets(self) -> list[SecretsOutcome]:
        return [SecretsOutcome("telegram", "work", "restarted", "its secret changed")]


class Answer:
    """One answer taken apart."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self) -> dict[str, object]:
        return json.loads(self.body)


class Client:
    """One connection. Everything it waits for has a deadline."""

    def __init__(self, address: tuple[str, int], source: str | None = None) -> None:
        origin = None if source is None else (source, 0)
        self.socket = socket.create_connection(address, timeout=PATIENCE_S, source_address=origin)
        self._buffer = b""

    def send(self, data: bytes) -> Client:
        self.socket.sendall(data)
        return self

    def answer(self, *, head_only: bool = False) -> Answer:
        while b"\r\n\r\n" not in self._buffer:
            self._more()
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        version, status, _ = first.split(" ", 2)
        assert version == "HTTP/1.1"
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        length = 0 if head_only else int(headers.get("content-length", "0"))
        while len(self._buffer) < length:
            self._more()
        body, self._buffer = self._buffer[:length], self._buffer[length:]
        return Answer(int(status), headers, body)

    def take(self, count: int) -> bytes:
        """Exactly `count` bytes."""
        while len(self._buffer) < count:
            self._more()
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken

    def ended(self) -> bool:
        """Wait for the far side to close; True when nothing came before that."""
        try:
            return not self._buffer and self.socket.recv(65536) == b""
        except ConnectionResetError:
            return True

    def rest(self) -> bytes:
        """Everything up to the far side's close."""
        data = self._buffer
        try:
            while piece := self.socket.recv(65536):
                data += piece
        except ConnectionResetError:
            pass
        return data

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _more(self) -> None:
        piece = self.socket.recv(65536)
        assert piece, f"the far side closed after {self._buffer!r}"
        self._buffer += piece


class Port:
    """A listener on a free loopback port over a SmallGateway, or over other `routes`; a context manager."""

    def __init__(
        self,
        *,
        auth: Auth | None = None,
        threads: ThreadRegistry | None = None,
        listener_options: dict[str, object] | None = None,
        control: SmallGateway | None = None,
        routes: list[Route] | None = None,
        sockets: list[socket.socket] | None = None,
        **settings: object,
    ) -> None:
        self.control = control or SmallGateway()
        self.threads = threads or ThreadRegistry()
        applied = gateway_settings(**settings)
        bound = open_listener(applied, environ={})
        self.address = (bound.address, bound.port)
        self.auth = auth or Auth(secret=SECRET, control_token=CONTROL)
        self.listener = Listener(
            [*bound.sockets, *(sockets or [])],
            routes or [*control_routes(self.control), *turn_routes(self.control)],
            self.auth,
            applied,
            self.threads,
            **(listener_options or {}),
        )

    def __enter__(self) -> Port:
        self.listener.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.control.gate.set()
        assert self.listener.stop(Deadline(PATIENCE_S)) == []

    def client(self, source: str | None = None) -> Client:
        return Client(self.address, source)

    def ask(self, raw: bytes, source: str | None = None) -> Answer:
        """One request on a connection of its own."""
        with self.client(source) as client:
            return client.send(raw).answer(head_only=raw.startswith(b"HEAD"))

    def get(self, path: str, *, token: str | None = None, **fields: str) -> Answer:
        return self.ask(request("GET", path, token=token, **fields))

    def post(self, path: str, document: object, *, token: str | None = SECRET, **fields: str) -> Answer:
        return self.ask(request("POST", path, token=token, document=document, **fields))


def request(
    method: str, path: str, *, token: str | None = None, document: object = None, **fields: str
) -> bytes:
    """The bytes of a request; field names are written with underscores for hyphens."""
    named = {"Host": "127.0.0.1", **{name.replace("_", "-"): value for name, value in fields.items()}}
    if token is not None:
        named["Authorization"] = f"Bearer {token}"
    body = b"" if document is None else json.dumps(document).encode()
    if document is not None:
        named.setdefault("Content-Type", "application/json")
        named["Content-Length"] = str(len(body))
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in named.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body
