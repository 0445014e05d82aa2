"""The whole channel against both doubles of the platform, REST and long connection, as it runs in the gateway."""

from __future__ import annotations

import contextlib
import json
import socket
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
from tests.fakes.scripted_peer import ScriptedPeer, unanswered
from tests.waiting import wait_until

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

    thread = threading.Thread(target=run, daemon=True, name="the channel")
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


@contextlib.contextmanager
def never_accepting() -> Iterator[int]:
    """A port whose queue is full, so that a connection to it is never made."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(8):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


@contextlib.contextmanager
def state(name: str, rest: Any, host: RecordingHost) -> Iterator[Any]:
    """Where `run` is: (settings, a wait until it is there)."""
    settings: dict[str, object] = {}
    hooks = {"mode": "webhook", "verification_token": "t", "encrypt_key": "k"}
    with contextlib.ExitStack() as stack:
        if name in ("token", "bot", "endpoint"):
            fault = rest.fault(name, "hang")
            there = lambda: rest.wait_for(lambda: fault.hits)  # noqa: E731
        elif name == "connecting":
            port = stack.enter_context(never_accepting())
            rest.on_request = None
            rest.set_endpoint(f"ws://127.0.0.1:{port}/?service_id=1")
            there = lambda: rest.wait_for(lambda: [r for r in rest.calls("endpoint") if r.code == 0])  # noqa: E731
        elif name == "handshake":
            peer = stack.enter_context(ScriptedPeer(unanswered))
            rest.on_request = None
            rest.set_endpoint(f"ws://127.0.0.1:{peer.port}/?service_id=1")
            there = lambda: wait_until(lambda: peer.requests)  # noqa: E731
        else:
            settings = {
                "reading": {},
                "mounted": hooks,
            }[name]
            there = lambda: host.wait_for(lambda: host.identities)  # noqa: E731
        yield settings, there
        rest.release()


STATES = (
    "token",
    "bot",
    "endpoint",
    "connecting",
    "handshake",
    "reading",
    "mounted",
)


@pytest.mark.parametrize("how", ["stop", "interrupt"])
@pytest.mark.parametrize("name", STATES)
def test_a_stop_and_an_interruption_end_it_in_every_state(name: str, how: str) -> None:
    if name == "mounted":
        pytest.importorskip("cryptography")
    with both() as (rest, link):
        host = RecordingHost()
        with state(name, rest, host) as (settings, there):
            channel = channels.Channel(account(rest, **settings), Egress())
            with running(channel, host) as (stop, errors):
                there()
                stop.set("over") if how == "stop" else channel.interrupt()
                wait_until(lambda: "the channel" not in [t.name for t in threading.enumerate()], 2)
            assert [type(error) for error in errors] == ([] if how == "stop" else [faults.Interrupted])
        link.wait_for(lambda: not link.alive)
        assert host.receiver is None
        if how == "interrupt":
            with running(channel, host) as (stop, errors):
                wait_until(lambda: errors)
            assert isinstance(errors[0], faults.Interrupted)


def test_webhook_mode_needs_no_endpoint() -> None:
    pytest.importorskip("cryptography")
    with both() as (rest, link):
        host = RecordingHost()
        settings = {
            "mode": "webhook",
            "verification_token": "t",
            "encrypt_key": "k",
        }
        with running(channels.Channel(account(rest, **settings), Egress()), host) as (_, errors):
            host.wait_for(lambda: host.identities)
        assert errors == []
        assert link.endpoint_requests == 0
