"""One connection: frames out with their answers, frames in. Any thread may send; one at a time reads.

Who waits for an answer while nobody reads, reads for itself, and hands that over when it has its answer. So requests
work with a thread that reads all the time, after that thread has stopped, and where there never was one.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Callable

from loong_channels.egress import Egress
from loong_channels.faults import (
    Conflict,
    Fault,
    Interrupted,
    TimedOut,
    Unreachable,
    copied,
)
from loong_channels.waiting import Deadline, StopToken
from loong_channels.web_socket import WebSocket

from .answers import NOT_SUBSCRIBED, subscribe_fault
from .events import is_takeover
from .frames import EVENT_CALLBACK, SUBSCRIBE, Frame, build, new_req_id, parse
from .lines import ACK_S, AckLines, Ticket

__all__ = ["LOOK_S", "Link"]

# How often somebody who reads looks whether it should stop.
LOOK_S = 0.5
CONNECT_S = 15.0
SUBSCRIBE_S = 10.0
SEND_S = 10.0
LOOSE_SEND_S = 2.0
TAKEN_OVER = "another connection has taken this robot over"


class Link:
    """Thread-safe. `_guard` protects the fault that ended it; `_reading` is held by whoever reads.

    `note` takes an event name to be counted; `ack_s` is how long an answer may take.
    """

    def __init__(
        self,
        socket: WebSocket,
        *,
        note: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        ack_s: float = ACK_S,
    ) -> None:
        self._socket = socket
        self._note = note
        self._lines = AckLines(clock, ack_s=ack_s)
        self._guard = threading.Lock()
        self._reading = threading.Lock()
        self._fault: Fault | None = None

    @classmethod
    def open(  # noqa: PLR0913  what a connection needs
        cls,
        egress: Egress,
        url: str,
        credentials: Mapping[str, str],
        *,
        deadline: Deadline,
        stop: StopToken | None = None,
        note: Callable[[str], None],
        opened: Callable[[Link], None],
        clock: Callable[[], float] = time.monotonic,
        ack_s: float = ACK_S,
    ) -> Link:
        """Connect and subscribe. Blocks; raises faults. `opened` is told of the link before the first request.

        The server does not close a connection whose credentials it refuses, so that is done here.
        """
        socket = WebSocket.connect(egress, url, deadline=deadline.within(CONNECT_S), stop=stop)
        link = cls(socket, note=note, clock=clock, ack_s=ack_s)
        try:
            opened(link)
            answer = link.call(
                SUBSCRIBE, credentials, deadline=deadline.within(SUBSCRIBE_S), stop=stop, ack_s=SUBSCRIBE_S
            )
        except BaseException as error:
            link.end(Unreachable("the subscription failed", maybe_processed=False))
            if isinstance(link.fault, Conflict) and isinstance(error, Unreachable):
                raise Conflict(TAKEN_OVER) from error
            raise
        if answer.code != 0:
            fault = subscribe_fault(answer)
            link.end(fault)
            raise fault
        return link

    @property
    def is_alive(self) -> bool:
        """False once something has ended it."""
        return self._fault is None

    @property
    def is_awaited(self) -> bool:
        """True while somebody waits for an answer, which has to be read."""
        return self._lines.is_awaited

    @property
    def fault(self) -> Fault | None:
        """What ended it."""
        return self._fault

    def end(self, fault: Fault) -> None:
        """Close the connection and settle every request, without waiting for the peer. Only the first call counts."""
        with self._guard:
            if self._fault is not None:
                return
            self._fault = fault
        self._socket.close()
        self._lines.end()

    def call(
        self,
        cmd: str,
        body: Mapping[str, object] | None,
        *,
        deadline: Deadline,
        stop: StopToken | None = None,
        req_id: str | None = None,
        ack_s: float | None = None,
        leaving: Callable[[], None] | None = None,
    ) -> Frame:
        """Send a request and return its answer, whatever that says. Blocks; requests of one `req_id` go in turn.

        `leaving` is called when it is its turn, before the first byte leaves.
        Raises faults; TimedOut says with `maybe_processed` whether the request left.
        """
        ticket = self._lines.join(cmd, req_id or new_req_id(cmd))
        wake = contextlib.nullcontext() if stop is None else stop.watch(ticket.changed.set)
        try:
            with wake:
                self._await_turn(ticket, deadline, stop)
                if leaving is not None:
                    leaving()
                self._send(ticket, build(cmd, ticket.req_id, body), deadline.within(SEND_S))
                return self._await_answer(ticket, deadline.within(ack_s or self._lines.ack_s), stop)
        finally:
            self._lines.leave(ticket)

    def offer(self, cmd: str, body: Mapping[str, object], req_id: str) -> Ticket | None:
        """Send a request whose answer nobody waits for; None when an earlier one of its line is still under way.

        Blocks only while the socket takes no more. Raises faults.
        """
        ticket = self._lines.try_join(cmd, req_id)
        if ticket is not None:
            try:
                self._send(ticket, build(cmd, req_id, body), Deadline(LOOSE_SEND_S))
            except Fault:
                self._lines.leave(ticket)
                raise
        return ticket

    def tell(self, cmd: str, req_id: str) -> None:
        """Send a request without keeping track of it. Raises faults."""
        self._transmit(build(cmd, req_id), Deadline(SEND_S))

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Be the one who reads, for as long as the block runs. Blocks until nobody else is."""
        with self._reading:
            try:
                yield
            finally:
                # Whoever waits for an answer reads on.
                self._lines.look_again()

    def read(self, seconds: float) -> Frame | None:
        """The next frame that answers no request, None when none came in time. Only inside `reading`. Raises faults."""
        try:
            data = self._socket.receive(seconds)
        except Interrupted:
            raise self._lost(sent=True) from None
        except Fault as fault:
            self.end(fault)
            raise
        if data is None:
            return None
        frame = parse(data)
        if frame is None:
            self._note("frame_unreadable")
            return Frame("", "")
        if self._lines.answered(frame) is not None:
            if frame.code == NOT_SUBSCRIBED:
                # What left before it and is not answered yet may have been carried out.
                self.end(Unreachable("the platform no longer knows this connection", maybe_processed=True))
            return Frame("", "")
        return frame

    def _await_turn(self, ticket: Ticket, deadline: Deadline, stop: StopToken | None) -> None:
        while not ticket.settled:
            seconds = self._lines.turn_in_s(ticket)
            if seconds <= 0:
                return
            if stop is not None and stop.is_set():
                raise Interrupted("stopped before it was sent")
            if deadline.expired:
                raise TimedOut("earlier frames are still unanswered", maybe_processed=False)
            self._wait(ticket, deadline.within(seconds))
        raise self._lost(sent=False)

    def _await_answer(self, ticket: Ticket, deadline: Deadline, stop: StopToken | None) -> Frame:
        while not ticket.settled:
            if stop is not None and stop.is_set():
                raise Interrupted("stopped before the answer came")
            if deadline.expired and ticket.doubtful is not None:
                return ticket.doubtful
            if deadline.expired:
                raise TimedOut(f"no answer to {ticket.cmd} in time", maybe_processed=True)
            self._wait(ticket, deadline)
        if ticket.answer is None:
            raise self._lost(sent=True)
        return ticket.answer

    def _wait(self, ticket: Ticket, deadline: Deadline) -> None:
        """Wait for a change of the ticket; by reading, when nobody else does."""
        if not self._reading.acquire(blocking=False):
            ticket.changed.wait(deadline.remaining())
            ticket.changed.clear()
            return
        try:
            frame = self.read(deadline.bounded(LOOK_S))
            if frame is not None and frame.cmd:
                self._take_in_passing(frame)
        except Fault:
            # It has ended the link, and with that settled the ticket.
            if not ticket.settled:
                raise
        finally:
            self._reading.release()
            self._lines.look_again()

    def _take_in_passing(self, frame: Frame) -> None:
        """A frame that came while only answers were waited for: nobody is there to take a message."""
        if frame.cmd == EVENT_CALLBACK and is_takeover(frame):
            self.end(Conflict(TAKEN_OVER))
        else:
            self._note("frame_not_taken")

    def _send(self, ticket: Ticket, text: str, deadline: Deadline) -> None:
        # Before it leaves, or an answer could come to a request that is not known to be under way.
        self._lines.sent(ticket)
        self._transmit(text, deadline)

    def _transmit(self, text: str, deadline: Deadline) -> None:
        try:
            self._socket.send(text, deadline=deadline)
        except Interrupted:
            raise self._lost(sent=False) from None
        except Unreachable as fault:
            # What was cut is surely not taken, but what others have sent before it may be.
            self.end(Unreachable(str(fault), maybe_processed=True))
            raise
        except Fault as fault:
            self.end(fault)
            raise

    def _lost(self, *, sent: bool) -> Fault:
        """The fault that a request suffers because the connection has ended."""
        fault = self._fault
        if isinstance(fault, Interrupted) or (isinstance(fault, Conflict) and not sent):
            return copied(fault)
        processed = sent and getattr(fault, "maybe_processed", True)
        return Unreachable(str(fault or "the connection was closed"), maybe_processed=processed)
