"""Requests of platforms on the port: judged by their receiver and by nothing that stands before everybody else."""

from __future__ import annotations

import contextlib
import select
import threading
from collections.abc import Iterator

import pytest

from loong_channels.contract import MAX_WEBHOOK_BYTES, WebhookAnswer, WebhookRequest
from loong_gateway.api import exchange
from loong_gateway.api.routes import control_routes
from loong_gateway.config.webhooks import is_reserved
from loong_gateway.messaging.webhooks import Webhooks
from tests.gateway.api.port_kit import Answer, Port, SmallGateway, request

PATH = "/feishu/events"


class Receiver:
    """Keeps what it was asked; `gate` holds it back while it is not set."""

    def __init__(self) -> None:
        self.requests: list[WebhookRequest] = []
        self.verdict: WebhookAnswer | Exception = WebhookAnswer(200, b'{"taken":1}')
        self.began = threading.Event()
        self.gate = threading.Event()
        self.gate.set()

    def answer(self, asked: WebhookRequest) -> WebhookAnswer:
        self.requests.append(asked)
        self.began.set()
        assert self.gate.wait(10)
        if isinstance(self.verdict, Exception):
            raise self.verdict
        return self.verdict


@contextlib.contextmanager
def mounted(path: str = PATH, **settings: object) -> Iterator[tuple[Port, Receiver]]:
    webhooks, receiver = Webhooks(), Receiver()
    with Port(listener_options={"webhooks": webhooks}, **settings) as port, webhooks.mounted(path, receiver):
        yield port, receiver
        receiver.gate.set()


def post(port: Port, body: object, path: str = PATH, **fields: str) -> Answer:
    return port.post(path, body, token=None, **fields)


def test_a_platform_may_come_from_anywhere_and_through_any_proxy() -> None:
    with mounted() as (port, receiver):
        got = post(
            port,
            {"a": 1},
            Host="bot.example.com",
            Origin="https://open.feishu.cn",
            Sec_Fetch_Site="cross-site",
            X_Forwarded_For="203.0.113.7",
            X_Lark_Signature="s",
        )
        assert (got.status, got.body) == (200, b'{"taken":1}')
        (asked,) = receiver.requests
        assert (asked.method, asked.body, asked.fields["x-lark-signature"]) == ("POST", b'{"a": 1}', "s")
        # Everything else stays as strict as it was.
        assert post(port, {"a": 1}, "/v1/turn", Host="bot.example.com").status == 421
        assert post(port, {}, "/elsewhere", X_Forwarded_For="203.0.113.7").status == 403


def test_its_answer_is_passed_on_and_the_connection_goes_on() -> None:
    with mounted() as (port, receiver), port.client() as client:
        receiver.verdict = WebhookAnswer(503, fields=(("Retry-After", "15"),))
        for _ in range(2):
            got = client.send(request("POST", f"{PATH}?x=1", document={})).answer()
            assert (got.status, got.headers["retry-after"]) == (503, "15")
        receiver.verdict = WebhookAnswer(405, fields=(("Allow", "POST"),))
        got = client.send(request("GET", PATH)).answer()
        assert (got.status, got.headers["allow"]) == (405, "POST")
        upgrade = request("GET", PATH, Connection="Upgrade", Upgrade="websocket")
        assert client.send(upgrade).answer().status == 405
        assert [asked.method for asked in receiver.requests] == ["POST", "POST", "GET", "GET"]


def test_a_bug_in_a_receiver_is_a_500() -> None:
    with mounted() as (port, receiver):
        receiver.verdict = RuntimeError("a bug")
        assert post(port, {}).status == 500


def test_copies_of_a_field_are_joined_so_that_no_signature_fits() -> None:
    with mounted() as (port, receiver):
        raw = request("POST", PATH, document={}, X_Lark_Signature="a").replace(
            b"X-Lark-Signature: a", b"X-Lark-Signature: a\r\nx-lark-signature: b"
        )
        assert port.ask(raw).status == 200
        assert receiver.requests[0].fields["x-lark-signature"] == "a, b"


def test_bodies_are_bounded_in_size_and_time(monkeypatch: pytest.MonkeyPatch) -> None:
    with mounted() as (port, receiver):
        assert post(port, "x" * (MAX_WEBHOOK_BYTES - 2)).status == 200
        assert post(port, "x" * (MAX_WEBHOOK_BYTES - 1)).status == 413
        chunked = f"POST {PATH} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        assert port.ask(chunked + b"2\r\n{}\r\n0\r\n\r\n").status == 200
        assert port.ask(chunked + b"40001\r\n" + b"x" * 262145 + b"\r\n0\r\n\r\n").status == 413
        monkeypatch.setattr(exchange, "WEBHOOK_BODY_S", 0.05)
        assert port.ask(request("POST", PATH, document="slow")[:-1]).status == 408
        assert len(receiver.requests) == 2


def test_who_sends_slowly_gives_way_to_newcomers() -> None:
    with mounted(max_unauthenticated=2) as (port, _):
        slow = [port.client().send(request("POST", PATH, document="slow")[:-1]) for _ in range(2)]
        assert post(port, {}).status == 200
        # Which of the two began to wait for its body first is theirs to race for.
        readable, _, _ = select.select([client.socket for client in slow], [], [], 4.0)
        assert len(readable) == 1
        assert readable[0].recv(1) == b""
        for client in slow:
            client.close()


def test_until_the_account_receives_the_platform_is_asked_to_come_again() -> None:
    webhooks = Webhooks()
    webhooks.reserve(PATH)
    with Port(listener_options={"webhooks": webhooks}) as port:
        assert post(port, {}, Host="bot.example.com").status == 503
        receiver = Receiver()
        with webhooks.mounted(PATH, receiver):
            assert post(port, {}).status == 200
        assert post(port, {}).status == 503
    with Port() as port:
        assert post(port, {}).status == 404


def test_the_gateways_own_paths_stay_its_own_and_none_of_them_can_be_configured() -> None:
    for route in control_routes(SmallGateway()):
        assert is_reserved(route.path), route.path
    with mounted("/healthz") as (port, receiver):
        assert port.get("/healthz").json == {"ok": True, "status": "live"}
        assert post(port, {}, "/healthz").status == 405
        assert receiver.requests == []


def test_requests_are_answered_in_parallel() -> None:
    with mounted() as (port, receiver), port.client() as client:
        receiver.gate.clear()
        client.send(request("POST", PATH, document={}))
        assert receiver.began.wait(10)
        assert port.get("/healthz").status == 200
        receiver.gate.set()
        assert client.answer().status == 200
