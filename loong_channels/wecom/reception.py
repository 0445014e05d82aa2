"""One life of a subscribed connection, in the thread that calls it: read, keep alive, hand over."""

from __future__ import annotations

import contextlib
import time
from typing import Callable

from loong_channels.contract import Host, Inbound
from loong_channels.faults import Conflict, Fault, Unreachable
from loong_channels.waiting import StopToken

from .answers import NOT_SUBSCRIBED
from .events import CallbackReader, Entered, Noted, Skipped, TakenOver
from .frames import PING, Frame, new_req_id
from .heartbeat import Heartbeat
from .holdback import Holdback
from .link import LOOK_S, TAKEN_OVER, Link

__all__ = ["Reception"]

# Messages that came together are stored together; the wait for company is too short to be seen.
_COMPANY_S = 0.001
_BATCH = 64
_LAST_BATCHES = 16


class Reception:
    """Not thread-safe. `greet` is called for a person who opens the chat and must not block.

    `clock` returns monotonic seconds.
    """

    def __init__(
        self,
        link: Link,
        host: Host,
        reader: CallbackReader,
        holdback: Holdback,
        *,
        ping_interval_s: float,
        greet: Callable[[Entered], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._link = link
        self._host = host
        self._reader = reader
        self._holdback = holdback
        self._greet = greet
        self._clock = clock
        self._heartbeat = Heartbeat(ping_interval_s, clock())

    def run(self, stop: StopToken) -> None:
        """Receive until stopped. Blocks; raises the fault that ended the connection."""
        with self._link.reading():
            try:
                while not stop.is_set():
                    self._keep_alive()
                    self._receive(stop)
                    self._hand_over()
                self._receive_rest()
            finally:
                # Nobody sends it again, so it is offered whatever has ended the connection.
                self._holdback.hand_over(self._host, self._clock(), at_once=True)

    def _receive(self, stop: StopToken) -> None:
        """Read; but while the disk refuses a lot already, leave the rest to the socket: that slows the platform down.

        Answers come the same way as messages, so whoever waits for one is not left alone.
        """
        if self._holdback.is_brimful or (self._holdback.is_full and not self._link.is_awaited):
            self._heartbeat.excuse()
            stop.wait(self._next_look_s())
        else:
            self._read(self._next_look_s())

    def _receive_rest(self) -> None:
        """Read what has come already: nobody will send it again."""
        with contextlib.suppress(Fault):
            for _ in range(_LAST_BATCHES):
                if self._holdback.is_full or not self._read(_COMPANY_S):
                    return

    def _next_look_s(self) -> float:
        now = self._clock()
        due_s = self._holdback.due_in_s(now)
        seconds = min(LOOK_S, self._heartbeat.due_in_s(now))
        return seconds if due_s is None else min(seconds, max(due_s, _COMPANY_S))

    def _read(self, seconds: float) -> bool:
        """Read until nothing is there, or a batch is full: True then."""
        for _ in range(_BATCH):
            frame = self._link.read(seconds)
            if frame is None:
                return False
            self._host.heard()
            self._take(frame)
            fault = self._link.fault
            if fault is not None:
                raise fault
            seconds = _COMPANY_S
        return True

    def _take(self, frame: Frame) -> None:
        if not frame.cmd and not frame.req_id:
            return
        if self._heartbeat.answered(frame.req_id, frame.code):
            self._take_pong(frame)
            return
        reading = self._reader.read(frame, time.time_ns() // 1_000_000)
        if isinstance(reading, Inbound):
            self._holdback.add(reading)
        elif isinstance(reading, TakenOver):
            # The server would leave this connection open, healthy to look at and deaf.
            fault = Conflict(TAKEN_OVER)
            self._link.end(fault)
        elif isinstance(reading, Entered):
            self._greet(reading)
        elif isinstance(reading, Noted):
            self._host.note(reading.name, **reading.details)
        elif isinstance(reading, Skipped):
            self._host.note(
                "callback_skipped", reason=reading.reason, chat=reading.conversation, req_id=frame.req_id
            )

    def _take_pong(self, frame: Frame) -> None:
        if frame.code == 0:
            self._host.caught_up()
            return
        self._host.note("ping_refused", code=frame.code)
        if frame.code == NOT_SUBSCRIBED:
            self._link.end(Unreachable("the platform no longer knows this connection", maybe_processed=True))

    def _keep_alive(self) -> None:
        now = self._clock()
        if self._heartbeat.due_in_s(now) > 0:
            return
        if self._heartbeat.is_dead:
            fault: Fault = Unreachable("the platform no longer answers pings", maybe_processed=True)
            self._link.end(fault)
            raise fault
        req_id = new_req_id(PING)
        self._heartbeat.beat(req_id, now)
        self._link.tell(PING, req_id)

    def _hand_over(self) -> None:
        if self._holdback.hand_over(self._host, self._clock()):
            self._host.caught_up()
