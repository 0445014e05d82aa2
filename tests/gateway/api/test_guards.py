"""Host, Origin, Sec-Fetch-Site and forwarding fields: the matrix of who gets as far as a credential."""

from __future__ import annotations

import pytest

from loong_gateway.api.guards import Guards
from loong_gateway.api.http_request import Refusal
from loong_gateway.api.peers import peer_of
from tests.gateway.api.heads import parse_head

LOCAL = "127.0.0.1"
LAN = "192.0.2.10"


def outcome(
    guards: Guards, *fields: str, host: str = "127.0.0.1:18789", local: str = LOCAL, **options: object
) -> int:
    """200 when the request passes, else the status of the refusal."""
    lines = [f"Host: {host}", *fields]
    method = str(options.pop("method", "GET"))
    head = parse_head(
        f"{method} /x HTTP/1.1\r\n".encode() + "".join(f"{x}\r\n" for x in lines).encode() + b"\r\n"
    )
    try:
        guards.check(head, peer_of(str(options.pop("peer", LOCAL))), local, **options)
    except Refusal as refusal:
        return refusal.status
    return 200


HOSTS_ON_LOOPBACK = {
    "127.0.0.1": 200,
    "127.0.0.1:18789": 200,
    "127.0.0.1:9999": 200,
    "127.0.0.2": 200,
    "localhost": 200,
    "LOCALHOST:18789": 200,
    "[::1]": 200,
    "[::1]:18789": 200,
    "[0:0:0:0:0:0:0:1]": 200,
    "gateway.corp.example": 200,
    "GATEWAY.corp.example:443": 200,
    "evil.example": 421,
    "evil.example:18789": 421,
    "localhost.": 421,
    "localhost.evil.example": 421,
    "foo.localhost": 421,
    "127.0.0.1.evil.example": 421,
    "127.1": 421,
    "2130706433": 421,
    "0x7f.0.0.1": 421,
    "0177.0.0.1": 421,
    "0.0.0.0": 421,
    "192.168.1.10": 421,
    "[::]": 421,
    "[::ffff:127.0.0.1]": 421,
    "[fe80::1]": 421,
    "sub.gateway.corp.example": 421,
    "gateway.corp.example.": 421,
    "-": 421,
}


@pytest.mark.parametrize("host", sorted(HOSTS_ON_LOOPBACK))
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_on_loopback_only_loopback_and_listed_names_are_served(host: str, method: str) -> None:
    guards = Guards(allowed_hosts=("gateway.corp.example",))
    assert outcome(guards, host=host, method=method) == HOSTS_ON_LOOPBACK[host]


@pytest.mark.parametrize(
    ("host", "listed", "status"),
    [
        ("192.0.2.10", (), 200),
        ("gw.corp.example", (), 200),
        ("localhost", (), 200),
        ("gw.corp.example", ("gw.corp.example",), 200),
        ("192.0.2.10", ("gw.corp.example",), 200),
        ("[2001:db8::1]", ("gw.corp.example",), 200),
        ("evil.example", ("gw.corp.example",), 421),
        ("1.2.3.evil", ("gw.corp.example",), 421),
    ],
)
def test_on_a_network_address_names_are_checked_once_some_are_listed(
    host: str, listed: tuple[str, ...], status: int
) -> None:
    assert outcome(Guards(allowed_hosts=listed), host=host, local=LAN, peer="192.0.2.77") == status


ORIGINS = {
    "http://127.0.0.1:18789": 200,
    "http://localhost:18789": 200,
    "http://LOCALHOST:18789": 200,
    "http://[::1]:18789": 200,
    "https://page.corp.example": 200,
    "http://127.0.0.1": 403,
    "http://127.0.0.1:3000": 403,
    "http://localhost:3000": 403,
    "http://localhost": 403,
    "https://127.0.0.1:18789": 403,
    "https://localhost:18789": 403,
    "http://evil.example": 403,
    "http://evil.example:18789": 403,
    "https://evil.example": 403,
    "http://127.0.0.1.evil.example:18789": 403,
    "http://127.0.0.1:18789.evil.example": 403,
    "http://127.0.0.1:18789@evil.example": 403,
    "http://localhost.:18789": 403,
    "http://192.168.1.10:18789": 403,
    "http://page.corp.example": 403,
    "https://page.corp.example:8443": 403,
    "https://PAGE.corp.example": 403,
    "null": 403,
    "": 403,
    "file://": 403,
    "chrome-extension://abcdefgh": 403,
    "127.0.0.1:18789": 403,
    "http://127.0.0.1:18789/": 403,
    "http://127.0.0.1:18789 http://evil.example": 403,
    "*": 403,
}


@pytest.mark.parametrize("origin", sorted(ORIGINS))
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_foreign_origins_are_refused(origin: str, method: str) -> None:
    guards = Guards(allowed_origins=("https://page.corp.example",))
    assert outcome(guards, f"Origin: {origin}", method=method) == ORIGINS[origin]


def test_an_origin_must_be_the_very_address_that_was_asked() -> None:
    lan = {"local": LAN, "peer": "192.0.2.77"}
    assert (
        outcome(Guards(), "Origin: http://gw.corp.example:18789", host="gw.corp.example:18789", **lan) == 200
    )
    assert outcome(Guards(), "Origin: http://gw.corp.example", host="gw.corp.example", **lan) == 200
    assert outcome(Guards(), "Origin: http://gw.corp.example", host="gw.corp.example:18789", **lan) == 403
    assert outcome(Guards(), "Origin: http://localhost:18789", host="gw.corp.example:18789", **lan) == 403


@pytest.mark.parametrize(
    ("site", "status"),
    [
        ("none", 200),
        ("same-origin", 200),
        ("same-site", 200),
        ("cross-site", 403),
        ("Cross-Site", 403),
        ("", 403),
        ("anything", 403),
    ],
)
def test_requests_that_a_browser_calls_foreign_are_refused(site: str, status: int) -> None:
    assert outcome(Guards(), f"Sec-Fetch-Site: {site}") == status


FORWARDING = [
    "Forwarded: for=192.0.2.1",
    "X-Forwarded-For: 192.0.2.1",
    "x-forwarded-host: evil.example",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Prefix: /",
    "X-Real-IP: 127.0.0.1",
    "True-Client-IP: 127.0.0.1",
    "CF-Connecting-IP: 127.0.0.1",
]


@pytest.mark.parametrize("field", FORWARDING)
def test_forwarding_fields_are_taken_from_configured_proxies_only(field: str) -> None:
    guards = Guards(trusted_proxies=("192.0.2.5", "::ffff:192.0.2.6"))
    assert outcome(guards, field) == 403
    assert outcome(guards, field, local=LAN, peer="192.0.2.77") == 403
    assert outcome(guards, field, local=LAN, peer="192.0.2.5") == 200
    assert outcome(guards, field, local=LAN, peer="192.0.2.6") == 200


@pytest.mark.parametrize("field", FORWARDING)
def test_a_balancer_may_call_the_probes(field: str) -> None:
    assert outcome(Guards(), field, probe=True) == 200
    assert outcome(Guards(), field, host="evil.example", probe=True) == 421


def test_a_request_without_any_of_these_fields_passes() -> None:
    assert outcome(Guards(), "Accept: */*", "X-Forward: no", "Via: 1.1 x") == 200
