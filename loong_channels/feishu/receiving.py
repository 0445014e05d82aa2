"""Receiving from Feishu, over a long connection or a webhook, until told to stop. Runs in the thread that calls it."""

from __future__ import annotations

import time
from typing import Callable, Protocol

from loong_channels.contract import Account, Host
from loong_channels.decoding import load_json
from loong_channels.egress import Egress
from loong_channels.faults import BadAnswer, NotAccepted, Overloaded, Refused, Throttled
from loong_channels.waiting import Deadline, StopToken

from .endpoint import Endpoint
from .events import EventReader, Recalled, Skipped
from .identity import BotIdentity
from .long_connection import LongConnection, Outcome, Timing
from .webhook import Webhook, WebhookSettings

__all__ = ["EventDesk", "ReceivingApi", "receive"]

_REQUEST_S = 15.0
_DEFAULT_MAX_AGE_S = 21600.0


class ReceivingApi(Protocol):
    """What receiving needs of the platform's REST side."""

    def endpoint(self, deadline: Deadline, stop: StopToken | None = None) -> Endpoint:
        """Where to connect; good for one connection. Blocks; raises faults."""

    def bot(self, *, deadline: Deadline, stop: StopToken | None = None) -> BotIdentity:
        """Who the bot is; may be remembered for some minutes. Blocks; raises faults."""


def receive(
    account: Account,
    api: ReceivingApi,
    host: Host,
    stop: StopToken,
    egress: Egress,
    *,
    timing: Timing | None = None,
) -> None:
    """Live one connection, or wait for the platform's calls; returns within 2 s once `stop` is set.

    Blocks. Raises a fault when it is over, also Interrupted for a stop; never connects again by itself.
    """
    settings = account.settings
    webhook = WebhookSettings.of(settings) if settings.get("mode") == "webhook" else None
    bot = _identify(api, host, stop)
    reader = EventReader(
        account.id,
        str(settings["app_id"]),
        bot,
        ignore_bots=bool(settings.get("ignore_bot_messages", True)),
    )
    desk = EventDesk(reader, host)
    if webhook is not None:
        Webhook(webhook, host, desk.take, identity=bot.public_name, account=account.id).run(stop)
        return
    timing = timing or Timing(max_age_s=_max_age_s(settings.get("max_connection_age_s")))
    LongConnection(
        api.endpoint, egress, host, desk.take_payload, identity=bot.public_name, timing=timing
    ).run(stop)


class EventDesk:
    """Brings events to the host. As thread-safe as the host is."""

    def __init__(
        self, reader: EventReader, host: Host, now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    ) -> None:
        self._reader = reader
        self._host = host
        self._now_ms = now_ms

    def take(self, envelope: object) -> None:
        """Store what a decoded event says, or note why there is nothing to store. Blocks for a commit.

        Raises NotAccepted; the platform must send the event again then.
        """
        reading = self._reader.read(envelope, self._now_ms())
        if isinstance(reading, Recalled):
            self._host.recalled(reading.chat, reading.message_id)
        elif not isinstance(reading, Skipped):
            self._host.accept([reading])
        elif not reading.everyday:
            self._host.note("event_skipped", reason=reading.reason, chat=reading.chat)

    def take_payload(self, payload: bytes, push: str) -> Outcome:
        """As `take`, for the JSON of an event; says what became of it instead of raising. `push` is its id for logs."""
        try:
            envelope = load_json(payload)
        except ValueError:
            # What was put together wrongly may come whole the next time, and that happens four times at most.
            self._host.note("event_unreadable", push=push, size=len(payload))
            return Outcome.NOT_TAKEN
        try:
            self.take(envelope)
        except NotAccepted as fault:
            self._host.note("event_refused", push=push, reason=type(fault).__name__)
            return Outcome.NOT_TAKEN
        return Outcome.TAKEN


def _identify(api: ReceivingApi, host: Host, stop: StopToken) -> BotIdentity:
    try:
        return api.bot(deadline=Deadline(_REQUEST_S), stop=stop)
    except (BadAnswer, Overloaded, Refused, Throttled) as fault:
        # Only mentions depend on it; being deaf for want of a name would be worse.
        host.note("bot_identity_unknown", reason=type(fault).__name__)
        return BotIdentity("")


def _max_age_s(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
        return _DEFAULT_MAX_AGE_S
    return float(value)
