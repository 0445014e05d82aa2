"""What a method of the WebSocket side is given and what it answers with. No sockets here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, Union

from .params import Params

__all__ = [
    "ADMIN",
    "APPROVALS",
    "DEFERRED",
    "READ",
    "WRITE",
    "Call",
    "Client",
    "Deferred",
    "Method",
    "RpcFault",
    "holds",
]

READ = "operator.read"
WRITE = "operator.write"
ADMIN = "operator.admin"
APPROVALS = "operator.approvals"


def holds(scopes: frozenset[str], wanted: str | None) -> bool:
    """Whether these scopes give `wanted`: admin gives all, write gives read, others only themselves."""
    if wanted is None or wanted in scopes or ADMIN in scopes:
        return True
    return wanted == READ and WRITE in scopes


class RpcFault(Exception):
    """Raised by a method to be answered with `ok: false`.

    `code` is INVALID_REQUEST, UNAVAILABLE, FORBIDDEN, NOT_PAIRED or APPROVAL_NOT_FOUND; `message` is one line that is
    not empty and holds no secret and nothing that the client sent but names. `payload` stands beside the error in the
    frame.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        details: Mapping[str, object] | None = None,
        retryable: bool = False,
        retry_after_ms: int | None = None,
        payload: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.details = details
        self.retryable = retryable
        self.retry_after_ms = retry_after_ms
        self.payload = payload


@dataclass(frozen=True)
class Client:
    """Who is at the other end of a connection, as granted: `scopes` is what is enforced, whatever was claimed.

    `closed` tells whether the connection is over. `id` and `mode` are those of `connect`, `caps` what it can do.
    """

    conn_id: str
    id: str
    mode: str
    scopes: frozenset[str]
    caps: frozenset[str] = frozenset()
    address: str = ""
    local: bool = True
    closed: Callable[[], bool] = field(default=lambda: False)


class Call(Protocol):
    """One request while it is answered. Thread-safe: what it answers may be said from any thread.

    `params` are there until the method returns: they may be large, and the answer may be hours away.
    A method that returns a value is answered with it. One that returns DEFERRED answers by `respond` and `fail`
    itself, as often as its protocol says; answers to a client that has left are dropped.
    """

    method: str
    params: Params
    client: Client

    def respond(self, payload: object) -> None:
        """Answer `ok: true`. Never blocks."""

    def fail(self, fault: RpcFault) -> None:
        """Answer `ok: false`. Never blocks."""

    def later(self, after_s: float, action: Callable[[], None]) -> Callable[[], None]:
        """Do something after a time, unless the returned function is called before; must be quick, must not block.

        When the client leaves it is done at once. Raises RpcFault when too much is due for this client already.
        """


class Deferred:
    """What DEFERRED is."""


DEFERRED = Deferred()
Handler = Callable[[Call], Union[object, Deferred]]


@dataclass(frozen=True)
class Method:
    """A method by its name on the wire. `scope` None: any connection that has said hello.

    A method that `waits` (for a disk, a platform, a person) runs on a pool; any other runs in its connection's reader
    and must return at once. `writes_config` counts towards the limit on changes of the configuration. One that
    `starts_work` is refused while the gateway stops.
    """

    name: str
    scope: str | None
    handler: Handler
    waits: bool = False
    writes_config: bool = False
    starts_work: bool = False
