"""The first request of a connection: its parameters, and who is refused in which words. No sockets here.

Source: https://www.npmjs.com/package/@openclaw/gateway-protocol (protocol.schema.json: ConnectParams) and
https://docs.openclaw.ai/gateway/protocol.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Callable, cast

from loong_channels.waiting import StopToken
from loong_gateway.api.auth import Auth
from loong_gateway.api.peers import Peer

from .calls import ADMIN, APPROVALS, READ, WRITE, RpcFault

__all__ = ["ALL_SCOPES", "PROTOCOL", "ConnectRequest", "Refused", "authenticate", "negotiate", "read_connect"]

PROTOCOL = 4
OLDEST_PROBED = 3
LONGEST = 4096
MOST_ITEMS = 256
ALL_SCOPES = frozenset(
    {
        READ,
        WRITE,
        ADMIN,
        APPROVALS,
        "operator.pairing",
        "operator.questions",
        "operator.talk",
        "operator.talk.secrets",
    }
)
CLIENT_IDS = frozenset(
    {
        "webchat-ui",
        "openclaw-control-ui",
        "openclaw-browser-copilot",
        "openclaw-tui",
        "webchat",
        "cli",
        "gateway-client",
        "openclaw-macos",
        "openclaw-linux",
        "openclaw-ios",
        "openclaw-watchos",
        "openclaw-android",
        "node-host",
        "openclaw-worker",
        "test",
        "fingerprint",
        "openclaw-probe",
        "loong-cli",
    }
)
CLIENT_MODES = frozenset(["webchat", "cli", "ui", "backend", "node", "worker", "probe", "test"])
COMMAND_LINES = ("cli", "loong-cli")

Check = Callable[[object], str]


class Refused(Exception):
    """Raised for a connection that is not taken. `fault` is the answer, None for none; then the close code and reason.

    `word` is a constant to count it by.
    """

    def __init__(self, word: str, fault: RpcFault | None, code: int, reason: str) -> None:
        super().__init__(word)
        self.word = word
        self.fault = fault
        self.code = code
        self.reason = reason


@dataclass(frozen=True)
class ConnectRequest:
    """What a client says of itself. `about` holds the further texts of `client` by their names."""

    minimum: int
    maximum: int
    client_id: str
    mode: str
    about: Mapping[str, str]
    role: str
    scopes: tuple[str, ...]
    caps: frozenset[str]
    token: str
    password: str

    @property
    def granted(self) -> tuple[str, ...]:
        """What was asked for and can be had, in that order, each once."""
        return tuple(dict.fromkeys(scope for scope in self.scopes if scope in ALL_SCOPES))


def read_connect(params: object) -> ConnectRequest:
    """Take the parameters of `connect` apart. Raises Refused."""
    reason = _closed(_PARAMS, frozenset({"minProtocol", "maxProtocol", "client"}))(params)
    if reason:
        text = f"invalid connect params: {reason}"
        raise Refused("bad_params", RpcFault("INVALID_REQUEST", text), 1008, text)
    given = cast("Mapping[str, object]", params)
    client = cast("Mapping[str, str]", given["client"])
    auth = cast("Mapping[str, str]", given.get("auth", {}))
    return ConnectRequest(
        minimum=cast(int, given["minProtocol"]),
        maximum=cast(int, given["maxProtocol"]),
        client_id=client["id"],
        mode=client["mode"],
        about={name: value for name, value in client.items() if name not in ("id", "mode")},
        role=cast(str, given.get("role", "operator")),
        scopes=tuple(cast("list[str]", given.get("scopes", []))),
        caps=frozenset(cast("list[str]", given.get("caps", []))),
        token=auth.get("token", ""),
        password=auth.get("password", ""),
    )


def negotiate(request: ConnectRequest) -> None:
    """Check the protocol and the role. Raises Refused."""
    oldest = OLDEST_PROBED if request.mode == "probe" else PROTOCOL
    if not (request.maximum >= oldest and request.minimum <= PROTOCOL):
        details = {
            "code": "PROTOCOL_MISMATCH",
            "clientMinProtocol": request.minimum,
            "clientMaxProtocol": request.maximum,
            "expectedProtocol": PROTOCOL,
            "minimumProbeProtocol": OLDEST_PROBED,
        }
        fault = RpcFault("INVALID_REQUEST", "protocol mismatch", details=details)
        raise Refused("protocol", fault, 1002, "protocol mismatch")
    if request.role == "node":
        text = "device identity required"
        fault = RpcFault("NOT_PAIRED", text, details={"code": "DEVICE_IDENTITY_REQUIRED"})
        raise Refused("role", fault, 1008, text)
    if request.role != "operator":
        raise Refused("role", RpcFault("INVALID_REQUEST", "invalid role"), 1008, "invalid role")


def authenticate(request: ConnectRequest, auth: Auth, mode: str, peer: Peer, stop: StopToken) -> str:
    """Judge the credential, whichever field it came in; what was proven: "secret" or "control". Raises Refused.

    `mode` is "token" or "password". Blocks as Auth.judge does.
    """
    fields = (request.token, request.password) if mode == "token" else (request.password, request.token)
    # Two different credentials are two guesses.
    offered = list(dict.fromkeys(field for field in fields if field))
    outcome, wait_s = "missing", 0.0
    for credential in offered or [""]:
        # A lone surrogate is in no secret.
        verdict = auth.judge(credential.encode("utf-8", "replace"), peer, stop=stop)
        if verdict.outcome == "ok":
            return verdict.proven
        outcome, wait_s = verdict.outcome, verdict.retry_after_s
        if outcome == "locked":
            break
    raise _unauthorized(request, mode, outcome, wait_s, configured=auth.has_secret)


def _unauthorized(
    request: ConnectRequest, mode: str, outcome: str, wait_s: float, *, configured: bool
) -> Refused:
    name = mode.upper()
    retry_after_ms = None
    if outcome == "locked":
        code, reason, step = "AUTH_RATE_LIMITED", "rate_limited", "wait_then_retry"
        text = "too many failed authentication attempts (retry later)"
        retry_after_ms = max(1, round(wait_s * 1000))
    elif not configured:
        code, reason = f"AUTH_{name}_NOT_CONFIGURED", f"{mode}_missing_config"
        step = "update_auth_configuration"
        text = f"gateway {mode} not configured on gateway (set gateway.auth.{mode})"
    else:
        hint = (
            f"use this gateway's gateway.auth.{mode}"
            if request.client_id in COMMAND_LINES
            else f"provide gateway auth {mode}"
        )
        missing = outcome == "missing"
        code = f"AUTH_{name}_{'MISSING' if missing else 'MISMATCH'}"
        reason = f"{mode}_{'missing' if missing else 'mismatch'}"
        step = "update_auth_configuration" if missing else "update_auth_credentials"
        text = f"gateway {mode} {'missing' if missing else 'mismatch'} ({hint})"
    details = {
        "code": code,
        "authReason": reason,
        "canRetryWithDeviceToken": False,
        "recommendedNextStep": step,
    }
    text = f"unauthorized: {text}"
    fault = RpcFault(
        "INVALID_REQUEST",
        text,
        details=details,
        retryable=retry_after_ms is not None,
        retry_after_ms=retry_after_ms,
    )
    return Refused(reason, fault, 1008, text)


# The shape of the parameters. A check gives the reason against a value, with its place in front, or "".


def _text(*, shortest: int = 1, longest: int = LONGEST) -> Check:
    def check(value: object) -> str:
        if not isinstance(value, str):
            return ": must be string"
        if len(value) < shortest:
            return f": must NOT have fewer than {shortest} characters"
        return f": must NOT have more than {longest} characters" if len(value) > longest else ""

    return check


def _number(minimum: int) -> Check:
    def check(value: object) -> str:
        if isinstance(value, bool) or not isinstance(value, int):
            return ": must be integer"
        return f": must be >= {minimum}" if value < minimum else ""

    return check


def _among(words: frozenset[str]) -> Check:
    def check(value: object) -> str:
        if isinstance(value, str) and value in words:
            return ""
        return ": must be equal to one of the allowed values"

    return check


def _texts(value: object) -> str:
    if not isinstance(value, list):
        return ": must be array"
    if len(value) > MOST_ITEMS:
        return f": must NOT have more than {MOST_ITEMS} items"
    wrong = ((i, _NAME(one)) for i, one in enumerate(value))
    return next((f"/{i}{reason}" for i, reason in wrong if reason), "")


def _flags(value: object) -> str:
    if not isinstance(value, dict):
        return ": must be object"
    return "" if all(isinstance(one, bool) for one in value.values()) else ": must hold booleans"


def _anything(_value: object) -> str:
    return ""


def _closed(members: Mapping[str, Check], required: frozenset[str]) -> Callable[[object], str]:
    """The reason against an object, worded as `at /place: why` or, for the object itself, `why`."""

    def check(value: object) -> str:
        if not isinstance(value, dict):
            return "must be object"
        for name in members:
            if name in required and name not in value:
                return f"must have required property '{name}'"
        if not value.keys() <= members.keys():
            return "must NOT have additional properties"
        reasons = ((name, members[name](one)) for name, one in value.items())
        return next((f"at /{name}{reason}" for name, reason in reasons if reason), "")

    return check


def _inner(members: Mapping[str, Check], required: frozenset[str]) -> Check:
    """A closed object within the parameters."""
    closed = _closed(members, required)

    def check(value: object) -> str:
        reason = closed(value)
        if not reason:
            return ""
        return reason[len("at ") :] if reason.startswith("at ") else f": {reason}"

    return check


_NAME = _text()
_FREE = _text(shortest=0, longest=65_536)
_CLIENT: Mapping[str, Check] = {
    "id": _among(CLIENT_IDS),
    "version": _NAME,
    "platform": _NAME,
    "mode": _among(CLIENT_MODES),
    "displayName": _NAME,
    "buildId": _text(longest=96),
    "deviceFamily": _NAME,
    "modelIdentifier": _NAME,
    "timeZone": _text(longest=64),
    "instanceId": _NAME,
}
_AUTH: Mapping[str, Check] = {
    "token": _FREE,
    "password": _FREE,
    "deviceToken": _FREE,
    "bootstrapToken": _FREE,
    "approvalRuntimeToken": _FREE,
    "agentRuntimeIdentityToken": _FREE,
}
_DEVICE: Mapping[str, Check] = {
    **dict.fromkeys(("id", "publicKey", "signature", "nonce"), _NAME),
    "signedAt": _number(0),
}
_PARAMS: Mapping[str, Check] = {
    "minProtocol": _number(1),
    "maxProtocol": _number(1),
    "client": _inner(_CLIENT, frozenset({"id", "version", "platform", "mode"})),
    "role": _NAME,
    "scopes": _texts,
    "caps": _texts,
    "commands": _texts,
    "permissions": _flags,
    "pathEnv": _FREE,
    "locale": _FREE,
    "userAgent": _FREE,
    "auth": _inner(_AUTH, frozenset()),
    # Nothing is made of an identity; its shape is checked so that a client's mistake is told to it.
    "device": _inner(_DEVICE, frozenset(_DEVICE)),
    "computerUse": _anything,
    "workerRuns": _anything,
}
