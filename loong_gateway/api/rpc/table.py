"""From a request to its answer: which method, whether the client may, and in which words it fails."""

from __future__ import annotations

import functools
import logging
import math
import time
import traceback
from collections.abc import Iterable
from typing import Callable

from loong_gateway.base.faults import CommandError, StoreUnwritable
from loong_gateway.base.metrics import Metrics
from loong_gateway.base.pool import Pool
from loong_gateway.base.rate_limit import RateLimit
from loong_gateway.base.timers import Timers
from loong_gateway.base.wording import one_line

from .calls import DEFERRED, Client, Method, RpcFault, holds
from .frames import Frame, failure, success
from .member import Member
from .params import BadParam, Params

__all__ = ["Table", "Unauthorized"]

logger = logging.getLogger("loong.rpc")

WRITES_PER_WINDOW = 30
WRITE_WINDOW_S = 60.0
# Whose codes say that the request was right and the moment is not.
NOT_NOW = ("run.", "store.")


class Unauthorized(Exception):
    """Raised after the answer to a request for which the client lacks the scope; `str()` is the method."""


class Table:
    """The methods by name. Thread-safe."""

    def __init__(
        self,
        methods: Iterable[Method],
        *,
        pool: Pool,
        timers: Timers,
        metrics: Metrics,
        stopping: Callable[[], bool],
        scrub: Callable[[str], str] = str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._methods = {method.name: method for method in methods}
        self._pool = pool
        self._timers = timers
        self._metrics = metrics
        self._stopping = stopping
        self._scrub = scrub
        self._writes = RateLimit(WRITES_PER_WINDOW, WRITE_WINDOW_S, clock=clock)

    @property
    def names(self) -> list[str]:
        """Every method there is."""
        return sorted(self._methods)

    def handle(self, frame: Frame, member: Member, size: int) -> None:
        """Answer a request, now or later. Never blocks. `size` is that of the message; raises Unauthorized."""
        call = _Request(frame, member, self)
        try:
            method = self._admit(call, frame, member)
            if method.waits:
                self._queue(method, call, member, size)
            else:
                self._run(method, call)
        except RpcFault as fault:
            call.fail(fault)
            if fault.code == "FORBIDDEN":
                raise Unauthorized(frame.method) from None

    def later(self, member: Member, after_s: float, action: Callable[[], None]) -> Callable[[], None]:
        """See Call.later."""
        due = member.begin_timer(action)
        try:
            cancel = self._timers.later(after_s, due)
        except RuntimeError:
            member.end_timer(due)
            raise RpcFault("UNAVAILABLE", "the gateway is busy", retryable=True) from None

        def take_back() -> None:
            cancel()
            member.end_timer(due)

        return take_back

    def scrubbed(self, fault: RpcFault) -> RpcFault:
        """The fault with a message of one line without secrets."""
        message = self._scrub(one_line(str(fault))) or "internal error"
        return RpcFault(
            fault.code,
            message,
            details=fault.details,
            retryable=fault.retryable,
            retry_after_ms=fault.retry_after_ms,
            payload=fault.payload,
        )

    def _admit(self, call: _Request, frame: Frame, member: Member) -> Method:
        """Every check that is not the method's own, in the fixed order. Raises RpcFault."""
        if frame.method == "connect":
            raise RpcFault("INVALID_REQUEST", "connect is only valid as the first request")
        method = self._methods.get(frame.method)
        if method is None:
            self._metrics.add("rpc_unknown")
            raise RpcFault("INVALID_REQUEST", f"unknown method: {frame.method}")
        self._metrics.add(f"rpc:{method.name}")
        if not holds(member.client.scopes, method.scope):
            details = {
                "code": "MISSING_SCOPE",
                "missingScope": method.scope,
                "requiredScopes": [method.scope],
            }
            raise RpcFault("FORBIDDEN", f"missing scope: {method.scope}", details=details)
        try:
            call.params = Params(frame.params)
        except BadParam as error:
            raise _bad_param(method.name, error) from None
        if method.starts_work and self._stopping():
            raise RpcFault(
                "UNAVAILABLE", "the gateway is stopping", retryable=True, details={"reason": "stopping"}
            )
        if method.writes_config:
            self._limit_writes(method.name, member.client)
        return method

    def _limit_writes(self, name: str, client: Client) -> None:
        wait_s = math.ceil(self._writes.take(f"{name} {client.address}"))
        if wait_s:
            raise RpcFault(
                "UNAVAILABLE",
                f"rate limit exceeded for {name}; retry after {wait_s}s",
                retryable=True,
                retry_after_ms=wait_s * 1000,
            )

    def _queue(self, method: Method, call: _Request, member: Member, size: int) -> None:
        if not member.begin_request():
            raise RpcFault("UNAVAILABLE", "too many requests in progress", retryable=True)
        if not self._pool.submit(functools.partial(self._run_queued, method, call, member), weight=size):
            member.end_request()
            raise RpcFault("UNAVAILABLE", "the gateway is busy", retryable=True, retry_after_ms=500)

    def _run_queued(self, method: Method, call: _Request, member: Member) -> None:
        try:
            self._run(method, call)
        finally:
            member.end_request()

    def _run(self, method: Method, call: _Request) -> None:
        try:
            answer = method.handler(call)
            # An answer that comes later would otherwise keep them until then.
            call.params = Params(None)
            if answer is not DEFERRED:
                call.respond(answer)
        except Exception as error:  # noqa: BLE001
            # Whatever goes wrong in one method is the answer to one request; a bug is logged without its words.
            call.fail(self._fault(method.name, error))

    def _fault(self, name: str, error: Exception) -> RpcFault:
        if isinstance(error, RpcFault):
            return error
        if isinstance(error, BadParam):
            return _bad_param(name, error)
        if isinstance(error, CommandError):
            not_now = error.code.startswith(NOT_NOW)
            told = {"reason": error.code, "where": error.where, "fix": error.fix}
            details = {key: value for key, value in told.items() if value is not None}
            code = "UNAVAILABLE" if not_now else "INVALID_REQUEST"
            return RpcFault(code, error.message, details=details, retryable=not_now)
        if isinstance(error, StoreUnwritable):
            message = "the gateway cannot write its store; nothing was taken, try again later"
            return RpcFault("UNAVAILABLE", message, retryable=True, details={"reason": "store_unwritable"})
        self.report(name, error)
        return RpcFault("UNAVAILABLE", "internal error")

    def report(self, name: str, error: Exception) -> None:
        """Log a bug in a method without the words of the exception, which may hold what the client sent."""
        where = "".join(traceback.format_tb(error.__traceback__))
        logger.error("method %s failed with %s\n%s", name, type(error).__name__, where)


def _bad_param(name: str, error: BadParam) -> RpcFault:
    return RpcFault("INVALID_REQUEST", f"invalid {name} params: {error}")


class _Request:
    """Implements calls.Call."""

    def __init__(self, frame: Frame, member: Member, table: Table) -> None:
        self.method = frame.method
        self.params = Params(None)
        self.client: Client = member.client
        self._id = frame.id
        self._member = member
        self._table = table

    def respond(self, payload: object) -> None:
        try:
            message = success(self._id, payload)
        except (TypeError, ValueError) as error:
            # What a method made cannot be said in JSON.
            self._table.report(self.method, error)
            self.fail(RpcFault("UNAVAILABLE", "internal error"))
            return
        self._member.send(message)

    def fail(self, fault: RpcFault) -> None:
        self._member.send(failure(self._id, self._table.scrubbed(fault)))

    def later(self, after_s: float, action: Callable[[], None]) -> Callable[[], None]:
        return self._table.later(self._member, after_s, action)
