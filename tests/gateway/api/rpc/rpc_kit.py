"""The WebSocket side of a real listener over a small gateway, and a client of another make."""

from __future__ import annotations

import json
import threading
import uuid
from types import SimpleNamespace

import websocket

from loong_channels.waiting import Deadline
from loong_gateway.api.auth import Auth
from loong_gateway.api.bind import open_listener
from loong_gateway.api.listener import Listener
from loong_gateway.api.routes import control_routes
from loong_gateway.api.rpc.methods import all_methods
from loong_gateway.api.rpc.server import Facts, RpcServer
from loong_gateway.base.bus import Bus
from loong_gateway.base.clock import wall_ms
from loong_gateway.base.metrics import Metrics
from loong_gateway.base.threads import ThreadRegistry
from loong_gateway.config.snapshot import WsSettings
from loong_gateway.control.sessions import SessionInfo, SessionPage
from tests.gateway.api.port_kit import CONTROL, PATIENCE_S, SECRET, SmallGateway, gateway_settings

ADMIN = ["operator.admin"]


class SmallSessions:
    """One session that is remembered."""

    def list(
        self,
        *,
        limit: int,
        offset: int = 0,
        search: str = "",
        active_since_ms: int = 0,
        previews: bool = False,
    ):
        row = SessionInfo("agent:main:main", "s-1", "direct", "", "main", 1, 2, 4)
        return SessionPage((row,)[:limit], 1)


class RpcGateway(SmallGateway):
    """A small gateway with a bus and accounts."""

    def __init__(self) -> None:
        super().__init__()
        self.bus = Bus(wall_ms)
        self.metrics = Metrics()
        self.sessions = SmallSessions()
        self.phases = {("wecom", "work"): "ready", ("telegram", "home"): "backoff"}

    def config(self) -> SimpleNamespace:
        return SimpleNamespace(path="/somewhere/config.toml", providers={}, active_provider=None)

    def status(self) -> dict[str, object]:
        surfaces = [
            {"channel": channel, "account": account, "phase": phase, "last_error": None}
            for (channel, account), phase in self.phases.items()
        ]
        return {**super().status(), "ready": True, "degraded_reasons": [], "surfaces": surfaces}


class RpcPort:
    """A listener on a free loopback port; a context manager."""

    def __init__(
        self, *, ws: dict[str, int] | None = None, methods=(), auth: Auth | None = None, **settings: object
    ) -> None:
        self.control = RpcGateway()
        self.threads = ThreadRegistry()
        applied = gateway_settings(ws=WsSettings(**(ws or {})), **settings)
        bound = open_listener(applied, environ={})
        self.address = (bound.address, bound.port)
        self.url = f"ws://127.0.0.1:{bound.port}/any/where?x=1"
        auth = auth or Auth(secret=SECRET, control_token=CONTROL)
        self.rpc = RpcServer(
            self.control,
            auth,
            applied,
            self.threads,
            facts=Facts("127.0.0.1", "/somewhere/state"),
            scrub=lambda text: text.replace(SECRET, "***"),
            methods=lambda control, toolbox: [*all_methods(control, toolbox), *methods],
        )
        self.listener = Listener(
            bound.sockets,
            control_routes(self.control),
            auth,
            applied,
            self.threads,
            takeovers=[self.rpc.takeover],
        )

    def __enter__(self) -> RpcPort:
        self.listener.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.control.gate.set()
        assert self.listener.stop(Deadline(PATIENCE_S)) == []
        assert self.threads.join_all(Deadline(PATIENCE_S)) == []

    def open(self, **options: object) -> WsClient:
        """A connection whose challenge has been read."""
        client = WsClient(self.url, **options)
        client.challenge = client.next()
        return client

    def client(self, **changes: object) -> WsClient:
        """A connection that has said hello."""
        client = self.open()
        client.hello = client.connect(**changes)["payload"]
        return client


class WsClient:
    """A published client library with deadlines; a context manager."""

    def __init__(self, url: str, **options: object) -> None:
        self.socket = websocket.create_connection(url, timeout=PATIENCE_S, **options)

    def send(self, document: object) -> None:
        self.raw(document if isinstance(document, (str, bytes)) else json.dumps(document))

    def raw(self, message: str | bytes) -> None:
        if isinstance(message, bytes):
            self.socket.send_binary(message)
        else:
            self.socket.send(message)

    def next(self) -> dict[str, object]:
        """The next message; a close is an assertion."""
        opcode, data = self.socket.recv_data()
        assert opcode == websocket.ABNF.OPCODE_TEXT, (opcode, data)
        return json.loads(data)

    def ask(self, method: str, params: object = None, *, frame_id: str | None = None) -> dict[str, object]:
        """A request and its answer; events that come before it are in `events`."""
        frame_id = frame_id or str(uuid.uuid4())
        frame = {"type": "req", "id": frame_id, "method": method}
        if params is not None:
            frame["params"] = params
        self.send(frame)
        self.events = []
        while True:
            answer = self.next()
            if answer["type"] == "res" and answer["id"] == frame_id:
                return answer
            self.events.append(answer)

    def event(self, name: str) -> dict[str, object]:
        """The next event of that name."""
        while True:
            found = self.next()
            if found["type"] == "event" and found["event"] == name:
                return found

    def connect(self, **changes: object) -> dict[str, object]:
        return self.ask("connect", connect_params(**changes))

    def closed(self) -> tuple[int, str]:
        """What the far side says goodbye with; messages before it are in `last`."""
        self.last = []
        while True:
            opcode, data = self.socket.recv_data()
            if opcode == websocket.ABNF.OPCODE_CLOSE:
                self.socket.shutdown()
                if not data:
                    return 1005, ""
                return int.from_bytes(data[:2], "big"), data[2:].decode()
            self.last.append(json.loads(data))

    def close(self) -> None:
        self.socket.close(timeout=PATIENCE_S)

    def __enter__(self) -> WsClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.shutdown()


def connect_params(
    *,
    token: str | None = SECRET,
    scopes: list[str] | None = None,
    client: dict[str, object] | None = None,
    mode: str = "backend",
    **changes: object,
) -> dict[str, object]:
    params = {
        "minProtocol": 4,
        "maxProtocol": 4,
        "client": {
            "id": "gateway-client",
            "version": "0.0.0",
            "platform": "linux",
            "mode": mode,
            **(client or {}),
        },
        "caps": [],
        "role": "operator",
        "scopes": ADMIN if scopes is None else scopes,
        **changes,
    }
    if token is not None:
        params["auth"] = {"token": token}
    return params


class Held:
    """A method that waits until it is let go."""

    def __init__(self) -> None:
        self.began = threading.Semaphore(0)
        self.gate = threading.Event()

    def __call__(self, call: object) -> object:
        self.began.release()
        assert self.gate.wait(PATIENCE_S)
        return {"held": True}
