"""The WebSocket side of the port: from the upgrade over the handshake to the last request of a connection.

Threads: each connection is read in its own `http:<n>`; `rpc-<n>` answer what waits, on demand; `rpc-timers` is there
while something is due.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from loong_channels.waiting import Deadline
from loong_gateway import VERSION
from loong_gateway.api.auth import Auth
from loong_gateway.api.http_request import Refusal
from loong_gateway.api.router import Session, Takeover
from loong_gateway.api.wire import TooSlow
from loong_gateway.api.ws.flusher import Flusher
from loong_gateway.api.ws.web_socket import Closed, ServerWebSocket, SocketLimits, accept
from loong_gateway.base.clock import wall_ms
from loong_gateway.base.pool import Pool
from loong_gateway.base.process import identity
from loong_gateway.base.rate_limit import RateLimit
from loong_gateway.base.threads import ThreadRegistry
from loong_gateway.base.timers import Timers
from loong_gateway.config.snapshot import GatewaySettings
from loong_gateway.control import ControlPlane
from loong_gateway.control.audit import Audit, NoAudit

from .calls import ADMIN, READ, Client, Method, RpcFault, holds
from .connect import PROTOCOL, ConnectRequest, Refused, authenticate, negotiate, read_connect
from .events import CHALLENGE, EVENTS
from .frames import Frame, Malformed, NotJson, encode, failure, parse_request, success
from .health import AGENT, HealthBoard
from .hub import RESTART, Hub
from .member import Member
from .methods import all_methods
from .presence import Presence
from .probing import Prober
from .table import Table, Unauthorized
from .toolbox import Toolbox

__all__ = ["Facts", "RpcServer"]

logger = logging.getLogger("loong.rpc")

POOL_THREADS = 16
POOL_WAITING = 64
POOL_BYTES = 64 * 1024 * 1024
# A wait for a client that says nothing; it is begun anew as often as it ends.
QUIET_S = 3600.0
CLOSE_GRACE_S = 1.0
THREADS_S = 0.5
# How long those who proved a secret that was replaced may still be answered.
SECRET_GRACE_S = 0.25
FRESH_MS = 5_000
MOST_UNAUTHORIZED = 10
UNAUTHORIZED_S = 60.0
ATTACHMENTS = {"maxBytes": 20_971_520, "maxImageBytes": 6_291_456}
STARTING = RpcFault(
    "UNAVAILABLE",
    "gateway starting; retry shortly",
    details={"reason": "startup-sidecars"},
    retryable=True,
    retry_after_ms=500,
)
STOPPING = RpcFault(
    "UNAVAILABLE",
    "gateway stopping; retry shortly",
    details={"reason": "stopping"},
    retryable=True,
    retry_after_ms=1000,
)


@dataclass(frozen=True)
class Facts:
    """What hello tells of this process: the address it is reached by, where its state lies.

    `audit` is told of calls that were refused.
    """

    address: str | None = None
    state_dir: str | None = None
    audit: Audit = field(default_factory=NoAudit)


class RpcServer:
    """Serves connections that ask for WebSocket. Thread-safe; `_guard` protects what it counts."""

    def __init__(
        self,
        control: ControlPlane,
        auth: Auth,
        settings: GatewaySettings,
        threads: ThreadRegistry,
        *,
        facts: Facts = Facts(),
        scrub: Callable[[str], str] = str,
        methods: Callable[[ControlPlane, Toolbox], list[Method]] = all_methods,
    ) -> None:
        self._control = control
        self._auth = auth
        self._settings = settings
        self._ws = settings.ws
        self._facts = facts
        self._metrics = control.metrics
        self._flusher = Flusher(threads)
        self._timers = Timers("rpc-timers", threads)
        self._pool = Pool(
            "rpc",
            threads,
            threads=POOL_THREADS,
            waiting=POOL_WAITING,
            weight=max(POOL_BYTES, self._ws.max_payload_bytes),
        )
        self._health = HealthBoard(control, wall_ms)
        self._presence = Presence(wall_ms, facts.address)
        self._hub = Hub(
            control.bus,
            self._health,
            self._presence,
            pool=self._pool,
            timers=self._timers,
            settings=self._ws,
            wall_ms=wall_ms,
        )
        prober = Prober(control, self._pool, self._timers)
        toolbox = Toolbox(
            self._health,
            self._presence,
            prober,
            self._hub.note_presence,
            wall_ms,
            scrub,
        )
        self._table = Table(
            methods(control, toolbox),
            pool=self._pool,
            timers=self._timers,
            metrics=self._metrics,
            stopping=self._stopping,
            scrub=scrub,
        )
        self._started_s = time.monotonic()
        self._boot_id = str(identity()["instance_id"])
        self._guard = threading.Lock()
        self._secret_changes = 0
        self._handshakes = RateLimit(max(1, settings.handshakes_per_s), 1.0)
        self._sockets: set[ServerWebSocket] = set()
        self._is_closed = False

    @property
    def takeover(self) -> Takeover:
        """What the listener is given."""
        return Takeover("websocket", self._serve, self.close)

    def close(self, deadline: Deadline) -> None:
        """Say good-bye to every client behind what it is still to be told, then end all threads.

        Blocks, two seconds at most: what then still works on an answer has nobody left to give it to.
        """
        with self._guard:
            self._is_closed = True
            sockets = tuple(self._sockets)
        # Those in the middle of their handshake are no members of the hub.
        for socket in sockets:
            socket.close(*RESTART)
        self._hub.close(deadline.within(CLOSE_GRACE_S))
        rest = deadline.within(THREADS_S)
        self._timers.close(rest)
        if not self._pool.close(rest):
            logger.warning("requests were still being answered when the port closed")
        self._flusher.stop(rest)

    def secret_changed(self) -> None:
        """Close the connections that proved the configured secret, once Auth has another one; from any thread."""
        with self._guard:
            self._secret_changes += 1
        # Who asked for the change is one of them and is to be told that it was done.
        self._timers.later(SECRET_GRACE_S, self._close_proven)

    def _close_proven(self) -> None:
        count = self._hub.close_all(lambda member: member.proven == "secret", 4001, "gateway auth changed")
        logger.info("the secret of the port has changed: %d clients are closed", count)

    def _stopping(self) -> bool:
        return "stopping" in self._control.ready()

    # The handshake

    def _serve(self, session: Session) -> None:
        self._limit_handshakes(session)
        deadline = Deadline(self._ws.handshake_timeout_ms / 1000)
        limits = SocketLimits(
            message_bytes=self._ws.max_preauth_bytes, buffered_bytes=self._ws.max_buffered_bytes
        )
        with accept(session, self._flusher, limits) as socket:
            self._metrics.add("ws_connections")
            try:
                self._begin(socket)
                self._talk(session, socket, deadline)
            except Refused as refused:
                self._metrics.add(f"ws_refused:{refused.word}")
                logger.info("a client was refused: %s (%s)", refused.word, session.peer.address)
                socket.close(refused.code, refused.reason)
            except Closed as closed:
                logger.debug("a client has left: %d", closed.code)
            finally:
                with self._guard:
                    self._sockets.discard(socket)

    def _begin(self, socket: ServerWebSocket) -> None:
        with self._guard:
            if self._is_closed:
                raise Refused("stopping", None, *RESTART)
            self._sockets.add(socket)

    def _limit_handshakes(self, session: Session) -> None:
        if self._settings.handshakes_per_s and self._handshakes.take(session.peer.key):
            self._metrics.add("ws_refused:handshake_rate")
            raise Refusal(503, "too_many_connections", retry_after_s=1)

    def _talk(self, session: Session, socket: ServerWebSocket, deadline: Deadline) -> None:
        """Handshake and everything after it. Raises Refused and Closed."""
        challenge = {"nonce": str(uuid.uuid4()), "ts": wall_ms()}
        socket.send(encode({"type": "event", "event": CHALLENGE, "payload": challenge}))
        frame = self._first_frame(socket, deadline)
        changes = self._secret_changes
        try:
            request, proven = self._judge(frame, session)
        except Refused as refused:
            if refused.fault is not None:
                socket.send(failure(frame.id, refused.fault))
            raise
        if deadline.expired:
            raise Refused("timeout", None, 1000, "")
        member = self._member(request, proven, session, socket)
        socket.allow(self._ws.max_payload_bytes)
        self._health.fresh(FRESH_MS)
        if not self._hub.join(member):
            socket.send(failure(frame.id, STOPPING))
            raise Refused("stopping", None, *RESTART)
        try:
            if proven == "secret" and changes != self._secret_changes:
                # It was proven a moment too early to be found among the members.
                raise Refused("secret_changed", None, 4001, "gateway auth changed")
            member.welcome(success(frame.id, self._hello(request, member)))
            self._read(member, socket)
        finally:
            self._hub.leave(member)

    def _first_frame(self, socket: ServerWebSocket, deadline: Deadline) -> Frame:
        try:
            return parse_request(socket.receive(deadline))
        except TooSlow:
            raise Refused("timeout", None, 1000, "") from None
        except NotJson:
            raise Refused("not_json", None, 1000, "") from None
        except Malformed:
            raise Refused("bad_frame", None, 1008, "invalid request frame") from None

    def _judge(self, frame: Frame, session: Session) -> tuple[ConnectRequest, str]:
        """Whether a client may come in, and by what it has proven itself. Blocks, see Auth. Raises Refused."""
        if frame.method != "connect":
            text = "invalid handshake: first request must be connect"
            raise Refused("not_connect", RpcFault("INVALID_REQUEST", text), 1008, text)
        request = read_connect(frame.params)
        negotiate(request)
        if self._stopping():
            raise Refused("stopping", STOPPING, *RESTART)
        if not self._control.started():
            raise Refused("starting", STARTING, 1013, "gateway starting")
        proven = authenticate(request, self._auth, self._settings.auth_mode, session.peer, session.stop)
        if not session.authenticated():
            text = "too many clients"
            fault = RpcFault("UNAVAILABLE", text, retryable=True, retry_after_ms=1000)
            raise Refused("too_many", fault, 1013, text)
        return request, proven

    def _member(
        self, request: ConnectRequest, proven: str, session: Session, socket: ServerWebSocket
    ) -> Member:
        client = Client(
            conn_id=str(uuid.uuid4()),
            id=request.client_id,
            mode=request.mode,
            scopes=frozenset(request.granted),
            caps=request.caps,
            address=session.peer.address,
            local=session.peer.loopback,
            closed=lambda: socket.closed,
        )
        return Member(socket, client, proven=proven, about=request.about)

    def _hello(self, request: ConnectRequest, member: Member) -> Mapping[str, object]:
        people, presence = self._presence.stamped()
        document, health = self._health.stamped()
        scopes = member.client.scopes
        snapshot: dict[str, object] = {
            "presence": people if holds(scopes, READ) else [],
            "health": document,
            "stateVersion": {"presence": presence, "health": health},
            "uptimeMs": round((time.monotonic() - self._started_s) * 1000),
            "sessionDefaults": {
                "defaultAgentId": AGENT,
                "mainKey": "main",
                "mainSessionKey": f"agent:{AGENT}:main",
                "scope": "per-sender",
            },
        }
        if holds(scopes, ADMIN):
            snapshot["configPath"] = self._control.config().path
            snapshot["authMode"] = self._settings.auth_mode
            if self._facts.state_dir:
                snapshot["stateDir"] = self._facts.state_dir
        return {
            "type": "hello-ok",
            "protocol": PROTOCOL,
            "server": {"version": VERSION, "connId": member.client.conn_id, "bootId": self._boot_id},
            "features": {
                "methods": self._table.names,
                "events": list(EVENTS),
                "capabilities": ["published-model-catalog"],
            },
            "snapshot": snapshot,
            "auth": {"role": "operator", "scopes": list(request.granted)},
            "policy": {
                "maxPayload": self._ws.max_payload_bytes,
                "maxBufferedBytes": self._ws.max_buffered_bytes,
                "tickIntervalMs": self._ws.tick_interval_ms,
                "attachments": ATTACHMENTS,
            },
        }

    # After hello

    def _read(self, member: Member, socket: ServerWebSocket) -> None:
        refused: deque[float] = deque(maxlen=MOST_UNAUTHORIZED)
        while True:
            try:
                message = socket.receive(Deadline(QUIET_S))
            except TooSlow:
                continue
            try:
                self._table.handle(parse_request(message), member, len(message))
            except NotJson:
                self._metrics.add("rpc_frames_refused")
            except Malformed as error:
                self._metrics.add("rpc_frames_refused")
                fault = RpcFault("INVALID_REQUEST", f"invalid request frame: {error}")
                member.send(failure(error.id or "invalid", fault))
            except Unauthorized as error:
                self._facts.audit.record(
                    "AuthorizationDenied", {"reason": "missing_scope", "method": str(error)}
                )
                now = time.monotonic()
                refused.append(now)
                if len(refused) == MOST_UNAUTHORIZED and now - refused[0] < UNAUTHORIZED_S:
                    raise Refused("unauthorized", None, 1008, "repeated unauthorized calls") from None
            # A large message would otherwise live as long as the wait for the next one.
            del message
