"""A synchronous client of the gateway's WebSocket side: one request after the other, a deadline for everything.

Frames are JSON objects, one per text message: `req` with an id, `res` with the same one, `event`. The first frame is
the server's challenge, the first request is `connect`.
"""

from __future__ import annotations

import json
import sys
import uuid
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Callable

from loong_channels.faults import Fault, TimedOut
from loong_channels.waiting import Deadline
from loong_channels.web_socket import Closed, HandshakeRefused, WebSocket
from loong_gateway import VERSION
from loong_gateway.base.faults import CommandError
from loong_gateway.base.wording import duration, nearest, one_line
from loong_gateway.commands.rpc_target import RpcTarget
from loong_gateway.control.work_units import VERBS

__all__ = ["ADMIN", "CONNECT_S", "READ", "WRITE", "RpcClient", "RpcRefused", "least_scope"]

PROTOCOL = 4
READ = "operator.read"
WRITE = "operator.write"
ADMIN = "operator.admin"
APPROVALS = "operator.approvals"
CONNECT_S = 5.0
GOODBYE_S = 0.5
# The largest message that a gateway of this protocol sends, and room for its frame.
MOST_BYTES = (25 << 20) + 4096
RESTARTING = 1012
INVALID_REQUEST = "INVALID_REQUEST"
# Methods that less than an administrator may call; whatever is not named here is asked with the widest scope.
READ_METHODS = frozenset(
    (
        *("health", "status", "system-presence", "channels.status", "logs.tail", "models.list"),
        *(
            "sessions.list",
            "sessions.preview",
            "sessions.resolve",
            "sessions.describe",
            "sessions.subscribe",
            "sessions.usage",
            "sessions.unsubscribe",
        ),
        *("chat.history", "config.get", "config.schema", "config.schema.lookup", "gateway.identity.get"),
        *("gateway.restart.preflight", "last-heartbeat", "agents.list", "agent.identity.get"),
        *("tools.catalog", "tools.servers", "cron.status", "cron.list", "usage.status"),
        *(f"work_units.{verb.name}" for verb in VERBS.values() if not verb.changes),
    )
)
APPROVAL_METHODS = frozenset(("exec.approval.list", "exec.approval.resolve"))
WRITE_METHODS = frozenset(
    (
        *("agent", "agent.wait", "chat.send", "chat.abort", "send", "tools.invoke", "wake"),
        *(f"work_units.{verb.name}" for verb in VERBS.values() if verb.changes),
        *("sessions.compact", "sessions.fork"),
    )
)
Frame = Mapping[str, object]


def least_scope(method: str) -> str:
    """The scope that a call of this method needs, as far as it is known; else that of an administrator."""
    if method in APPROVAL_METHODS:
        return APPROVALS
    return READ if method in READ_METHODS else WRITE if method in WRITE_METHODS else ADMIN


class RpcRefused(CommandError):
    """Raised when the gateway answered `ok: false`. `said` is its error code, `payload` what stood beside the error.

    `reason` and `said_fix` are what the gateway's details name, "" where they do not.
    `is_between`: it was refused because the gateway starts or stops, and surely not carried out.
    """

    def __init__(self, method: str, look: str, error: Frame, payload: object) -> None:
        self.said = one_line(error.get("code") or "no code", 60)
        self.text = one_line(error.get("message") or "no reason was given", 300)
        self.payload = payload
        if self.said == INVALID_REQUEST:
            # A look at the gateway would show nothing: the question was wrong.
            look = "correct what it names, then ask again"
        self.is_between = _is_between(error)
        details = error.get("details")
        told = details if isinstance(details, dict) else {}
        self.reason = one_line(told.get("reason") or "", 60)
        self.said_fix = one_line(told.get("fix") or "", 300)
        super().__init__("rpc.refused", method=method, detail=self.text, said=self.said, look=look)


class RpcClient:
    """One connection to a gateway. Used from one thread; a context manager that closes it.

    `hello` is the payload of the answer to `connect`.
    """

    def __init__(self, connection: WebSocket, target: RpcTarget) -> None:
        self.hello: Mapping[str, object] = {}
        self._connection = connection
        self._target = target
        self._sent = 0

    @classmethod
    def connect(
        cls,
        target: RpcTarget,
        scopes: Sequence[str],
        *,
        mode: str = "cli",
        timeout_s: float = CONNECT_S,
    ) -> RpcClient:
        """Connect and say hello, asking for these scopes. Blocks up to `timeout_s`.

        Raises CommandError `rpc.unreachable`, `rpc.unauthorized`, `rpc.not_admitted`, `rpc.bad_answer`.
        """
        deadline = Deadline(timeout_s)
        try:
            connection = WebSocket.connect(
                target.egress, target.url, deadline=deadline, max_message_bytes=MOST_BYTES
            )
        except HandshakeRefused as error:
            detail = f"HTTP {error.status} instead of a WebSocket"
            raise CommandError(
                "rpc.unreachable", address=target.address, detail=detail, look=target.look
            ) from error
        except Fault as error:
            raise _unreachable(target, error) from error
        client = cls(connection, target)
        try:
            client._say_hello(scopes, mode, deadline)
        except BaseException:
            client.close()
            raise
        return client

    def __enter__(self) -> RpcClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def methods(self) -> list[str]:
        """What the gateway says it can be asked for."""
        features = self.hello.get("features")
        listed = features.get("methods") if isinstance(features, dict) else None
        return [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []

    def close(self) -> None:
        """End the connection; blocks for a moment at most."""
        self._connection.leave(Deadline(GOODBYE_S))

    def call(
        self,
        method: str,
        params: Mapping[str, object] | None = None,
        *,
        timeout_s: float,
        on_accepted: Callable[[object], None] | None = None,
    ) -> object:
        """The payload that answers. With `on_accepted` an answer "accepted" is handed to it, and the next one counts.

        Blocks up to `timeout_s`. Raises RpcRefused, CommandError `rpc.no_answer`, `rpc.closed`, `rpc.bad_answer`.
        """
        deadline = Deadline(timeout_s)
        request_id = self._send(method, params, deadline)
        while True:
            frame = self._answer(request_id, method, deadline, timeout_s)
            payload = frame.get("payload")
            if frame["ok"] is not True:
                error = frame.get("error")
                raise self._refused(method, error if isinstance(error, dict) else {}, payload)
            if on_accepted is None or not _is_accepted(payload):
                return payload
            on_accepted(payload)

    def _refused(self, method: str, error: Frame, payload: object) -> RpcRefused:
        refused = RpcRefused(method, self._target.look, error, payload)
        if self.methods and method not in self.methods:
            meant = nearest(method, self.methods) or "health"
            refused.fix = self._target.command(f"gateway call {meant}")
        return refused

    def _say_hello(self, scopes: Sequence[str], mode: str, deadline: Deadline) -> None:
        waited_s = deadline.remaining()
        first = self._receive("connect", deadline, waited_s)
        challenge = first.get("payload")
        if first.get("event") != "connect.challenge" or not isinstance(challenge, dict):
            raise self._bad_answer("it does not begin with a challenge")
        if not isinstance(challenge.get("nonce"), str) or not challenge["nonce"].strip():
            raise self._bad_answer("its challenge is blank")
        params = {
            "minProtocol": PROTOCOL,
            "maxProtocol": PROTOCOL,
            "client": {"id": "cli", "version": VERSION, "platform": sys.platform, "mode": mode},
            "role": "operator",
            "scopes": list(scopes),
            "caps": [],
            "auth": {"token": self._target.token},
        }
        request_id = self._send("connect", params, deadline)
        frame = self._answer(request_id, "connect", deadline, waited_s)
        if frame["ok"] is not True:
            raise self._not_admitted(frame.get("error"))
        hello = frame.get("payload")
        if not isinstance(hello, dict) or hello.get("protocol") != PROTOCOL:
            raise self._bad_answer("its hello is not of protocol 4")
        self.hello = hello

    def _send(self, method: str, params: Mapping[str, object] | None, deadline: Deadline) -> str:
        self._sent += 1
        request_id = f"{self._sent}:{uuid.uuid4()}"
        frame: dict[str, object] = {"type": "req", "id": request_id, "method": method}
        if params is not None:
            frame["params"] = dict(params)
        try:
            self._connection.send(json.dumps(frame, ensure_ascii=False), deadline=deadline)
        except Fault as error:
            raise self._closed(method, error) from error
        return request_id

    def _answer(self, request_id: str, method: str, deadline: Deadline, waited_s: float) -> Frame:
        while True:
            frame = self._receive(method, deadline, waited_s)
            if frame.get("type") == "res" and frame.get("id") == request_id:
                if not isinstance(frame.get("ok"), bool):
                    raise self._bad_answer("an answer without a verdict")
                return frame

    def _receive(self, method: str, deadline: Deadline, waited_s: float) -> Frame:
        try:
            message = self._connection.receive(deadline.remaining())
        except Fault as error:
            raise self._closed(method, error) from error
        if message is None:
            self.close()
            raise CommandError(
                "rpc.no_answer",
                address=self._target.address,
                method=method,
                waited=duration(waited_s),
                look=self._target.look,
            )
        try:
            frame = json.loads(message)
        except (ValueError, RecursionError):
            raise self._bad_answer("a message that is no JSON") from None
        if not isinstance(frame, dict):
            raise self._bad_answer("a message that is no JSON object")
        return frame

    def _closed(self, method: str, error: Fault) -> CommandError:
        self.close()
        detail = one_line(error)
        if isinstance(error, Closed):
            detail = f"code {error.code}" + (f", {one_line(error.reason)}" if error.reason else "")
            if error.code == RESTARTING:
                detail = "it stops or restarts"
        elif isinstance(error, TimedOut):
            detail = "it takes nothing any more"
        return CommandError(
            "rpc.closed",
            address=self._target.address,
            method=method,
            detail=detail,
            look=self._target.look,
        )

    def _bad_answer(self, detail: str) -> CommandError:
        self.close()
        return CommandError(
            "rpc.bad_answer", address=self._target.address, detail=detail, look=self._target.look
        )

    def _not_admitted(self, error: object) -> CommandError:
        said = error if isinstance(error, dict) else {}
        text = one_line(said.get("message") or "no reason was given", 300)
        details = said.get("details")
        code = str(details.get("code") or "") if isinstance(details, dict) else ""
        if code.startswith("AUTH_") or text.startswith("unauthorized"):
            return CommandError(
                "rpc.unauthorized",
                address=self._target.address,
                detail=one_line(code or "no code", 60),
                source=self._target.source,
                look=self._target.look,
            )
        return CommandError(
            "rpc.not_admitted",
            address=self._target.address,
            detail=text,
            look=self._target.look,
            is_between=_is_between(said),
        )


def _is_between(error: Frame) -> bool:
    """Whether a gateway that starts or stops refused something because of that."""
    details = error.get("details")
    reason = details.get("reason") if isinstance(details, dict) else None
    return (
        error.get("code") == "UNAVAILABLE"
        and error.get("retryable") is True
        and reason in ("startup-sidecars", "stopping")
    )


def _is_accepted(payload: object) -> bool:
    return isinstance(payload, dict) and payload.get("status") == "accepted"


def _unreachable(target: RpcTarget, error: Fault) -> CommandError:
    whom, colon, reason = str(error).rpartition(": ")
    is_direct = whom.startswith("cannot connect to ") and not whom.startswith("cannot connect to proxy")
    detail = one_line(reason if colon and is_direct else error)
    return CommandError("rpc.unreachable", address=target.address, detail=detail, look=target.look)
