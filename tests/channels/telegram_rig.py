"""A Telegram channel against the double of the Bot API, and a host that writes down what it is told."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Callable

from loong_channels.contract import (
    Account,
    Address,
    Cursor,
    Inbound,
    Outbound,
    Receipt,
    WebhookReceiver,
)
from loong_channels.net import Egress
from loong_channels.telegram.channel import Channel
from loong_channels.waiting import Deadline, StopToken
from tests.fakes.telegram import FakeTelegram


class RecordingHost:
    """Takes what comes, unless faults are lined up in `refusals`. Thread-safe.

    `cursors` are those that an earlier process stored.
    """

    def __init__(self, cursors: Mapping[str, str] | None = None) -> None:
        self.changed = threading.Condition()
        self.batches: list[tuple[list[Inbound], Cursor | None]] = []
        self.cursors: dict[str, str] = dict(cursors or {})
        self.identities: list[str] = []
        self.moves: list[tuple[str, str]] = []
        self.recalls: list[tuple[str, str]] = []
        self.receiver: WebhookReceiver | None = None
        self.notes: list[tuple[str, dict[str, object]]] = []
        self.heard_count = 0
        self.rounds = 0
        self.refusals: list[Exception] = []
        self.offers = 0
        self.kept: dict[str, object] = {}

    def accept(self, batch: Sequence[Inbound], cursor: Cursor | None = None) -> None:
        with self.changed:
            self.offers += 1
            self.changed.notify_all()
            if self.refusals:
                raise self.refusals.pop(0)
            self.batches.append((list(batch), cursor))
            if cursor is not None:
                self.cursors[cursor.name] = cursor.value

    def cursor(self, name: str) -> str | None:
        with self.changed:
            return self.cursors.get(name)

    def ready(self, identity: str) -> None:
        with self.changed:
            self.identities.append(identity)
            self.changed.notify_all()

    def heard(self) -> None:
        with self.changed:
            self.heard_count += 1
            self.changed.notify_all()

    def caught_up(self) -> None:
        with self.changed:
            self.rounds += 1
            self.changed.notify_all()

    def moved(self, old_conversation: str, new_conversation: str) -> None:
        with self.changed:
            self.moves.append((old_conversation, new_conversation))

    def recalled(self, conversation: str, message_id: str) -> None:
        with self.changed:
            if self.refusals:
                raise self.refusals.pop(0)
            self.recalls.append((conversation, message_id))

    @contextlib.contextmanager
    def mounted(self, receiver: WebhookReceiver) -> Iterator[None]:
        self.receiver = receiver
        try:
            yield
        finally:
            self.receiver = None

    def note(self, event: str, **details: object) -> None:
        with self.changed:
            self.notes.append((event, details))
            self.changed.notify_all()

    @property
    def messages(self) -> list[Inbound]:
        """Every message taken, in order."""
        with self.changed:
            return [inbound for batch, _ in self.batches for inbound in batch]

    @property
    def texts(self) -> list[str]:
        """Their texts."""
        return [inbound.text for inbound in self.messages]

    def wait_for(self, condition: Callable[[], Any], timeout: float = 10.0) -> Any:
        """Wait until `condition()` holds, looked at whenever something was told."""
        with self.changed:
            assert self.changed.wait_for(condition, timeout), (self.notes, self.offers, self.identities)
            return condition()


class Running:
    """A channel whose `run` has its own thread."""

    def __init__(self, channel: Channel, host: RecordingHost) -> None:
        self.channel = channel
        self.host = host
        self.stop = StopToken()
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.channel.run(self.host, self.stop)
        except BaseException as error:  # noqa: BLE001 - handed to the test
            self.error = error
        finally:
            with self.host.changed:
                self.host.changed.notify_all()

    def ended(self, timeout: float = 10.0) -> BaseException | None:
        """Wait for the end of `run`; what it raised."""
        self.thread.join(timeout)
        assert not self.thread.is_alive(), "run does not end"
        return self.error


def make_channel(
    fake: FakeTelegram,
    token: str | None = None,
    clock: Callable[[], float] = time.monotonic,
    **settings: object,
) -> Channel:
    """A channel for the double's (first) bot."""
    values = {
        "bot_token": token or fake.token,
        "base_url": fake.base_url,
        "polling_timeout_s": 20,
        **settings,
    }
    return Channel(Account("telegram", "work", "Work", values), Egress(), clock=clock)


@contextlib.contextmanager
def running(channel: Channel, host: RecordingHost) -> Iterator[Running]:
    """Run the channel inside the block."""
    run = Running(channel, host)
    try:
        yield run
    finally:
        run.stop.set("test over")
        run.thread.join(3)
        # Only a channel that does not heed its stop is still alive; do not let it disturb other tests.
        stuck = run.thread.is_alive()
        if stuck:
            channel.interrupt()
        assert not stuck


def address(chat: int | str, thread: str | None = None) -> Address:
    """A conversation of the account."""
    return Address("telegram", "work", str(chat), thread)


def send(channel: Channel, chat: int | str, text: str, **fields: Any) -> Receipt:
    """Send one part."""
    thread = fields.pop("thread", None)
    seconds = fields.pop("seconds", 10.0)
    outbound = Outbound(address(chat, thread), text, fields.pop("key", "key-1"), **fields)
    return channel.send(outbound, deadline=Deadline(seconds), stop=StopToken())
