"""The whole channel against both doubles of the platform, REST and long connection, as it runs in the gateway."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from loong_channels import faults
from loong_channels.contract import Account, Address, Outbound
from loong_channels.net import Egress
from loong_channels.waiting import Deadline, StopToken
from tests.channels.feishu_inbound_rig import message
from tests.channels.telegram_rig import RecordingHost
from tests.fakes.feishu_long_connection import FakeLongConnection

channels = pytest.importorskip("loong_channels.feishu.channel")
platform = pytest.importorskip("tests.fakes.feishu")


@contextlib.contextmanager
def both() -> Iterator[tuple[Any, FakeLongConnection]]:
    """The REST double, whose endpoints lead to the double of the long connection: a new ticket for each request."""
    with platform.FakeFeishu() as rest, FakeLongConnection(rest.app_id, rest.app_secret) as link:

        def on_request(request: Any, stage: str) -> None:
            if request.name == "endpoint" and stage == "arrived":
                status, body = link.endpoint_answer(dict(request.params))
                assert isinstance(body, dict)
                if status == 200 and body["code"] == 0:
                    rest.set_endpoint(body["data"]["URL"], **body["data"]["ClientConfig"])

        rest.on_request = on_request
        yield rest, link


def account(rest: Any, **settings: object) -> Account:
    values = {
        "app_id": rest.app_id,
        "app_secret": rest.app_secret,
        "base_url": rest.base_url,
        "mode": "websocket",
        **settings,
    }
    return Account("feishu", "work", "Work", values)


@contextlib.contextmanager
def running(channel: Any, host: RecordingHost) -> Iterator[tuple[StopToken, list[BaseException]]]:
    stop, errors = StopToken(), []

    def run() -> None:
        try:
            channel.run(host, stop)
        except BaseException as error:  # noqa: BLE001 - handed to the test
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield stop, errors
    finally:
        stop.set("over")
        thread.join(2)
        alive = thread.is_alive()
        assert not alive


def test_a_message_comes_in_over_the_long_connection_and_its_answer_goes_out_over_rest() -> None:
    with both() as (rest, link):
        rest.add_chat("oc_chat", "ou_sender")
        host = RecordingHost()
        channel = channels.Channel(account(rest), Egress())
        with running(channel, host) as (_, errors):
            host.wait_for(lambda: host.identities)
            one = link.push(message(1, "hello", app_id=rest.app_id))
            assert one.codes == [200]
            inbound = host.messages[0]
            channel.send(
                Outbound(Address("feishu", "work", inbound.address.conversation), "hi there", "key-1"),
                deadline=Deadline(10),
                stop=StopToken(),
            )
        assert errors == []
        assert host.identities[0] == "loong-bot"
        assert (inbound.text, inbound.sender_id) == ("hello", "ou_sender")
        assert "hi there" in json.dumps([str(sent) for sent in rest.messages])
        assert (link.complaints, rest.complaints) == ([], [])


def test_every_connection_asks_for_its_own_endpoint_and_a_wrong_secret_is_named() -> None:
    with both() as (rest, link):
        channel = channels.Channel(account(rest), Egress())
        for number in (1, 2):
            host = RecordingHost()
            with running(channel, host) as (_, errors):
                link.wait_for(lambda number=number: link.connected == number)
                host.wait_for(lambda host=host: host.identities)
            assert errors == []
        assert link.endpoint_requests == 2
        assert link.complaints == []
        wrong = channels.Channel(account(rest, app_secret="another-secret"), Egress())
        with running(wrong, RecordingHost()) as (_, errors):
            link.wait_for(lambda: True)
            for _ in range(200):
                if errors or StopToken().wait(0.05):
                    break
        assert isinstance(errors[0], faults.BadCredentials)
        assert "another-secret" not in str(errors[0])


def test_webhook_mode_needs_no_endpoint() -> None:
    pytest.importorskip("cryptography")
    with both() as (rest, link):
        host = RecordingHost()
        settings = {
            "mode": "webhook",
            "webhook_bind": "127.0.0.1:0",
            "verification_token": "t",
            "encrypt_key": "k",
        }
        with running(channels.Channel(account(rest, **settings), Egress()), host) as (_, errors):
            host.wait_for(lambda: host.identities)
        assert errors == []
        assert link.endpoint_requests == 0
