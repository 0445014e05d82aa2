"""The whole port under attack: pages of other sites, rebinding, odd credentials, forged fields, noise."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

import pytest

from loong_channels.waiting import Deadline
from loong_gateway.api.auth import Auth
from loong_gateway.api.guards import Guards
from loong_gateway.api.hooks import hook_auth
from loong_gateway.api.peers import peer_of
from loong_gateway.api.port import all_routes
from loong_gateway.api.router import Session, Takeover
from tests.gateway.api.port_kit import CONTROL, SECRET, Port, request
from tests.gateway.api.smuggling import CORPUS
from tests.gateway.api.whole_port import ENVIRON, HOOK_TOKEN, WholeGateway, whole_port
from tests.waiting import wait_until

OPEN = {
    "/health",
    "/healthz",
    "/ready",
    "/readyz",
    "/startup",
    "/startupz",
}


def routes() -> list[tuple[str, str]]:
    """Every (method, path) of the port, hooks left out."""
    control = WholeGateway()
    found = all_routes(control, control.applied, ENVIRON, hook_auth(HOOK_TOKEN))
    return sorted((route.method, route.path) for route in found if route.access != "own")


ROUTES = [route for route in routes() if route[1] not in OPEN]


def hello(session: Session) -> None:
    """A protocol that says who it is and ends."""
    session.wire.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n", Deadline(10))


@pytest.fixture(name="port")
def _port() -> Iterator[Port]:
    takeover = {"takeovers": [Takeover("websocket", hello)]}
    port, _, _ = whole_port(listener_options=takeover, allowed_origins=("https://page.corp.example",))
    with port:
        yield port


UPGRADE = {"Connection": "Upgrade", "Upgrade": "websocket"}


def outcomes(port: Port, **fields: str) -> tuple[int, int, int]:
    """What a GET, a POST and an upgrade are answered, all with the right secret."""
    own = port.address[1]
    named = {"Host": f"127.0.0.1:{own}", **fields}
    named = {name: value.replace("PORT", str(own)) for name, value in named.items()}
    turn = {"session_id": "demo", "input": "hello"}
    return (
        port.get("/v1/status", token=SECRET, **named).status,
        port.post("/v1/turn", turn, **named).status,
        port.get("/", token=SECRET, **named, **UPGRADE).status,
    )


SERVED = (200, 200, 101)


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://127.0.0.1:PORT", 0),
        ("http://localhost:PORT", 0),
        ("https://page.corp.example", 0),
        ("http://127.0.0.1:3000", 403),
        ("http://localhost:8080", 403),
        ("http://127.0.0.1", 403),
        ("https://127.0.0.1:PORT", 403),
        ("http://evil.example", 403),
        ("http://127.0.0.1.evil.example:PORT", 403),
        ("https://page.corp.example.evil.example", 403),
        ("http://page.corp.example", 403),
        ("null", 403),
        ("", 403),
    ],
)
def test_pages_of_others_are_refused_before_any_credential_is_looked_at(
    port: Port, origin: str, status: int
) -> None:
    assert outcomes(port, Origin=origin) == ((status,) * 3 if status else SERVED)
    before = port.auth.failures
    here = f"127.0.0.1:{port.address[1]}"
    raw = request("POST", "/v1/turn", token="a guess", document={}, Host=here, Origin=origin)
    if status:
        refused = port.ask(raw)
        assert (refused.status, port.auth.failures) == (403, before)
        assert port.listener.counts()[1] == 0


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:PORT", 0),
        ("localhost", 0),
        ("[::1]:PORT", 0),
        ("evil.example", 421),
        ("evil.example:PORT", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.nip.example", 421),
        ("0.0.0.0", 421),
        ("192.168.1.10:PORT", 421),
        ("2130706433", 421),
        ("localhost.", 421),
    ],
)
def test_a_name_that_was_rebound_reaches_nothing(port: Port, host: str, status: int) -> None:
    assert outcomes(port, Host=host) == ((status,) * 3 if status else SERVED)
    if status:
        assert port.get("/healthz", Host=host.replace("PORT", "80")).status == status


@pytest.mark.parametrize("mode", ["navigate", "cors", "no-cors", "websocket"])
@pytest.mark.parametrize(
    ("site", "status"),
    [("same-origin", 0), ("none", 0), ("cross-site", 403), ("CROSS-SITE", 403), ("x", 403)],
)
def test_what_a_browser_calls_cross_site_is_refused(port: Port, site: str, mode: str, status: int) -> None:
    # Not even where a person followed a link: there is no page here yet that could be shown.
    told = outcomes(port, Sec_Fetch_Site=site, Sec_Fetch_Mode=mode, Sec_Fetch_Dest="document")
    assert told == ((status,) * 3 if status else SERVED)


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_every_route_wants_a_credential_and_another_method_is_told_first(
    port: Port, method: str, path: str
) -> None:
    document = {} if method == "POST" else None
    refused = port.ask(request(method, path, document=document))
    assert refused.status == 401
    assert refused.headers["www-authenticate"] == "Bearer"
    assert "access-control-allow-origin" not in refused.headers
    other = port.ask(request("DELETE", path))
    assert (other.status, "www-authenticate" in other.headers) == (405, False)
    assert method in other.headers["allow"]


CREDENTIALS = {
    "nothing": b"",
    "no value": b"Authorization:\r\n",
    "no token": b"Authorization: Bearer \r\n",
    "blank token": b"Authorization: Bearer  \t \r\n",
    "null": b"Authorization: Bearer null\r\n",
    "undefined": b"Authorization: Bearer undefined\r\n",
    "array": b'Authorization: Bearer [""]\r\n',
    "array of the secret": b'Authorization: Bearer ["%s"]\r\n' % SECRET.encode(),
    "object": b'Authorization: Bearer {"$ne":null}\r\n',
    "quoted": b'Authorization: Bearer "%s"\r\n' % SECRET.encode(),
    "huge": b"Authorization: Bearer " + b"A" * 8000 + b"\r\n",
    "beyond ASCII": b"Authorization: Bearer \xc3\xa4\xff\xfe\r\n",
    "beginning of the secret": b"Authorization: Bearer " + SECRET[:-1].encode() + b"\r\n",
    "more than the secret": b"Authorization: Bearer " + SECRET.encode() + b"0\r\n",
    "two tokens": b"Authorization: Bearer x %s\r\n" % SECRET.encode(),
    "a list": b"Authorization: Bearer x, Bearer %s\r\n" % SECRET.encode(),
    "another scheme": b"Authorization: Basic %s\r\n" % SECRET.encode(),
    "without a scheme": b"Authorization: %s\r\n" % SECRET.encode(),
    "another field": b"X-Loong-Token: %s\r\n" % SECRET.encode(),
    "a cookie": b"Cookie: token=%s\r\n" % SECRET.encode(),
    "a proxy's": b"Proxy-Authorization: Bearer %s\r\n" % SECRET.encode(),
}


@pytest.mark.parametrize("name", sorted(CREDENTIALS))
def test_only_the_very_secret_opens(port: Port, name: str) -> None:
    head = b"GET /v1/status HTTP/1.1\r\nHost: 127.0.0.1\r\n" + CREDENTIALS[name] + b"\r\n"
    refused = port.ask(head)
    assert (refused.status, refused.headers.get("www-authenticate")) == (401, "Bearer")


def test_two_credentials_are_ambiguous_even_when_both_are_right(port: Port) -> None:
    field = b"Authorization: Bearer %s\r\n" % SECRET.encode()
    head = b"GET /v1/status HTTP/1.1\r\nHost: 127.0.0.1\r\n" + field * 2 + b"\r\n"
    assert port.ask(head).status == 400
    assert port.ask(head.replace(b"Authorization", b"AUTHORIZATION", 1)).status == 400


def locking() -> Auth:
    return Auth(secret=SECRET, control_token=CONTROL, attempts=3, exempt_loopback=False)


def test_a_claimed_address_moves_no_lockout() -> None:
    with Port(auth=locking(), trusted_proxies=("127.0.0.0/8",)) as port:
        for number in range(3):
            fields = {"X_Forwarded_For": f"192.0.2.{number}", "X_Real_IP": f"192.0.2.{number}"}
            assert port.get("/v1/status", token="guess", **fields).status == 401
        locked = port.get("/v1/status", token=SECRET, X_Forwarded_For="192.0.2.99")
        assert locked.status == 429
        assert int(locked.headers["retry-after"]) > 290
        # The control token lets the operator of this host in meanwhile.
        assert port.get("/v1/status", token=CONTROL).status == 200


@pytest.mark.parametrize(
    ("address", "trusted"),
    [
        ("192.0.2.5", True),
        ("192.0.2.6", False),
        ("198.51.100.77", True),
        ("198.51.101.1", False),
        ("2001:db8::1234", True),
        ("2001:db8:1::1", False),
        ("203.0.113.9", True),
        ("10.1.2.3", False),
        ("::ffff:192.0.2.5", True),
    ],
)
def test_proxies_are_addresses_and_networks(address: str, trusted: bool) -> None:
    listed = (
        "192.0.2.5",
        "198.51.100.0/24",
        "2001:db8::/48",
        "::ffff:203.0.113.0/120",
        "nonsense",
    )
    guards = Guards(trusted_proxies=listed)
    assert guards.trusts(peer_of(address)) == trusted


def test_noise_costs_the_gateway_nothing_but_itself(port: Port) -> None:
    noise = random.Random(20260719)
    for _ in range(150):
        with port.client() as client, contextlib.suppress(OSError):
            client.send(noise.randbytes(noise.randrange(1, 400)))
    for raw, status in CORPUS.values():
        assert port.ask(raw).status == status
    assert port.get("/healthz").status == 200
    assert outcomes(port) == SERVED
    wait_until(lambda: port.listener.counts() == (0, 0))
    assert port.control.stops == []
