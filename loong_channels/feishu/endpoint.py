"""Where a long connection goes and what the platform wants of it: the answer of the endpoint request, and its faults.

`POST {base}/callback/ws/endpoint` with {"AppID", "AppSecret"} answers {"code", "msg", "data": {"URL", "ClientConfig"}}.
The URL holds credentials: nothing here ever shows it. Pure: no connection is opened.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from loong_channels.faults import (
    BadAnswer,
    BadCredentials,
    Conflict,
    Fault,
    Overloaded,
    Throttled,
    Unreachable,
)
from loong_channels.text import one_line

__all__ = ["Endpoint", "fault_of_code", "ping_interval_s", "read_endpoint"]

# Codes of the endpoint and of a refused handshake.
BUSY = frozenset({1, 1000040343})
AUTH_FAILED = 514
FORBIDDEN = 403
TOO_MANY_CONNECTIONS = 1000040350
RATE_LIMITED = 99991400
# Connections that leaked, or a second deployment: neither is over in a moment.
CONFLICT_S = 300.0
_RATE_LIMIT_S = 60.0
_PING_S = 120
_MAX_PING_S = 600


@dataclass(frozen=True)
class Endpoint:
    """A place to connect to, good for one connection."""

    url: str = field(repr=False)
    service_id: int
    ping_interval_s: int = _PING_S


def ping_interval_s(config: object, known_s: int = _PING_S) -> int:
    """The ping interval in a ClientConfig as far as it makes sense, else what was known.

    The other figures are not used: when to connect again is decided where all channels' retries are.
    """
    found = _whole(config.get("PingInterval")) if isinstance(config, Mapping) else None
    return found if found is not None and 1 <= found <= _MAX_PING_S else known_s


def read_endpoint(body: object) -> Endpoint:
    """The endpoint in the decoded body of an answer. Raises the fault that the answer stands for."""
    if not isinstance(body, Mapping):
        raise BadAnswer("the endpoint request: the answer is no object")
    code = _whole(body.get("code"))
    if code is None:
        raise BadAnswer("the endpoint request: an answer without a code")
    if code != 0:
        raise fault_of_code(code, str(body.get("msg") or ""))
    data = body.get("data")
    data = data if isinstance(data, Mapping) else {}
    url = data.get("URL")
    try:
        parts = urlsplit(url) if isinstance(url, str) else None
    except ValueError:
        parts = None
    if parts is None or parts.scheme not in ("ws", "wss") or not parts.hostname:
        # Seen while the platform is being changed; the next request is answered properly.
        raise Unreachable("the endpoint request: no usable address in the answer", maybe_processed=True)
    query = parse_qs(parts.query)
    service = _whole((query.get("service_id") or ["0"])[0])
    return Endpoint(
        url=str(url),
        service_id=service if service is not None and abs(service) < 1 << 31 else 0,
        ping_interval_s=ping_interval_s(data.get("ClientConfig")),
    )


def fault_of_code(code: int, message: str = "") -> Fault:
    """What a code other than 0 means for whoever wanted to connect."""
    said = f"{code} {one_line(message, 120)}".strip()
    if code in BUSY:
        return Overloaded(f"the platform cannot give an endpoint now: {said}")
    if code == TOO_MANY_CONNECTIONS:
        return Conflict(f"the app has too many long connections: {said}", retry_after_s=CONFLICT_S)
    if code == RATE_LIMITED:
        return Throttled(f"the endpoint request: {said}", retry_after_s=_RATE_LIMIT_S, whole_account=True)
    if code == AUTH_FAILED:
        return BadCredentials(f"the platform does not accept app_id and app_secret: {said}")
    if code == FORBIDDEN:
        return BadCredentials(
            "the platform refuses the long connection; the app must be published, have its bot enabled and receive"
            f" events by long connection: {said}"
        )
    # Whatever else it is, asking again quickly does not help.
    return BadCredentials(f"the platform refuses the long connection: {said}")


def _whole(value: object) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, str) and len(value) < 20 and value.isascii():
        sign, digits = (-1, value[1:]) if value[:1] == "-" else (1, value)
        return sign * int(digits) if digits.isdecimal() else None
    return None
