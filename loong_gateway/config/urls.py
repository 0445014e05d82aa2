"""Checks of URLs that an operator writes. Pure functions; the URL itself is never part of what they say."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

__all__ = [
    "PLAIN_HTTP",
    "PLAIN_WS",
    "check_base_url",
    "check_origin",
    "check_proxy_url",
    "check_web_socket_url",
    "is_loopback_host",
    "origin_of",
]


PLAIN_HTTP = "is http:// to another host"
PLAIN_WS = "is ws:// to another host"


def is_loopback_host(host: str) -> bool:
    """True for localhost, names below it, and loopback addresses."""
    host = host.lower().rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def origin_of(url: str) -> tuple[str, str, int] | None:
    """(scheme, host, port) of an http or https URL in one spelling, None for what is none."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    host = (parts.hostname or "").rstrip(".")
    if parts.scheme not in ("http", "https") or not host:
        return None
    return parts.scheme, host, (443 if parts.scheme == "https" else 80) if port is None else port


def check_origin(url: str) -> str:
    """What is wrong with `url` as scheme://host or scheme://host:port, or ""."""
    problem = check_base_url(url, plain_http=True)
    return problem or ("carries a path" if urlsplit(url).path not in ("", "/") else "")


def check_base_url(url: str, *, plain_http: bool) -> str:
    """What is wrong with `url` as the root of a service, or "". `plain_http` allows http:// beyond loopback."""
    return _check_service(url, ("https", "http"), plain=plain_http, refusal=PLAIN_HTTP)


def check_web_socket_url(url: str, *, plain_http: bool) -> str:
    """As `check_base_url`, for the address of a WebSocket service."""
    return _check_service(url, ("wss", "ws"), plain=plain_http, refusal=PLAIN_WS)


def check_proxy_url(url: str) -> str:
    """What is wrong with `url` as a proxy, or "". A user name and password are allowed there."""
    if "://" in url and not url.lower().startswith("http://"):
        return "is not an http:// proxy; other kinds of proxy are not supported"
    problem = _check_shape(url, ("http",))
    if problem:
        return problem
    parts = urlsplit(url)
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        return "carries more than a host and a port"
    return ""


def _check_service(url: str, schemes: tuple[str, str], *, plain: bool, refusal: str) -> str:
    """`schemes` are the encrypted one and the plain one."""
    problem = _check_shape(url, schemes)
    if problem:
        return problem
    parts = urlsplit(url)
    if parts.username is not None or parts.password is not None:
        return "carries a user name or password"
    if parts.query or parts.fragment or url.endswith(("?", "#")):
        return "carries a query or fragment"
    if parts.scheme == schemes[1] and not plain and not is_loopback_host(parts.hostname or ""):
        return refusal
    return ""


def _check_shape(url: str, schemes: tuple[str, ...]) -> str:
    if "<" in url and ">" in url:
        return "still holds a placeholder in < >, where a word of your own belongs"
    if not url.isascii() or any(c <= " " or c in '<>"\\^`{|}\x7f' for c in url):
        return "holds characters that a URL may not hold"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "is not a URL"
    if parts.scheme not in schemes:
        return f"does not start with {' or '.join(f'{scheme}://' for scheme in schemes)}"
    if not parts.hostname or port == 0:
        return "names no host" if not parts.hostname else "has port 0"
    return ""
