"""How connections leave this host: proxy, exceptions from it, trusted certificates. One answer for every transport.

The config wins over the environment. Loopback is always direct. Nothing is read or checked before it is needed, so
an unusable setting stops only what depends on it; `problems` says it beforehand.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import ssl
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Union
from urllib.parse import unquote, urlsplit

from .faults import Unreachable
from .net_sockets import TlsSocket

__all__ = ["Egress", "EgressInvalid", "Proxy"]

_CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
# Where systems keep their bundle, for a Python whose OpenSSL was built to look somewhere else.
_SYSTEM_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)

_IpAddress = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]


class EgressInvalid(Unreachable):
    """Raised when a network setting cannot be used. `setting` is the config key or environment variable."""

    def __init__(self, setting: str, message: str) -> None:
        super().__init__(f"{setting}: {message}", maybe_processed=False)
        self.setting = setting


@dataclass(frozen=True)
class Proxy:
    """An HTTP proxy; `user` and `password` are decoded, "" when there is none. `setting` is where it comes from."""

    host: str
    port: int
    setting: str
    user: str = ""
    password: str = field(default="", repr=False)


class _TlsHolder:
    """Builds the TLS context once. `guard` protects `context`."""

    def __init__(self) -> None:
        self.guard = threading.Lock()
        self.context: ssl.SSLContext | None = None


@dataclass(frozen=True)
class Egress:
    """The network settings; None means "as the environment says", an empty proxy means "none". Thread-safe.

    `no_proxy` lists hosts, separated by commas or blanks: `x`, `.x` and `*.x` stand for x and everything below it,
    each also as `x:port`; addresses and networks in CIDR form match hosts written as addresses; `*` is everything.
    `ca_bundle` (a PEM file or a directory) is trusted in addition to the host's own store.
    """

    proxy: str | None = field(default=None, repr=False)
    no_proxy: str | None = None
    ca_bundle: str | None = None
    client_cert: str | None = None
    client_key: str | None = None
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False, compare=False)
    _tls: _TlsHolder = field(default_factory=_TlsHolder, init=False, repr=False, compare=False)

    def route(self, scheme: str, host: str, port: int) -> Proxy | None:
        """The proxy for a connection, or None for a direct one; `scheme` is http, https, ws or wss.

        Raises EgressInvalid when the proxy that applies cannot be used.
        """
        if is_loopback(host) or _excepted(host, port, self._no_proxy()):
            return None
        secure = scheme in ("https", "wss")
        for setting, value in self._proxies("https" if secure else "http"):
            return _parse_proxy(setting, value) if value else None
        return None

    def tls_context(self) -> ssl.SSLContext:
        """The one context for every TLS connection; its sockets are under watch. Raises EgressInvalid."""
        with self._tls.guard:
            if self._tls.context is None:
                self._tls.context = self._build_context()
            return self._tls.context

    def problems(self) -> tuple[tuple[str, str], ...]:
        """Every network setting that cannot be used, as (setting, message); reads the certificate files."""
        found: dict[str, str] = {}
        for scheme in ("https", "http"):
            for setting, value in self._proxies(scheme):
                try:
                    _parse_proxy(setting, value or "http://none")
                except EgressInvalid as error:
                    found[setting] = str(error)
                break
        try:
            self.tls_context()
        except EgressInvalid as error:
            found[error.setting] = str(error)
        return tuple(found.items())

    def _proxies(self, scheme: str) -> Iterator[tuple[str, str]]:
        """Candidates in order, as (setting, value); the first one decides."""
        if self.proxy is not None:
            yield "network.proxy", self.proxy.strip()
            return
        for name in (f"{scheme}_proxy", "all_proxy"):
            # Lower case first, as everywhere; an empty variable is as good as none.
            for variable in (name, name.upper()):
                value = self.environ.get(variable, "").strip()
                if value:
                    yield variable, value

    def _no_proxy(self) -> str:
        if self.no_proxy is not None:
            return self.no_proxy
        return self.environ.get("no_proxy") or self.environ.get("NO_PROXY") or ""

    def _build_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        context.sslsocket_class = TlsSocket
        has_store = _has_default_store(context) or _load_system_bundle(context)
        setting, bundle = self._ca_bundle()
        if bundle:
            _load_bundle(context, setting, bundle)
            # Inspecting proxies sign with roots that lack the fields which newer Pythons demand by default.
            context.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", 0)
        elif not has_store:
            raise EgressInvalid(
                "network.ca_bundle",
                "this host has no store of trusted certificates; "
                "install its package ca-certificates, or name a PEM file or a directory here",
            )
        if self.client_cert:
            _load_client_certificate(context, self.client_cert, self.client_key)
        return context

    def _ca_bundle(self) -> tuple[str, str]:
        if self.ca_bundle:
            return "network.ca_bundle", self.ca_bundle
        for variable in _CA_VARIABLES:
            if self.environ.get(variable):
                return variable, self.environ[variable]
        return "", ""


def is_loopback(host: str) -> bool:
    """True for a host name or address of this machine's loopback; names are not looked up."""
    name = _plain_host(host)
    if name == "localhost" or name.endswith(".localhost"):
        return True
    address = _address(name)
    return address is not None and address.is_loopback


def _plain_host(host: str) -> str:
    return host.strip().strip("[]").rstrip(".").lower()


def _address(name: str) -> _IpAddress | None:
    try:
        address = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _excepted(host: str, port: int, no_proxy: str) -> bool:
    name = _plain_host(host)
    address = _address(name)
    return any(
        _entry_matches(entry, name, address, port) for entry in no_proxy.lower().replace(",", " ").split()
    )


def _entry_matches(entry: str, name: str, address: _IpAddress | None, port: int) -> bool:
    if entry == "*":
        return True
    pattern, wanted_port = _split_port(entry)
    if wanted_port is not None and wanted_port != port:
        return False
    if address is not None:
        return _network_holds(pattern, address)
    domain = pattern[1:] if pattern.startswith("*.") else pattern
    domain = domain.strip(".")
    return bool(domain) and (name == domain or name.endswith("." + domain))


def _split_port(entry: str) -> tuple[str, int | None]:
    if entry.startswith("["):
        inside, _, rest = entry[1:].partition("]")
        return inside, int(rest[1:]) if rest[1:].isdigit() else None
    pattern, colon, port = entry.rpartition(":")
    # More than one colon is an IPv6 address or network without brackets.
    if colon and port.isdigit() and ":" not in pattern:
        return pattern, int(port)
    return entry, None


def _network_holds(pattern: str, address: _IpAddress) -> bool:
    try:
        return address in ipaddress.ip_network(pattern, strict=False)
    except ValueError:
        return False


def _parse_proxy(setting: str, value: str) -> Proxy:
    text = value if "://" in value else f"http://{value}"
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        # The value may hold a password, so neither it nor the parser's words are shown.
        raise EgressInvalid(setting, "not a proxy address; write http://host:port") from None
    if parts.scheme.lower() != "http":
        raise EgressInvalid(
            setting, f'proxy scheme "{parts.scheme}" is not supported; write http://host:port'
        )
    if not host:
        raise EgressInvalid(setting, "the proxy address has no host; write http://host:port")
    return Proxy(
        host=host,
        port=port or 80,
        setting=setting,
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
    )


def _load_bundle(context: ssl.SSLContext, setting: str, path: str) -> None:
    try:
        if os.path.isdir(path):
            context.load_verify_locations(capath=path)
        else:
            context.load_verify_locations(cafile=path)
    except ssl.SSLError:
        raise EgressInvalid(setting, f"{path} holds no PEM certificates") from None
    except OSError as error:
        raise EgressInvalid(setting, f"{path}: {error.strerror or 'cannot be read'}") from None


def _load_client_certificate(context: ssl.SSLContext, certificate: str, key: str | None) -> None:
    for setting, path in (("network.client_cert", certificate), ("network.client_key", key)):
        if path is not None and not os.access(path, os.R_OK):
            raise EgressInvalid(setting, f"{path} cannot be read")
    try:
        # Never prompts: an encrypted key is refused instead of asking a terminal that may not be there.
        context.load_cert_chain(certificate, key, password=lambda: "")
    except (OSError, ValueError):
        raise EgressInvalid(
            "network.client_cert", f"{certificate} and its key do not fit together or are encrypted"
        ) from None


def _has_default_store(context: ssl.SSLContext) -> bool:
    """Whether OpenSSL has loaded a bundle by itself, or has a directory of hashed certificates to look into."""
    if context.cert_store_stats()["x509_ca"]:
        return True
    paths = ssl.get_default_verify_paths()
    for directory in os.environ.get(paths.openssl_capath_env, paths.openssl_capath).split(os.pathsep):
        # One that is missing or closed to us holds nothing for OpenSSL either.
        with contextlib.suppress(OSError):
            if any(name.endswith(".0") for name in os.listdir(directory)):
                return True
    return False


def _load_system_bundle(context: ssl.SSLContext) -> bool:
    """Load the system's own bundle; False when there is none."""
    for path in _SYSTEM_BUNDLES:
        # Every other system keeps it elsewhere; an empty one is as good as none.
        with contextlib.suppress(OSError):
            context.load_verify_locations(cafile=path)
            return True
    return False
