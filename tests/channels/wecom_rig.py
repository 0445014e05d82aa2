"""A WeCom channel against the double of the platform."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Callable

from loong_channels.contract import Account, Address, Inbound, Outbound, Receipt
from loong_channels.egress import Egress
from loong_channels.waiting import Deadline, StopToken
from loong_channels.wecom.channel import Channel
from tests.channels.telegram_rig import RecordingHost, Running, running
from tests.fakes.wecom import FakeWeCom

__all__ = ["RecordingHost", "Running", "address", "make_channel", "online", "reply", "running", "send"]


def make_channel(fake: FakeWeCom, clock: Callable[[], float] = time.monotonic, **settings: object) -> Channel:
    """A channel for the double's robot."""
    values = {
        "bot_id": fake.bot_id,
        "secret": fake.secret,
        "websocket_url": fake.url,
        "ping_interval_s": 30,
        "allowed_conversation_ids": ("zhangsan", "room"),
        **settings,
    }
    return Channel(Account("wecom", "work", "Work", values), Egress(), clock=clock)


@contextmanager
def online(fake: FakeWeCom, **settings: object) -> Iterator[tuple[Channel, RecordingHost, Running]]:
    """A channel that runs and is subscribed."""
    channel = make_channel(fake, **settings)
    host = RecordingHost()
    try:
        with running(channel, host) as run:
            host.wait_for(lambda: host.identities)
            yield channel, host, run
    finally:
        channel.interrupt()


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
) -> Receipt:
    """Send one part."""
    outbound = Outbound(address(conversation), text, key, reply_to=reply_to, extra=extra or {})
    return channel.send(outbound, deadline=Deadline(seconds), stop=stop or StopToken())
