"""The WeCom channel: one robot, one connection, read in the thread that calls `run` and written to from any thread.

The platform keeps one connection per robot and gives it to whoever subscribed last. So a channel that was ever told
to `run` sends over its own connection only, and one that never was connects for each message and leaves again.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Iterator, Mapping
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
from loong_channels.faults import Conflict, Fault, Interrupted, TimedOut, Unreachable
from loong_channels.net import HttpClient
from loong_channels.waiting import Deadline, StopToken, either

from .events import CallbackReader, Entered
from .frames import PING, RESPOND_WELCOME
from .holdback import Holdback
from .link import CONNECT_S, SUBSCRIBE_S, Link
from .media import MediaStore
from .memory import Remembered
from .preview import GrowingAnswer
from .quota import Quota
from .reception import Reception
from .sending import Sender
from .spec import DEFAULT_URL
from .streams import Bubbles, Place, answer_stream_id

__all__ = ["Channel"]

_DEFAULT_PING_S = 30
_MAX_PING_S = 300
_MAX_PREVIEWS = 1024
# Taking the robot back at once would be answered in kind, for ever.
_FIRST_RECLAIM_S = 60.0
_LONGEST_RECLAIM_S = 600.0
# Whoever held the robot for this long was not in a fight over it.
_PEACE_S = 1800.0
_TURN_LOOK_S = 0.25


class Channel:
    """See contract.Channel. All methods but `run` may be called from many threads at once.

    `_guard` protects the links; `_turn` is held by whoever has a connection for one message only. What `run` remembers
    from one call to the next is written only there.
    """

    def __init__(
        self, account: Account, egress: Egress, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`clock` returns monotonic seconds."""
        settings = account.settings
        self._account = account.id
        self._egress = egress
        self._clock = clock
        self._credentials = {"bot_id": str(settings["bot_id"]), "secret": str(settings["secret"])}
        self._url = str(settings.get("websocket_url") or DEFAULT_URL)
        self._ping_s = _clamped(settings.get("ping_interval_s"))
        self._streams = settings.get("streaming_mode") == "stream"
        self._welcome = str(settings.get("welcome_text") or "").strip()
        self._greeted = _listed(settings.get("allowed_conversation_ids"))
        self._senders = _listed(settings.get("allowed_sender_ids"))
        self._reclaims = settings.get("reclaim") is not False
        self._bubbles = Bubbles()
        self._sender = Sender(
            Quota(_number(settings, "quota_per_min", 30), _number(settings, "quota_per_hour", 1000), clock),
            self._bubbles,
            self._note,
        )
        self._previews: Remembered[GrowingAnswer] = Remembered(_MAX_PREVIEWS)
        self._media = MediaStore(HttpClient(egress, pool_size=4))
        self._holdback = Holdback()
        self._guard = threading.Lock()
        self._turn = threading.Semaphore()
        # Every open link, so that `interrupt` finds them; `_link` is the one that is subscribed, of `run`.
        self._open: set[Link] = set()
        self._link: Link | None = None
        self._interrupted = StopToken()
        self._host: Host | None = None
        self._taken_over = False
        self._losses = 0

    def run(self, host: Host, stop: StopToken) -> None:
        """See contract.Channel.

        After a stop the connection stays open until `interrupt`, for the answers that are being written.
        """
        self._host = host
        # Messages that an earlier connection has brought do not wait for this one.
        self._holdback.hand_over(host, self._clock())
        self._drop_link()
        started: float | None = None
        try:
            link = self._connect(Deadline(CONNECT_S + SUBSCRIBE_S), stop)
            with self._guard:
                self._link = link
            self._taken_over = False
            started = self._clock()
            host.ready(self._identity)
            self._receive(link, host, stop)
        except Conflict as fault:
            self._taken_over = True
            raise Conflict(str(fault), retry_after_s=self._reclaim_after_s(started)) from fault
        except Interrupted:
            if not stop.is_set():
                raise
        if len(self._holdback):
            host.note("messages_not_taken", count=len(self._holdback))

    def send(self, outbound: Outbound, *, deadline: Deadline, stop: StopToken) -> Receipt:
        """See contract.Channel."""
        with self._some_link(deadline, stop) as link:
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
            link=self._live_link,
            ended=lambda _: self._forget_preview(address.lane),
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
        with self._some_link(deadline, StopToken()) as link:
            if self._host is not None:
                link.call(PING, None, deadline=deadline)
        return self._identity

    def interrupt(self) -> None:
        """See contract.Channel."""
        # First, so that a link which is not in the list yet finds it set; see _register.
        self._interrupted.set("interrupted")
        with self._guard:
            links = list(self._open)
        for link in links:
            link.end(Interrupted("interrupted"))
        self._media.interrupt()

    @property
    def _identity(self) -> str:
        return f"wecom_{self._credentials['bot_id']}"

    def _receive(self, link: Link, host: Host, stop: StopToken) -> None:
        reader = CallbackReader(self._account, self._credentials["bot_id"])
        reception = Reception(
            link,
            host,
            reader,
            self._holdback,
            ping_interval_s=self._ping_s,
            greet=lambda entered: self._greet(link, entered),
            clock=self._clock,
        )
        try:
            reception.run(stop)
        except Fault as fault:
            link.end(fault)
            raise

    def _greet(self, link: Link, entered: Entered) -> None:
        """Say the welcome at once: the platform takes it for five seconds, and nobody waits for an answer."""
        if not self._welcome or entered.conversation not in self._greeted:
            return
        if self._senders and entered.sender not in self._senders:
            return
        body = {"msgtype": "text", "text": {"content": self._welcome}}
        # A connection that is lost is noticed by the next read.
        with contextlib.suppress(Fault):
            link.offer(RESPOND_WELCOME, body, entered.req_id)

    def _reclaim_after_s(self, started: float | None) -> float:
        """How long to leave the robot to whoever took it."""
        if not self._reclaims:
            return math.inf
        if started is not None and self._clock() - started >= _PEACE_S:
            self._losses = 0
        wait_s = min(_LONGEST_RECLAIM_S, _FIRST_RECLAIM_S * 2.0 ** min(self._losses, 8))
        self._losses += 1
        return wait_s

    @contextlib.contextmanager
    def _some_link(self, deadline: Deadline, stop: StopToken) -> Iterator[Link]:
        """The link of `run`, or one for this block only where `run` was never called. Blocks; raises faults."""
        if self._host is not None:
            yield self._own_link()
            return
        with self._one_at_a_time(deadline, stop):
            link = self._connect(deadline, stop)
            try:
                yield link
            finally:
                self._close(link)

    def _own_link(self) -> Link:
        link = self._live_link()
        if link is not None:
            return link
        if self._interrupted.is_set():
            raise Interrupted("interrupted")
        if self._taken_over:
            raise Conflict("another connection has taken this robot over")
        raise Unreachable("not connected at the moment", maybe_processed=False)

    def _live_link(self) -> Link | None:
        with self._guard:
            return self._link if self._link is not None and self._link.is_alive else None

    @contextlib.contextmanager
    def _one_at_a_time(self, deadline: Deadline, stop: StopToken) -> Iterator[None]:
        """Two connections of our own would take the robot from each other."""
        while not self._turn.acquire(timeout=deadline.bounded(_TURN_LOOK_S)):
            if stop.is_set() or self._interrupted.is_set():
                raise Interrupted("stopped before it was sent")
            if deadline.expired:
                raise TimedOut("an earlier message is still being sent", maybe_processed=False)
        try:
            yield
        finally:
            self._turn.release()

    def _connect(self, deadline: Deadline, stop: StopToken) -> Link:
        with either(stop, self._interrupted) as over:
            return Link.open(
                self._egress,
                self._url,
                self._credentials,
                deadline=deadline,
                stop=over,
                note=self._note,
                opened=self._register,
                clock=self._clock,
            )

    def _register(self, link: Link) -> None:
        with self._guard:
            self._open = {other for other in self._open if other.is_alive} | {link}
        if self._interrupted.is_set():
            raise Interrupted("interrupted")

    def _drop_link(self) -> None:
        with self._guard:
            link, self._link = self._link, None
        if link is not None:
            self._close(link)

    def _close(self, link: Link) -> None:
        link.end(Interrupted("the connection was closed"))
        with self._guard:
            self._open.discard(link)

    def _forget_preview(self, lane: str) -> None:
        self._previews.pop(lane)

    def _note(self, event: str, **details: object) -> None:
        if self._host is not None:
            self._host.note(event, **details)


def _clamped(value: object) -> int:
    seconds = value if isinstance(value, int) else _DEFAULT_PING_S
    return min(max(seconds, 1), _MAX_PING_S)


def _number(settings: Mapping[str, object], name: str, default: int) -> int:
    value = settings.get(name)
    return value if isinstance(value, int) else default


def _listed(value: object) -> frozenset[str]:
    return frozenset(str(item) for item in value) if isinstance(value, (list, tuple)) else frozenset()
