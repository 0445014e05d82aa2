"""The WeCom channel: one robot, one connection, read in the thread that calls `run` and written to from any thread."""

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
from loong_channels.egress import Egress
from loong_channels.faults import Conflict, Fault, Interrupted
from loong_channels.net import HttpClient
from loong_channels.remembered import Remembered
from loong_channels.waiting import Deadline, StopToken

from .answers import fault_of
from .events import CallbackReader
from .frames import PING
from .holdback import Holdback
from .lines import ACK_S
from .link import Link
from .links import Links
from .media import MediaStore
from .preview import GrowingAnswer
from .quota import Quota
from .reception import Reception
from .sending import Sender
from .spec import DEFAULT_URL
from .streams import Bubbles, Place, answer_stream_id
from .takeover import Reclaims
from .uploads import Uploads
from .welcome import Welcome

__all__ = ["Channel"]

_DEFAULT_PING_S = 30.0
_MAX_PREVIEWS = 1024
# Messages that nobody sends again and that the disk refused, however often this object is replaced meanwhile.
_HELD = "held messages"


class Channel:
    """See contract.Channel. All methods but `run` may be called from many threads at once.

    What `run` remembers from one call to the next is written only there.
    """

    def __init__(
        self,
        account: Account,
        egress: Egress,
        *,
        clock: Callable[[], float] = time.monotonic,
        ack_s: float = ACK_S,
    ) -> None:
        """`clock` returns monotonic seconds; `ack_s` is how long the platform may take to answer a frame."""
        settings = account.settings
        self._account = account.id
        self._clock = clock
        self._bot_id = str(settings["bot_id"])
        self._links = Links(
            egress,
            str(settings.get("websocket_url") or DEFAULT_URL),
            {"bot_id": self._bot_id, "secret": str(settings["secret"])},
            note=self._note,
            clock=clock,
            ack_s=ack_s,
        )
        ping_s = settings.get("ping_interval_s")
        self._ping_s = float(ping_s) if isinstance(ping_s, (int, float)) else _DEFAULT_PING_S
        self._streams = settings.get("streaming_mode") == "stream"
        self._welcome = Welcome(settings)
        self._reclaims = Reclaims(allowed=settings.get("reclaim") is not False)
        self._bubbles = Bubbles()
        self._sender = Sender(
            Quota(_number(settings, "quota_per_min", 30), _number(settings, "quota_per_hour", 1000), clock),
            self._bubbles,
            Uploads(clock),
            self._note,
        )
        self._previews: Remembered[str, GrowingAnswer] = Remembered(_MAX_PREVIEWS)
        self._media = MediaStore(HttpClient(egress, pool_size=4))
        self._holdback = Holdback()
        self._host: Host | None = None

    def run(self, host: Host, stop: StopToken) -> None:
        """See contract.Channel.

        After a stop the connection stays open until `interrupt`, for the answers that are being written.
        """
        self._host = host
        held = host.kept.setdefault(_HELD, self._holdback)
        assert isinstance(held, Holdback)
        self._holdback = held
        # Messages that an earlier connection has brought do not wait for this one.
        self._holdback.hand_over(host, self._clock(), at_once=True)
        try:
            self._serve(host, stop)
        except Interrupted:
            if not stop.is_set():
                raise
        finally:
            if len(self._holdback):
                host.note("messages_not_taken", count=len(self._holdback))

    def send(self, outbound: Outbound, *, deadline: Deadline, stop: StopToken) -> Receipt:
        """See contract.Channel."""
        with self._links.some(deadline, stop) as link:
            return self._sender.send(link, outbound, deadline=deadline, stop=stop)

    def preview(
        self, address: Address, *, reply_to: str | None, extra: Mapping[str, object]
    ) -> Preview | None:
        """See contract.Channel."""
        req_id = extra.get("req_id")
        if not self._streams or not reply_to or not isinstance(req_id, str):
            return None
        place = Place(address.conversation, req_id=req_id)
        preview = GrowingAnswer(
            place,
            answer_stream_id(reply_to),
            self._bubbles,
            link=self._links.live,
            ended=lambda: self._previews.pop(address.lane),
            clock=self._clock,
        )
        self._previews.put(address.lane, preview)
        return preview

    def show_typing(self, address: Address, *, deadline: Deadline) -> None:  # noqa: ARG002  part of the contract
        """See contract.Channel. The platform shows no typing, so the bubble of the answer begins instead."""
        preview = self._previews.get(address.lane)
        if preview is not None:
            preview.tick()

    def acknowledge(self, inbound: Inbound, *, deadline: Deadline) -> None:
        """See contract.Channel. The platform knows no marks on messages."""

    def fetch(self, attachment: Attachment, *, max_bytes: int, deadline: Deadline, stop: StopToken) -> Media:
        """See contract.Channel. An address lives for five minutes."""
        return self._media.fetch(attachment, max_bytes=max_bytes, deadline=deadline, stop=stop)

    def probe(self, *, deadline: Deadline) -> str:
        """See contract.Channel. A channel that runs tests its connection with a ping.

        One that does not has to subscribe, and that takes the robot away from whoever holds it: do not call this
        while a gateway serves the account in another process.
        """
        with self._links.some(deadline, StopToken()) as link:
            if self._links.lasts:
                answer = link.call(PING, None, deadline=deadline)
                if answer.code != 0:
                    raise fault_of("ping", answer)
        return self._identity

    def interrupt(self) -> None:
        """See contract.Channel."""
        self._links.interrupt()
        self._media.interrupt()

    @property
    def _identity(self) -> str:
        return f"wecom_{self._bot_id}"

    def _serve(self, host: Host, stop: StopToken) -> None:
        held_since: float | None = None
        try:
            link = self._links.serve(stop)
            held_since = self._clock()
            host.ready(self._identity)
            self._receive(link, host, stop)
        except Conflict as fault:
            self._links.taken_over()
            wait_s = self._reclaims.lost(held_since, self._clock())
            raise Conflict(str(fault), retry_after_s=wait_s) from fault

    def _receive(self, link: Link, host: Host, stop: StopToken) -> None:
        reception = Reception(
            link,
            host,
            CallbackReader(self._account, self._bot_id),
            self._holdback,
            ping_interval_s=self._ping_s,
            greet=lambda entered: self._welcome.greet(link, entered),
            clock=self._clock,
        )
        try:
            reception.run(stop)
        except Fault as fault:
            link.end(fault)
            raise

    def _note(self, event: str, **details: object) -> None:
        if self._host is not None:
            self._host.note(event, **details)


def _number(settings: Mapping[str, object], name: str, default: int) -> int:
    value = settings.get(name)
    return value if isinstance(value, int) else default
