"""The Feishu channel: one app's bot, written to from any thread; `receiving` takes in what people write."""

from __future__ import annotations

import contextlib
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
from loong_channels.faults import Interrupted, Refused
from loong_channels.net import Egress, HttpClient
from loong_channels.waiting import Deadline, StopToken, either

from .api import BASE_URLS, Api
from .fetching import Fetching
from .messages import Messages, Style
from .preview import GrowingCard
from .reactions import Reactions
from .receiving import receive
from .targets import Target, message_id_of

__all__ = ["Channel"]


class Channel:
    """See contract.Channel. All methods but `run` may be called from many threads at once."""

    def __init__(
        self, account: Account, egress: Egress, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`clock` returns monotonic seconds."""
        settings = account.settings
        self._account = account
        self._egress = egress
        self._clock = clock
        base_url = settings.get("base_url") or BASE_URLS[str(settings.get("domain") or "feishu")]
        self._api = Api(
            HttpClient(egress),
            str(base_url),
            str(settings["app_id"]),
            str(settings["app_secret"]),
            clock=clock,
        )
        self._style = Style(
            account=account.id,
            form=str(settings.get("reply_format") or "card"),
            default_type=str(settings.get("receive_id_type") or "chat_id"),
        )
        self._messages = Messages(self._api, self._style, self._note)
        self._reactions = Reactions(self._api, clock)
        self._fetching = Fetching(self._api)
        self._previews = settings.get("streaming_mode") == "card"
        self._marks = bool(settings.get("ack_reactions"))
        self._host: Host | None = None
        self._interrupted = StopToken()

    def run(self, host: Host, stop: StopToken) -> None:
        """See contract.Channel."""
        self._host = host
        with either(stop, self._interrupted) as over, contextlib.suppress(Interrupted):
            receive(self._account, self._api, host, over, self._egress)
        if not stop.is_set():
            raise Interrupted("interrupted")

    def send(self, outbound: Outbound, *, deadline: Deadline, stop: StopToken) -> Receipt:
        """See contract.Channel."""
        try:
            receipt = self._messages.deliver(outbound, deadline=deadline, stop=stop)
        except Refused:
            # There will be no answer either.
            self._reactions.clear(outbound.reply_to, deadline=deadline)
            raise
        self._reactions.clear(outbound.reply_to, deadline=deadline)
        return receipt

    def preview(
        self, address: Address, *, reply_to: str | None, extra: Mapping[str, object]
    ) -> Preview | None:
        """See contract.Channel."""
        if not self._previews:
            return None
        try:
            target = Target.of(address, reply_to, extra, self._style.default_type)
        except Refused:
            # The answer itself will say so.
            return None
        return GrowingCard(self._messages, target, self._clock)

    def show_typing(self, address: Address, *, deadline: Deadline) -> None:
        """Does nothing: the platform has no typing notice."""

    def acknowledge(self, inbound: Inbound, *, deadline: Deadline) -> None:
        """See contract.Channel."""
        message_id = message_id_of(inbound.message_id)
        if self._marks and message_id is not None:
            self._reactions.mark(message_id, inbound.sent_ms, deadline=deadline)

    def fetch(self, attachment: Attachment, *, max_bytes: int, deadline: Deadline, stop: StopToken) -> Media:
        """See contract.Channel."""
        return self._fetching.fetch(attachment, max_bytes=max_bytes, deadline=deadline, stop=stop)

    def probe(self, *, deadline: Deadline) -> str:
        """See contract.Channel."""
        return self._api.probe(deadline=deadline).public_name

    def interrupt(self) -> None:
        """See contract.Channel."""
        self._interrupted.set("interrupted")
        self._api.interrupt()

    def _note(self, event: str) -> None:
        if self._host is not None:
            self._host.note(event)
