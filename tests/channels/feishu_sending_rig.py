"""A Feishu channel, or a part of it, against the double of the open platform."""

from __future__ import annotations

import time
from typing import Any, Callable

from loong_channels.contract import Account, Address, Receipt
from loong_channels.contract import Outbound as Part
from loong_channels.feishu.api import Api
from loong_channels.feishu.channel import Channel
from loong_channels.net import Egress, HttpClient
from loong_channels.waiting import Deadline, StopToken
from tests.fakes.feishu import FakeFeishu

CHAT = "oc_room"


class Clock:
    """Monotonic seconds that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def make_api(
    fake: FakeFeishu, clock: Callable[[], float] = time.monotonic, *, secret: str | None = None
) -> Api:
    """Calls as the double's app."""
    return Api(HttpClient(Egress()), fake.base_url, fake.app_id, secret or fake.app_secret, clock=clock)


def make_channel(
    fake: FakeFeishu, clock: Callable[[], float] = time.monotonic, **settings: object
) -> Channel:
    """A channel for the double's app."""
    values = {
        "app_id": fake.app_id,
        "app_secret": fake.app_secret,
        "base_url": fake.base_url,
        "domain": "feishu",
        **settings,
    }
    return Channel(Account("feishu", "work", "Work", values), Egress(), clock=clock)


def address(conversation: str = CHAT, thread: str | None = None) -> Address:
    """A conversation of the account."""
    return Address("feishu", "work", conversation, thread)


def send(channel: Channel, text: str, conversation: str = CHAT, **fields: Any) -> Receipt:
    """Send one part."""
    thread = fields.pop("thread", None)
    seconds = fields.pop("seconds", 10.0)
    outbound = Part(address(conversation, thread), text, fields.pop("key", "key-1"), **fields)
    return channel.send(outbound, deadline=Deadline(seconds), stop=StopToken())
