"""What every channel must be able to do in front of its contract tests: one `Rig` per channel, or way of receiving.

A rig stands a double of the platform up, makes channels for it, and plays the platform's and people's part. To prove a
new channel, write a rig and name it in `rigs.RIGS`; the tests need nothing else.
"""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Callable, Protocol

from loong_channels.contract import Address, Channel, ChannelSpec, Cursor, Inbound, Outbound, Receipt
from loong_channels.waiting import Deadline, StopToken
from tests.channels.telegram_rig import RecordingHost
from tests.fakes.bad_line import BadLine

__all__ = ["Oddity", "Rig", "TimedHost", "checksum", "part", "send"]


@dataclass(frozen=True)
class Oddity:
    """Something that comes in and is no message for us. `push` makes the platform deliver it."""

    name: str
    push: Callable[[], object]


class Rig(Protocol):
    """A double of a platform and everything a contract test asks of it. Used as a context manager.

    `handle` below is whatever `say` returned. Conversations are numbered from 0.
    """

    spec: ChannelSpec
    # Settings under which `Channel.preview` returns one; empty where the channel has none.
    preview_settings: Mapping[str, object]
    # False where the platform knows no acknowledgement: then the channel itself must keep what was not taken.
    acknowledges: bool

    def __enter__(self) -> Rig:
        """Serve."""

    def __exit__(self, *details: object) -> None:
        """Stop serving. Fails when the double complains of what the client did."""

    @property
    def secrets(self) -> Sequence[str]:
        """Everything that must never be shown, as far as it exists by now."""

    def channel(
        self,
        line: BadLine | None = None,
        *,
        wrong_secret: bool = False,
        secure: bool = False,
        **settings: object,
    ) -> Channel:
        """A channel for the double, over `line` if given; `secure` makes it speak TLS to a peer that does not."""

    def attach(self, host: RecordingHost) -> None:
        """The channel runs with this host and has said that it is ready."""

    def rest(self) -> None:
        """Some time passes at the platform between two lives of a channel."""

    def address(self, number: int) -> Address:
        """A conversation that the bot may write to."""

    def say(self, text: str, number: int = 0) -> Any:
        """A person writes. Does not wait for the channel."""

    def redeliver(self, handle: Any) -> None:
        """The platform delivers the same message once more, as if nothing had been acknowledged."""

    def acknowledged_at(self, handle: Any) -> float | None:
        """When the acknowledgement reached the platform, monotonic seconds; None so far."""

    def insist(self, handle: Any) -> None:
        """What the platform does by itself some time after a message was not acknowledged."""

    def sent(self) -> list[tuple[str, str]]:
        """(conversation, text) of the bot's messages as people see them now, in order."""

    def throttle(self, seconds: int) -> float:
        """The next message is refused as too many; how long the channel must say to wait."""

    def oddities(self) -> Iterable[Oddity]:
        """Unknown, broken and foreign input, none of which is fatal."""


class TimedHost(RecordingHost):
    """Takes `hold_s` for each batch and writes down when it was done."""

    def __init__(self, hold_s: float = 0.02) -> None:
        super().__init__()
        self._pause = threading.Event()
        self._hold_s = hold_s
        self.taken_at: list[float] = []

    def accept(self, batch: Sequence[Inbound], cursor: Cursor | None = None) -> None:
        self._pause.wait(self._hold_s)
        super().accept(batch, cursor)
        self.taken_at.append(time.monotonic())


def checksum(address: Address) -> str:
    """What a text says of the conversation that it belongs to."""
    return f"{zlib.crc32(address.lane.encode()):08x}"


def part(address: Address, text: str, key: str = "key-1", **fields: Any) -> Outbound:
    """One part of an answer."""
    return Outbound(address, text, key, **fields)


def send(
    channel: Channel,
    outbound: Outbound,
    *,
    seconds: float = 10.0,
    stop: StopToken | None = None,
) -> Receipt:
    """Send it."""
    return channel.send(outbound, deadline=Deadline(seconds), stop=stop or StopToken())
