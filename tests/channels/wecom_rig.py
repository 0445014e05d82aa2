"""A WeCom channel against the double of the platform."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Callable

from loong_channels.contract import Account, Address, Inbound, Outbound, OutboundFile, Receipt
from loong_channels.egress import Egress
from loong_channels.waiting import Deadline, StopToken
from loong_channels.wecom.channel import Channel
from tests.channels.telegram_rig import RecordingHost, Running
from tests.fakes.wecom import FakeWeCom

__all__ = [
    "RecordingHost",
    "Running",
    "Time",
    "address",
    "heard",
    "make_channel",
    "online",
    "reply",
    "send",
    "served",
]


class Time:
    """A monotonic clock that can be put forward."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead_s


def make_channel(
    fake: FakeWeCom,
    clock: Callable[[], float] = time.monotonic,
    *,
    ack_s: float = 5.0,
    **settings: object,
) -> Channel:
    """A channel for the double's robot. `ack_s` is how long it waits for the answer to a frame."""
    values = {
        "bot_id": fake.bot_id,
        "secret": fake.secret,
        "websocket_url": fake.url,
        "ping_interval_s": 30,
        "allowed_conversation_ids": ("zhangsan", "room"),
        **settings,
    }
    return Channel(Account("wecom", "work", "Work", values), Egress(), clock=clock, ack_s=ack_s)


@contextmanager
def online(
    fake: FakeWeCom, clock: Callable[[], float] = time.monotonic, *, ack_s: float = 5.0, **settings: object
) -> Iterator[tuple[Channel, RecordingHost, Running]]:
    """A channel that runs and is subscribed; interrupted at the end, so that nothing is waited for."""
    channel = make_channel(fake, clock, ack_s=ack_s, **settings)
    host = RecordingHost()
    with served(channel, host) as run:
        host.wait_for(lambda: host.identities)
        yield channel, host, run


@contextmanager
def served(channel: Channel, host: RecordingHost) -> Iterator[Running]:
    """Run a channel inside the block."""
    run = Running(channel, host)
    try:
        yield run
    finally:
        run.stop.set("test over")
        channel.interrupt()
        run.thread.join(5)
        assert not run.thread.is_alive(), "run does not end"


def address(conversation: str) -> Address:
    """A conversation of the account."""
    return Address("wecom", "work", conversation)


def heard(fake: FakeWeCom, host: RecordingHost, text: str = "hello", **fields: Any) -> Inbound:
    """What a person says, as the gateway gets it."""
    question = fake.say(text, **fields)
    return host.wait_for(
        lambda: next((one for one in host.messages if one.extra["req_id"] == question.req_id), None)
    )


def reply(channel: Channel, inbound: Inbound, text: str, **fields: Any) -> Receipt:
    """Answer a message with the first part of an answer."""
    fields = {"reply_to": inbound.message_id, "key": f"reply-{inbound.message_id}-0", **fields}
    return send(channel, inbound.address.conversation, text, extra=inbound.extra, **fields)


def send(
    channel: Channel,
    conversation: str,
    text: str,
    *,
    key: str = "key-1",
    seconds: float = 20.0,
    stop: StopToken | None = None,
    extra: Mapping[str, object] | None = None,
    reply_to: str | None = None,
    file: OutboundFile | None = None,
) -> Receipt:
    """Send one part."""
    outbound = Outbound(address(conversation), text, key, reply_to=reply_to, extra=extra or {}, file=file)
    return channel.send(outbound, deadline=Deadline(seconds), stop=stop or StopToken())
