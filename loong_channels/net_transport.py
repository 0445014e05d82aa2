"""What stands between the HTTP client and urllib3: routing, connections under watch, errors into faults.

Of urllib3 the pools and their connections are used, one request and one answer at a time: it follows no redirect,
repeats nothing and reads nothing from the environment. This module and `net` are the only ones that know it.
"""

from __future__ import annotations

import base64
import functools
import http.client
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import quote, urlsplit

import urllib3
import urllib3.exceptions
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from .egress import Egress, Proxy
from .faults import BadAnswer, Fault, Interrupted, Refused, TimedOut, Unreachable
from .net_sockets import Unsent, Watch, WatchedSocket, current_watch, open_socket, watching

__all__ = ["Pools", "exchange", "read_piece"]

READ_BYTES = 65536
MAX_ORIGINS = 16
MAX_ADDRESSES = 64
# A request up to this size leaves in one piece: one system call, one TLS record, and one wake-up of the peer.
ONE_PIECE_BYTES = 16384
_TARGET_SAFE = "/?#[]@!$&'()*+,;=%:~-._"


@dataclass(frozen=True, repr=False)
class Way:
    """How to reach an address: who is asked, over which connections, and by what target. Has no repr: see `Call`."""

    peer: str
    pool: HTTPConnectionPool
    proxy: Proxy | None
    target: str


def exchange(way: Way, method: str, headers: Mapping[str, str], body: bytes | None, watch: Watch) -> Any:
    """Send a request and return the library's raw answer, its body unread. Blocks as `watch` allows; raises faults."""
    send = functools.partial(way.pool.urlopen, method, way.target, body, headers, **_PLAIN)
    try:
        with watching(watch):
            try:
                raw: Any = send()
            except Unsent:
                # The kept connection was dead before anything left; the next one is checked or new.
                raw = send()
    except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError) as error:
        raise _translate(error, watch) from None
    if raw.status == 407 and way.proxy is not None:
        raw.close()
        raise _proxy_refused(way.proxy.host, way.proxy.port, "407")
    return raw


def read_piece(raw: Any, watch: Watch, *, decode: bool) -> bytes:
    """The next bytes of an answer's body, b"" at its end. Blocks as `watch` allows; raises faults."""
    try:
        piece: bytes | None = raw.read1(READ_BYTES, decode_content=decode)
    except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError, ValueError) as error:
        raise _translate(error, watch) from None
    return piece or b""


class Pools:
    """The kept connections, chosen by the egress rules. Thread-safe; `_guard` protects the tables."""

    def __init__(self, egress: Egress, pool_size: int) -> None:
        self._egress = egress
        self._pool_size = pool_size
        self._guard = threading.Lock()
        self._ways: dict[str, Way] = {}
        self._pools: dict[tuple[str, str, int], tuple[HTTPConnectionPool, Proxy | None]] = {}
        self._managers: dict[Proxy | None, urllib3.PoolManager] = {}

    def way_to(self, url: str) -> Way:
        """The way to an address. Raises EgressInvalid, and Refused for an address that cannot be used."""
        with self._guard:
            known = self._ways.get(url)
            if known is None:
                if len(self._ways) >= MAX_ADDRESSES:
                    self._ways.clear()
                known = self._ways[url] = self._find_way(url)
            return known

    def close(self) -> None:
        """Close every kept connection."""
        with self._guard:
            self._forget()

    def _forget(self) -> None:
        # A pool closes its connections when nobody has it any more.
        self._ways.clear()
        self._pools.clear()
        self._managers.clear()

    def _find_way(self, url: str) -> Way:
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            raise Refused("not a usable address", code="address") from None
        if parts.scheme not in ("http", "https") or not host or "@" in parts.netloc:
            raise Refused("not a usable http or https address", code="address")
        # Whether the library minds depends on its version.
        if " " in host or not host.isprintable():
            raise Refused("not a usable address", code="address")
        default_port = 443 if parts.scheme == "https" else 80
        peer = host if port in (None, default_port) else f"{host}:{port}"
        pool, proxy = self._pool_for(parts.scheme, host, port or default_port)
        target = quote(parts.path or "/", safe=_TARGET_SAFE)
        if parts.query:
            target += "?" + quote(parts.query, safe=_TARGET_SAFE)
        if proxy is not None and parts.scheme == "http":
            target = f"http://{_authority(host, port)}{target}"
        return Way(peer, pool, proxy, target)

    def _pool_for(self, scheme: str, host: str, port: int) -> tuple[HTTPConnectionPool, Proxy | None]:
        key = (scheme, host, port)
        known = self._pools.get(key)
        if known is not None:
            return known
        if len(self._pools) >= MAX_ORIGINS:
            self._forget()
        proxy = self._egress.route(scheme, host, port)
        if proxy not in self._managers:
            self._managers[proxy] = _make_manager(proxy, self._pool_size)
        tls = {"ssl_context": self._egress.tls_context()} if scheme == "https" else {}
        try:
            pool = self._managers[proxy].connection_from_host(_ascii_name(host), port, scheme, tls)
        except urllib3.exceptions.LocationValueError:
            raise Refused("not a usable address", code="address") from None
        self._pools[key] = pool, proxy
        return pool, proxy


def _make_manager(proxy: Proxy | None, pool_size: int) -> urllib3.PoolManager:
    if proxy is None:
        manager = urllib3.PoolManager(MAX_ORIGINS, maxsize=pool_size)
    else:
        headers = {}
        if proxy.user or proxy.password:
            pair = f"{proxy.user}:{proxy.password}".encode()
            headers["Proxy-Authorization"] = "Basic " + base64.b64encode(pair).decode("ascii")
        manager = urllib3.ProxyManager(
            f"http://{_authority(proxy.host, proxy.port)}",
            MAX_ORIGINS,
            proxy_headers=headers,
            maxsize=pool_size,
        )
    manager.pool_classes_by_scheme = _POOL_CLASSES
    return manager


def _authority(host: str, port: int | None) -> str:
    name = f"[{host}]" if ":" in host else _ascii_name(host)
    return name if port is None else f"{name}:{port}"


def _ascii_name(host: str) -> str:
    """An international host name as it is looked up and sent (RFC 5890).

    Not by the codec "idna": its rules are those of 2003 and would lead from a name with a sharp s to another host.
    """
    labels = (
        part if part.isascii() else f"xn--{part.encode('punycode').decode()}" for part in host.split(".")
    )
    return ".".join(labels)


class _WatchedConnection(HTTPConnection):
    """A connection whose sockets belong to the call that the current thread is making."""

    # The pieces of a request that wait to leave together; None while bytes leave at once.
    _held: list[bytes] | None = None

    def connect(self) -> None:
        """Connect, through the proxy if there is one, and shake hands. Raises faults."""
        watch = _this_watch()
        watch.begin_connect(watch.peer if self.proxy is None else f"proxy {self.host}:{self.port}")
        self._calls = 0
        held, self._held = self._held, None
        try:
            super().connect()
        except (OSError, http.client.HTTPException) as error:
            if self.proxy is None:
                raise _translate(error, watch) from None
            # The only thing that the library tells about a refused CONNECT is this sentence.
            text = str(error)
            code = text.split()[3] if text.startswith("Tunnel connection failed: ") else ""
            raise _proxy_refused(self.host, self.port, code) from None
        self._held = held

    def request(self, *arguments: Any, **options: Any) -> None:
        """Send a request; on a kept connection the sockets change hands first."""
        watch = _this_watch()
        sock = self._watched_socket
        if sock is not None:
            watch.attach(sock)
            watch.begin_request(reused=self._calls > 0)
        self._held = []
        super().request(*arguments, **options)
        self._flush()
        self._calls += 1

    def send(self, data: Any) -> None:
        """Send bytes, connecting first where nothing has yet; the small pieces of a request leave together."""
        if self.sock is None:
            self.connect()
            _this_watch().begin_request(reused=False)
        if self._held is not None and isinstance(data, bytes) and len(data) <= ONE_PIECE_BYTES:
            self._held.append(data)
            return
        self._flush()
        super().send(data)

    def _flush(self) -> None:
        held, self._held = self._held, None
        if held:
            super().send(b"".join(held))

    @property
    def is_connected(self) -> bool:
        """False for a connection that the peer closed or that was idle for too long."""
        sock = self._watched_socket
        return sock is not None and sock.idle_s() <= _this_watch().idle_limit_s and super().is_connected

    @property
    def _watched_socket(self) -> WatchedSocket | None:
        return cast("WatchedSocket | None", self.sock)

    def _new_conn(self) -> Any:
        return open_socket(self.host, self.port, _this_watch())


class _WatchedTlsConnection(_WatchedConnection, HTTPSConnection):
    """The same over TLS."""


class _Pool(HTTPConnectionPool):
    ConnectionCls = _WatchedConnection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _WatchedTlsConnection


_POOL_CLASSES = {"http": _Pool, "https": _TlsPool}
# One request and the raw answer to it, whatever it is; time is kept by the watch.
_PLAIN: dict[str, Any] = {
    "retries": urllib3.Retry(False),
    "redirect": False,
    "assert_same_host": False,
    "timeout": urllib3.Timeout(connect=None, read=None),
    "preload_content": False,
    "decode_content": False,
}


def _this_watch() -> Watch:
    watch = current_watch()
    assert watch is not None
    return watch


def _proxy_refused(host: str, port: int | None, code: str) -> Unreachable:
    what = "did not answer as a proxy"
    if code:
        what = (
            f"wants other credentials (HTTP {code})" if code == "407" else f"refused to connect (HTTP {code})"
        )
    return Unreachable(f"proxy {host}:{port} {what}", maybe_processed=False)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it was made of; the libraries wrap in several layers and ways."""
    waiting: list[BaseException] = [error]
    for _ in range(16):
        if not waiting:
            return
        current = waiting.pop(0)
        yield current
        waiting += [part for part in current.args if isinstance(part, BaseException)]
        if current.__cause__ is not None:
            waiting.append(current.__cause__)


def _translate(error: Exception, watch: Watch) -> Fault:
    """The fault for an error of the library. Its own words are never used: they quote addresses and headers."""
    causes = list(_causes(error))
    if watch.cancelled:
        return Interrupted("interrupted")
    if watch.deadline.expired:
        return TimedOut(f"{watch.peer} did not finish in time", maybe_processed=watch.sent_bytes > 0)
    processed = watch.sent_bytes > 0
    if any(isinstance(cause, http.client.RemoteDisconnected) for cause in causes):
        return Unreachable(f"{watch.peer} closed the connection without an answer", maybe_processed=processed)
    if any(isinstance(cause, http.client.IncompleteRead) for cause in causes):
        return Unreachable(f"the answer of {watch.peer} was cut short", maybe_processed=processed)
    for cause in causes:
        if isinstance(cause, OSError):
            return watch.broken(cause)
    return BadAnswer(f"{watch.peer} does not speak HTTP as expected ({type(causes[-1]).__name__})")
