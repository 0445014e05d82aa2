"""Outbound HTTP: what channels and providers use to reach the outside world.

One `HttpClient` belongs to one user (a channel account, a provider): `interrupt` ends everything it does, and its
connections are its own. Calls may come from any thread.
"""

from __future__ import annotations

import contextlib
import json as jsonlib
import logging
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Callable

from .decoding import load_json
from .egress import Egress, EgressInvalid
from .faults import BadAnswer, Fault, Interrupted, Refused
from .net_sockets import IDLE_LIMIT_S, CertificateRefused, Watch
from .net_transport import READ_BYTES, Pools, exchange, read_piece
from .waiting import Deadline, StopToken

__all__ = ["Call", "CertificateRefused", "Egress", "EgressInvalid", "HttpAnswer", "HttpClient", "HttpStream"]

_encode_json = jsonlib.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


@dataclass(frozen=True, repr=False)
class Call:
    """One request, and how long it may take.

    `json` (not None) is sent as the body. At most `first_byte_s` may pass before the first byte of the answer,
    `gap_s` before each one after it and `deadline` in all; `stop` wakes the call at once. Has no repr: addresses
    and headers hold secrets.
    """

    method: str
    url: str
    deadline: Deadline
    headers: Mapping[str, str] | None = None
    json: object = None
    body: bytes | None = None
    stop: StopToken | None = None
    first_byte_s: float = 120.0
    gap_s: float = 60.0


@dataclass(frozen=True)
class HttpAnswer:
    """A whole answer. Header names are in lower case; repeated headers are joined with commas."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON; raises BadAnswer when it is not."""
        try:
            return load_json(self.body)
        except ValueError:
            raise BadAnswer(f"the answer (HTTP {self.status}) is not JSON") from None


class HttpStream:
    """An answer whose body is still arriving. Used by one thread, inside the `with` that made it."""

    def __init__(self, raw: Any, watch: Watch) -> None:
        self.status: int = raw.status
        self.headers: Mapping[str, str] = {k.lower(): v for k, v in raw.headers.items()}
        self._raw = raw
        self._watch = watch
        self._decode = "content-encoding" in self.headers

    def chunks(self) -> Iterator[bytes]:
        """The body as it arrives, in pieces of any size. Blocks; raises faults, also for a body that breaks off."""
        while True:
            piece = read_piece(self._raw, self._watch, decode=self._decode)
            if not piece:
                return
            yield piece

    def read(self, limit_bytes: int) -> bytes:
        """The rest of the body. Blocks; raises faults, BadAnswer when it is longer than `limit_bytes`."""
        body = self._read(limit_bytes)
        if body is None:
            raise BadAnswer(f"the answer of {self._watch.peer} is longer than {limit_bytes} bytes")
        return body

    def read_file(self, max_bytes: int) -> bytes:
        """As `read`, for what somebody uploaded: Refused (too_large) when there is more of it."""
        announced = self.headers.get("content-length", "")
        announced_bytes = int(announced) if announced.isdecimal() and len(announced) < 19 else 0
        body = None if announced_bytes > max_bytes else self._read(max_bytes)
        if body is None:
            raise Refused(f"the file has more than {max_bytes} bytes", code="too_large")
        return body

    def _read(self, limit_bytes: int) -> bytes | None:
        """The rest of the body, None as soon as it is longer."""
        pieces = []
        size = 0
        for piece in self.chunks():
            size += len(piece)
            if size > limit_bytes:
                return None
            pieces.append(piece)
        return b"".join(pieces)

    def hurry(self, seconds: float) -> None:
        """From now on the rest of the body may take `seconds` in all. Does not block."""
        self._watch.tighten(seconds)

    def settle(self, seconds: float) -> None:
        """Read what little may follow the part that mattered, so that the connection can be kept. Never raises."""
        self._watch.tighten(seconds)
        with contextlib.suppress(Fault):
            self.read(READ_BYTES)

    def close(self) -> None:
        """Give the connection back, or close it when the body was not read to its end."""
        self._raw.close() if not self._raw.isclosed() else self._raw.release_conn()


class HttpClient:
    """Makes requests. Thread-safe; `_guard` protects the calls in progress, the pools and the end of it all.

    `pool_size` connections per host are kept; one that was idle for `idle_limit_s` is not used again. `reach` says of
    an address whether it may be connected to; a proxy's is asked about as well.
    """

    def __init__(
        self,
        egress: Egress,
        *,
        user_agent: str = "loong",
        pool_size: int = 64,
        idle_limit_s: float = IDLE_LIMIT_S,
        reach: Callable[[str], bool] | None = None,
    ) -> None:
        # It writes request targets into its log, and in a target there may be a token.
        logging.getLogger("urllib3").setLevel(logging.CRITICAL)
        self._pools = Pools(egress, pool_size)
        self._user_agent = user_agent
        self._idle_limit_s = idle_limit_s
        self._reach = reach
        self._guard = threading.Lock()
        self._active: set[Watch] = set()
        self._interrupted = False

    def request(self, call: Call, *, max_bytes: int = 16 << 20) -> HttpAnswer:
        """Send a request and read the whole answer, whatever its status; redirects are answers too.

        Blocks for as long as the call allows; its `stop` or `interrupt` wakes it at once.
        Raises Unreachable (TimedOut, CertificateRefused, EgressInvalid among them), Interrupted, BadAnswer, and
        Refused for an address or header that cannot be sent. No message holds the address beyond the host.
        """
        with self.stream(call) as answer:
            return HttpAnswer(answer.status, answer.headers, answer.read(max_bytes))

    @contextlib.contextmanager
    def stream(self, call: Call) -> Iterator[HttpStream]:
        """As `request`, but yields the answer when its head has arrived; limits and faults hold for its body too."""
        headers, body = self._prepare(call)
        way = self._pools.way_to(call.url)
        watch = Watch(
            way.peer,
            call.deadline,
            first_byte_s=call.first_byte_s,
            gap_s=call.gap_s,
            idle_limit_s=self._idle_limit_s,
            reach=self._reach,
        )
        stop = call.stop
        with self._registered(watch), contextlib.nullcontext() if stop is None else stop.watch(watch.cancel):
            watch.allow()
            answer = HttpStream(exchange(way, call.method, headers, body, watch), watch)
            try:
                yield answer
            finally:
                answer.close()

    def interrupt(self) -> None:
        """Wake every call in progress and refuse every later one, for good. Thread-safe, idempotent, does not block."""
        with self._guard:
            self._interrupted = True
            active = list(self._active)
        for watch in active:
            watch.cancel()

    def close(self) -> None:
        """Close the kept connections; calls in progress go on."""
        self._pools.close()

    @contextlib.contextmanager
    def _registered(self, watch: Watch) -> Iterator[None]:
        with self._guard:
            if self._interrupted:
                raise Interrupted("interrupted")
            self._active.add(watch)
        try:
            yield
        finally:
            watch.end()
            with self._guard:
                self._active.discard(watch)

    def _prepare(self, call: Call) -> tuple[dict[str, str], bytes | None]:
        sent = {"User-Agent": self._user_agent}
        body = call.body
        if call.json is not None:
            # A lone surrogate has no UTF-8 form; better a question mark in the text than no request.
            body = _encode_json(call.json).encode("utf-8", "replace")
            sent["Content-Type"] = "application/json"
        sent.update(call.headers or {})
        for name, value in sent.items():
            if not (name.isascii() and value.isascii() and name.isprintable() and value.isprintable()):
                raise Refused(f"header {name!a} holds characters that cannot be sent", code="header")
        if body is not None:
            sent["Content-Length"] = str(len(body))
        return sent, body
