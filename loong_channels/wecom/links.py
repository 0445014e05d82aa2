"""The connections of one robot: the lasting one of `run`, or one for each message where nobody ever ran the channel.

The platform keeps one connection per robot and gives it to whoever subscribed last. So a channel that was ever told
to run sends over its own connection only, and one that never was connects for each message and leaves again.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from typing import Callable

from loong_channels.egress import Egress
from loong_channels.faults import Conflict, Interrupted, Unreachable
from loong_channels.waiting import Deadline, StopToken, Turn, either

from .link import CONNECT_S, SUBSCRIBE_S, TAKEN_OVER, Link

__all__ = ["Links"]


class Links:
    """Thread-safe; `_guard` protects the tables. `_turn` is held by whoever has a connection for one message only.

    `note` takes an event name to be counted. `clock` returns monotonic seconds.
    """

    def __init__(
        self,
        egress: Egress,
        url: str,
        credentials: Mapping[str, str],
        *,
        note: Callable[[str], None],
        clock: Callable[[], float],
        ack_s: float,
    ) -> None:
        self._egress = egress
        self._url = url
        self._credentials = credentials
        self._note = note
        self._clock = clock
        self._ack_s = ack_s
        self._guard = threading.Lock()
        self._turn = Turn()
        # Every open one, so that `interrupt` finds them; `_lasting` is the one that is subscribed, of `run`.
        self._open: set[Link] = set()
        self._lasting: Link | None = None
        self._lasts = False
        self._taken_over = False
        self._over = StopToken()

    @property
    def lasts(self) -> bool:
        """True once `serve` was called."""
        return self._lasts

    def serve(self, stop: StopToken) -> Link:
        """Connect and subscribe, in the place of what was there before. Blocks; raises faults."""
        self._lasts = True
        with self._guard:
            former, self._lasting = self._lasting, None
        if former is not None:
            self._close(former)
        link = self._connect(Deadline(CONNECT_S + SUBSCRIBE_S), stop)
        with self._guard:
            self._lasting = link
        self._taken_over = False
        return link

    def taken_over(self) -> None:
        """Another connection has the robot."""
        self._taken_over = True

    def live(self) -> Link | None:
        """The lasting connection, None while there is none."""
        with self._guard:
            return self._lasting if self._lasting is not None and self._lasting.is_alive else None

    @contextlib.contextmanager
    def some(self, deadline: Deadline, stop: StopToken) -> Iterator[Link]:
        """The lasting connection, or one for this block only. Blocks; raises faults."""
        if self._lasts:
            yield self._own()
            return
        with self._turn.hold(deadline, stop):
            link = self._connect(deadline, stop)
            try:
                yield link
            finally:
                self._close(link)

    def interrupt(self) -> None:
        """End every connection and refuse every later one, for good. Idempotent, does not block."""
        self._over.set("interrupted")
        with self._guard:
            links = list(self._open)
        for link in links:
            link.end(Interrupted("interrupted"))

    def _own(self) -> Link:
        link = self.live()
        if link is not None:
            return link
        if self._over.is_set():
            raise Interrupted("interrupted")
        if self._taken_over:
            raise Conflict(TAKEN_OVER)
        raise Unreachable("not connected at the moment", maybe_processed=False)

    def _connect(self, deadline: Deadline, stop: StopToken) -> Link:
        with either(stop, self._over) as over:
            return Link.open(
                self._egress,
                self._url,
                self._credentials,
                deadline=deadline,
                stop=over,
                note=self._note,
                opened=self._register,
                clock=self._clock,
                ack_s=self._ack_s,
            )

    def _register(self, link: Link) -> None:
        with self._guard:
            self._open = {other for other in self._open if other.is_alive} | {link}
        # Whoever interrupts looks at the table after saying so: one of us sees the other.
        if self._over.is_set():
            raise Interrupted("interrupted")

    def _close(self, link: Link) -> None:
        link.end(Interrupted("the connection was closed"))
        with self._guard:
            self._open.discard(link)
