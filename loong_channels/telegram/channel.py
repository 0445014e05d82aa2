"""The Telegram channel: one bot, polled in the thread that calls `run`, written to from any thread.

A send must never wait behind a poll, so each has its own HTTP client.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Callable

from loong_channels.contract import (
    Account,
    Address,
    Attachment,
    Host,
    Inbound,
    Media,
    Outbound,
    Preview,
    Receipt,
)
from loong_channels.faults import Conflict, Interrupted, Refused
from loong_channels.net import Egress, HttpClient
from loong_channels.waiting import Deadline, StopToken

from .api import BotApi
from .messages import GENERAL_TOPIC, Messages, Place
from .pacing import PreviewPaces
from .polling import Poller
from .preview import DraftSupport, GrowingMessage
from .updates import BotIdentity, UpdateReader, message_number

__all__ = ["Channel"]

_DEFAULT_URL = "https://api.telegram.org"
_DEFAULT_POLL_S = 15
_MAX_POLL_S = 50
# Must be one of the reactions that every chat allows.
_ACK_EMOJI = "👀"
_MAX_FORUMS = 4096
# Somebody who sets a webhook again and again means it; taking it away each time would be a fight.
_WEBHOOK_INTERVAL_S = 300.0


class Channel:
    """See contract.Channel. All methods but `run` may be called from many threads at once.

    `run` is called by one thread at a time; what it remembers from one call to the next is written only there.
    """

    def __init__(
        self, account: Account, egress: Egress, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`clock` returns monotonic seconds."""
        self._clock = clock
        settings = account.settings
        token = str(settings["bot_token"])
        base_url = str(settings.get("base_url") or _DEFAULT_URL)
        self._account = account.id
        self._poll_api = BotApi(HttpClient(egress, pool_size=1), base_url, token)
        self._send_api = BotApi(HttpClient(egress), base_url, token)
        self._poll_timeout_s = _clamped(settings.get("polling_timeout_s"))
        self._handle_edits = bool(settings.get("handle_edits"))
        self._handle_channel_posts = bool(settings.get("handle_channel_posts"))
        self._previews = settings.get("streaming_mode") == "draft"
        self._ack_reactions = bool(settings.get("ack_reactions"))
        self._paces = PreviewPaces(clock)
        self._messages = Messages(self._send_api, self._note)
        self._drafts = DraftSupport()
        self._forums: set[str] = set()
        self._host: Host | None = None
        self._contested = False
        self._next_webhook_removal = clock()

    def run(self, host: Host, stop: StopToken) -> None:
        """See contract.Channel."""
        self._host = host
        poller = Poller(
            self._poll_api, host, stop, timeout_s=self._poll_timeout_s, on_forum=self._learn_forum
        )
        started = self._clock()
        conflict = False
        try:
            due = started >= self._next_webhook_removal
            poller.run(self._reader, contested=self._contested, remove_webhook=due)
        except Conflict:
            conflict = True
            raise
        except Interrupted:
            if not stop.is_set():
                raise
        finally:
            if poller.webhook_removed:
                self._next_webhook_removal = started + _WEBHOOK_INTERVAL_S
            self._contested = conflict or (self._contested and not poller.polled)

    def send(self, outbound: Outbound, *, deadline: Deadline, stop: StopToken) -> Receipt:
        """See contract.Channel."""
        return self._messages.deliver(outbound, deadline=deadline, stop=stop)

    def preview(
        self,
        address: Address,
        *,
        reply_to: str | None,
        extra: Mapping[str, object],  # noqa: ARG002  part of the contract
    ) -> Preview | None:
        """See contract.Channel."""
        if not self._previews:
            return None
        try:
            place = Place.of(address)
        except Refused:
            return None
        number = message_number(reply_to, place.chat)
        return GrowingMessage(self._messages, self._paces, self._drafts, place, number)

    def show_typing(self, address: Address, *, deadline: Deadline) -> None:
        """See contract.Channel."""
        place = Place.of(address)
        params: dict[str, object] = {"action": "typing"}
        if place.thread is None and place.chat in self._forums:
            # Unlike messages, chat actions name the General topic of a forum.
            params["message_thread_id"] = int(GENERAL_TOPIC)
        self._messages.call("sendChatAction", place, params, deadline, None)

    def acknowledge(self, inbound: Inbound, *, deadline: Deadline) -> None:
        """See contract.Channel."""
        place = Place(inbound.address.conversation)
        number = message_number(inbound.message_id, place.chat)
        if self._ack_reactions and number is not None:
            reaction = [{"type": "emoji", "emoji": _ACK_EMOJI}]
            params: dict[str, object] = {"message_id": number, "reaction": reaction}
            self._messages.call("setMessageReaction", place, params, deadline, None)

    def fetch(self, attachment: Attachment, *, max_bytes: int, deadline: Deadline, stop: StopToken) -> Media:
        """See contract.Channel."""
        file_id = str(attachment.ref.get("file_id") or "")
        content = self._send_api.download(file_id, max_bytes=max_bytes, deadline=deadline, stop=stop)
        return Media(content, attachment.name, attachment.mime)

    def probe(self, *, deadline: Deadline) -> str:
        """See contract.Channel."""
        return self._send_api.get_me(deadline=deadline).public_name

    def interrupt(self) -> None:
        """See contract.Channel."""
        self._poll_api.interrupt()
        self._send_api.interrupt()

    def _reader(self, bot: BotIdentity) -> UpdateReader:
        return UpdateReader(
            self._account,
            bot,
            handle_edits=self._handle_edits,
            handle_channel_posts=self._handle_channel_posts,
        )

    def _learn_forum(self, chat: str) -> None:
        # Adding to a set is one step for every thread. A forgotten forum only costs a typing notice.
        if len(self._forums) < _MAX_FORUMS:
            self._forums.add(chat)

    def _note(self, event: str) -> None:
        if self._host is not None:
            self._host.note(event)


def _clamped(value: object) -> int:
    seconds = value if isinstance(value, int) else _DEFAULT_POLL_S
    return min(max(seconds, 1), _MAX_POLL_S)
