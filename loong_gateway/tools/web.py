"""web.fetch and http.request: what the model may ask of web servers.

web.fetch goes where the model says, but only to public addresses; http.request goes where the model says among the
origins that the configuration names, wherever these are. Neither sends a cookie or a credential.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from urllib.parse import SplitResult, urljoin, urlsplit

from loong_channels.address_rules import address_kind, host_problem
from loong_channels.egress import Egress
from loong_channels.faults import BadAnswer, Fault
from loong_channels.net import Call, HttpClient, HttpStream
from loong_gateway.config.snapshot import Config
from loong_gateway.config.urls import origin_of
from loong_gateway.tools.contract import BadArgument, Tool, ToolContext, ToolFailed
from loong_gateway.tools.page_text import decoded, is_text, text_of_html

__all__ = ["web_tools"]

MAX_URL = 2048
MAX_BODY = 262_144
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
REDIRECTS = (301, 302, 303, 307, 308)
PORTS = range(1, 65536)
_HEADER_VALUE = re.compile(r"[A-Za-z0-9!#$&^_.+*/;=, \"-]{1,200}")
URL = {"type": "string", "maxLength": MAX_URL, "description": "http or https"}
HEADER = {"type": "string", "maxLength": 200}


def web_tools(config: Callable[[], Config], egress: Egress) -> list[Tool]:
    """Both, over the configuration that is applied at each call."""
    web = _Web(config, egress)
    return [
        Tool(
            "web.fetch",
            "the text of a public web page",
            web.fetch,
            {"url": URL},
            required=frozenset({"url"}),
        ),
        Tool(
            "http.request",
            "a request to one of the origins that the configuration names",
            web.request,
            {
                "url": URL,
                "method": {"type": "string", "enum": list(METHODS), "default": "GET"},
                "body": {"type": "string", "maxLength": MAX_BODY},
                "contentType": {**HEADER, "default": "application/json"},
                "accept": {**HEADER, "default": "*/*"},
            },
            required=frozenset({"url"}),
            acts=True,
            available=lambda: bool(config().tools.http.origins),
        ),
    ]


@dataclass(frozen=True)
class _Page:
    status: int
    kind: str
    location: str
    body: bytes
    truncated: bool


class _Web:
    """Each public method is the body of a tool. Stateless: every request has a connection of its own."""

    def __init__(self, config: Callable[[], Config], egress: Egress) -> None:
        self._config = config
        self._egress = egress
        # A page that somebody names is not told who this host is.
        self._anonymous = replace(egress, client_cert=None, client_key=None)

    def fetch(self, given: Mapping[str, object], context: ToolContext) -> Mapping[str, object]:
        settings = self._config().tools.web
        deadline = context.deadline.within(settings.timeout_s)
        url = str(given["url"])
        parts = _checked(url)
        for _ in range(settings.max_redirects + 1):
            call = Call(
                "GET", url, deadline, {"Accept": "text/html, text/*, application/json"}, stop=context.stop
            )
            page = _asked(
                call, self._public_client(parts, private=settings.allow_private_hosts), settings.max_bytes
            )
            if page.status not in REDIRECTS or not page.location:
                return {"url": url, **_shown(page)}
            url, parts = _redirected(url, page.location)
        raise ToolFailed(f"more than {settings.max_redirects} redirects")

    def request(self, given: Mapping[str, object], context: ToolContext) -> Mapping[str, object]:
        settings = self._config().tools.http
        url, method = str(given["url"]), str(given["method"])
        _checked(url)
        origin = origin_of(url)
        if origin is None or origin not in {origin_of(one) for one in settings.origins}:
            raise BadArgument("args.url: is at none of tools.http.origins")
        if method not in METHODS:
            raise BadArgument(f"args.method: must be one of {', '.join(METHODS)}")
        headers = {"Accept": _header(given, "accept")}
        body = given.get("body")
        if body is not None:
            headers["Content-Type"] = _header(given, "contentType")
        call = Call(
            method,
            url,
            context.deadline.within(settings.timeout_s),
            headers,
            body=None if body is None else str(body).encode("utf-8", "replace"),
            stop=context.stop,
        )
        page = _asked(call, HttpClient(self._egress), settings.max_bytes, bodyless=method == "HEAD")
        shown: dict[str, object] = {"location": page.location[:MAX_URL]} if page.location else {}
        if not is_text(page.kind):
            return {"status": page.status, "contentType": page.kind, **shown, "bytes": len(page.body)}
        return {**_shown(page, markup=True), **shown}

    def _public_client(self, parts: SplitResult, *, private: bool) -> HttpClient:
        """A client that connects to what this tool may reach and to nothing else. Raises ToolFailed."""
        kinds = ("public", "private") if private else ("public",)
        host = parts.hostname or ""
        problem = host_problem(host)
        if problem and problem not in kinds:
            raise ToolFailed("the host is a private or special-use address")
        port = parts.port or (443 if parts.scheme == "https" else 80)
        if self._anonymous.route(parts.scheme, host, port) is None:
            return HttpClient(self._anonymous, reach=lambda address: address_kind(address) in kinds)
        if not private:
            # The proxy would look the name up, and nobody could say what it is connected to.
            raise ToolFailed("this host is reached through a proxy, where its address cannot be checked")
        return HttpClient(self._anonymous)


def _checked(url: str) -> SplitResult:
    """The parts of an address that may be asked for at all. Raises BadArgument."""
    if not url.isprintable() or any(letter in url for letter in ' \\<>"^`{|}'):
        raise BadArgument("args.url: holds characters that a URL may not hold")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise BadArgument("args.url: is not a URL") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or len(parts.hostname) > 253:
        raise BadArgument("args.url: must be http:// or https:// and a host")
    if "@" in parts.netloc:
        raise BadArgument("args.url: must not hold a user name or password")
    if (port is not None and port not in PORTS) or "%" in parts.netloc:
        raise BadArgument("args.url: is not a URL")
    return parts


def _redirected(url: str, location: str) -> tuple[str, SplitResult]:
    """Where a redirect leads, looked at as if it had been asked for. Raises ToolFailed."""
    try:
        onward = urljoin(url, location).partition("#")[0]
        if len(onward) <= MAX_URL:
            return onward, _checked(onward)
    except (BadArgument, ValueError):
        # What a server says is no argument of the caller.
        raise ToolFailed("the page leads to an address that cannot be fetched") from None
    raise ToolFailed("the page leads to an address that is too long")


def _asked(call: Call, client: HttpClient, max_bytes: int, *, bodyless: bool = False) -> _Page:
    """The answer, as much of it as may be read. Blocks; raises ToolFailed."""
    try:
        with client.stream(call) as answer:
            encoding = answer.headers.get("content-encoding", "identity").strip().lower()
            if encoding != "identity" and not bodyless:
                raise BadAnswer("the server compressed its answer without being asked")
            body, truncated = (b"", False) if bodyless else _read(answer, max_bytes)
            kind = answer.headers.get("content-type", "")[:200]
            return _Page(answer.status, kind, answer.headers.get("location", ""), body, truncated)
    except Fault as fault:
        raise ToolFailed(str(fault)) from None
    finally:
        client.close()


def _read(answer: HttpStream, max_bytes: int) -> tuple[bytes, bool]:
    """The first bytes of a body, and whether there are more."""
    body = bytearray()
    for piece in answer.chunks():
        body += piece
        if len(body) > max_bytes:
            return bytes(body[:max_bytes]), True
    return bytes(body), False


def _shown(page: _Page, *, markup: bool = False) -> dict[str, object]:
    """What the model is told of a page. Raises ToolFailed for one that is no text."""
    if page.body and not is_text(page.kind or "text/plain"):
        raise ToolFailed(f"the answer (HTTP {page.status}) is no text")
    text = decoded(page.body, page.kind)
    shown: dict[str, object] = {"status": page.status, "contentType": page.kind, "truncated": page.truncated}
    if "html" in page.kind.lower() and not markup:
        shown["title"], text = text_of_html(text)
    return {**shown, "text": text}


def _header(given: Mapping[str, object], name: str) -> str:
    value = str(given[name])
    if not _HEADER_VALUE.fullmatch(value):
        raise BadArgument(f"args.{name}: is no media type")
    return value
