"""Faults on order: what the next calls of a method suffer, in the order they were asked for."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

from .http_server import Call

BEFORE = {"too_many", "status", "html", "reset", "hang_up"}
KINDS = BEFORE | {
    "delay",
    "hang",
    "hold",
    "truncated",
    "null",
    "empty",
    "lost",
    "drip",
    "drip_head",
    # of the model only
    "broken_stream",
    "error_in_stream",
    "no_done",
    "html_200",
    "empty_choices",
    "null_content",
    "error_200",
    "length",
    "content_filter",
}
FOREVER_S = 3600.0
HTML_502 = b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>nginx</body>\r\n</html>\r\n"


@dataclass
class Fault:
    """One order. `times` None means every call from now on; `skip` calls are let through first.

    `where` narrows by parameters: equal values, or with a name ending in "~" a substring.
    """

    method: str
    kind: str
    times: int | None = 1
    skip: int = 0
    where: Mapping[str, object] = field(default_factory=dict)
    seconds: float = 0.0
    retry_after: float = 1
    status: int = 500
    description: str = ""
    parameters: Mapping[str, object] = field(default_factory=dict)
    headers: tuple[tuple[str, str], ...] = ()
    pieces: int = 1
    hits: int = 0
    gate: threading.Event = field(default_factory=threading.Event, repr=False)

    def fits(self, method: str, params: Mapping[str, object]) -> bool:
        """Whether the call is of the kind that this order is about."""
        if self.method not in ("*", method):
            return False
        for name, wanted in self.where.items():
            if name.endswith("~"):
                if str(wanted) not in str(params.get(name[:-1], "")):
                    return False
            elif str(params.get(name)) != str(wanted):
                return False
        return True


class FaultBook:
    """The open orders. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._orders: list[Fault] = []
        self._served: list[Fault] = []

    def order(self, method: str, kind: str, **details: object) -> Fault:
        """Add an order; `details` are the fields of Fault."""
        if kind not in KINDS:
            raise ValueError(f"unknown fault {kind!r}; known: {sorted(KINDS)}")
        fault = Fault(method.lower(), kind, **details)  # type: ignore[arg-type]
        with self._lock:
            self._orders.append(fault)
        return fault

    def take(self, method: str, params: Mapping[str, object]) -> Fault | None:
        """The order that the call falls under, used up by one."""
        with self._lock:
            for fault in self._orders:
                if not fault.fits(method, params):
                    continue
                if fault.skip > 0:
                    fault.skip -= 1
                    return None
                fault.hits += 1
                if fault.times is not None:
                    fault.times -= 1
                    if fault.times <= 0:
                        self._orders.remove(fault)
                        self._served.append(fault)
                return fault
        return None

    def release(self) -> None:
        """Let every call that hangs or is held go on, and forget the orders to hang or hold."""
        with self._lock:
            for fault in self._orders + self._served:
                fault.gate.set()
            self._orders = [fault for fault in self._orders if fault.kind not in ("hang", "hold")]

    def clear(self) -> None:
        """Forget all orders and let every waiting call go on."""
        self.release()
        with self._lock:
            self._orders.clear()
            self._served.clear()


def suffer_before(fault: Fault | None, call: Call) -> bool:
    """What happens before the request is processed. True when the call is over."""
    if fault is None:
        return False
    if fault.kind == "delay":
        call.pause(fault.seconds)
    elif fault.kind == "hang":
        call.pause(fault.seconds or FOREVER_S, fault.gate)
    elif fault.kind == "reset":
        call.reset()
        return True
    elif fault.kind == "hang_up":
        call.hang_up()
        return True
    elif fault.kind == "html":
        call.reply(fault.status if fault.status != 500 else 502, HTML_502, "text/html")
        return True
    return False


def suffer_answer(
    fault: Fault | None, call: Call, status: int, body: bytes, headers: tuple[tuple[str, str], ...] = ()
) -> None:
    """Send the answer of a processed request, or what the order leaves of it."""
    kind = fault.kind if fault is not None else ""
    if fault is None or kind in ("delay", "hang"):
        call.reply(status, body, headers=headers)
    elif kind == "hold":
        call.pause(fault.seconds or FOREVER_S, fault.gate)
        call.reply(status, body, headers=headers)
    elif kind == "lost":
        call.reset()
    elif kind == "truncated":
        call.reply(status, body[: max(1, len(body) // 2)], headers=headers)
    elif kind == "null":
        call.reply(200, b"null")
    elif kind == "empty":
        call.reply(200, b"")
    elif kind == "drip":
        call.send(call.head(status, "application/json", len(body), headers))
        call.drip(body, fault.seconds or 0.05)
    elif kind == "drip_head":
        call.drip(call.head(status, "application/json", len(body), headers) + body, fault.seconds or 0.05)
    else:
        call.reply(status, body, headers=headers)
