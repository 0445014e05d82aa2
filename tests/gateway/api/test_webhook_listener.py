"""The listener of one platform account: over real sockets, with nothing of the gateway's own behind it."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import threading
from collections.abc import Iterator

import pytest

from loong_channels.contract import WebhookAnswer, WebhookRequest
from loong_channels.faults import Unreachable
from loong_channels.waiting import Deadline
from loong_gateway.api.webhook_listener import listening
from loong_gateway.base.threads import ThreadRegistry
from loong_gateway.messaging.webhooks import Webhooks
from tests.gateway.api.port_kit import Client, gateway_settings, request

PATH = "/feishu/events"


class Receiver:
    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    def answer(self, asked: WebhookRequest) -> WebhookAnswer:
        self.bodies.append(asked.body)
        return WebhookAnswer(200, b'{"taken":1}')


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as other:
        return int(other.getsockname()[1])


@contextlib.contextmanager
def hook(**settings: object) -> Iterator[tuple[tuple[str, int], Receiver]]:
    port, receiver, threads = free_port(), Receiver(), ThreadRegistry()
    webhooks = Webhooks(lambda bind, own: listening(bind, own, gateway_settings(**settings), threads))
    with webhooks.mounted(PATH, receiver, f"127.0.0.1:{port}"):
        yield ("127.0.0.1", port), receiver
    assert threads.join_all(Deadline(5)) == []


def post(address: tuple[str, int], document: object, path: str = PATH, **fields: str) -> tuple[int, bytes]:
    with Client(address) as client:
        answer = client.send(request("POST", path, document=document, **fields)).answer()
        return answer.status, answer.body


def test_it_serves_the_path_of_its_account_and_nothing_else() -> None:
    with hook() as (address, receiver):
        assert post(address, {"a": 1}, Host="bot.example.com", X_Forwarded_For="203.0.113.7") == (
            200,
            b'{"taken":1}',
        )
        for path in ("/", "/healthz", "/api/gateway/stop", f"{PATH}/"):
            for host in ("127.0.0.1", "bot.example.com"):
                assert post(address, {}, path, Host=host)[0] == 404
        assert receiver.bodies == [b'{"a": 1}']


def test_many_requests_of_one_peer_are_all_taken_beside_silent_connections() -> None:
    with hook(max_unauthenticated=32, max_per_peer=1) as (address, receiver):
        silent = [Client(address) for _ in range(8)]
        statuses: list[int] = []
        threads = [
            threading.Thread(target=lambda n=n: statuses.append(post(address, {"n": n})[0]))
            for n in range(16)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert statuses == [200] * 16
        assert len(set(receiver.bodies)) == 16
        for client in silent:
            client.close()


def test_its_end_ends_what_is_connected_and_frees_the_address() -> None:
    with hook() as (address, _):
        client = Client(address)
        assert post(address, {})[0] == 200
    assert client.ended()
    client.close()
    with socket.create_server(address):
        pass


def test_a_port_in_use_and_an_address_that_cannot_be_had_are_faults_with_the_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        for bind, said in (
            (taken, os.strerror(errno.EADDRINUSE).lower()),
            ("203.0.113.7:8080", ""),
            ("a..b:8080", ""),
            ("nothing", "expected host:port"),
        ):
            webhooks = Webhooks(lambda bind, own: listening(bind, own, gateway_settings(), ThreadRegistry()))
            with pytest.raises(Unreachable) as caught, webhooks.mounted(PATH, Receiver(), bind):
                raise AssertionError("nothing can listen there")
            assert bind in str(caught.value)
            assert said in str(caught.value)
            assert not webhooks.has(PATH)
