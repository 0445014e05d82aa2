"""One thread for all clients that read too slowly: it writes on when their sockets have room again.

A client that keeps up never meets it, so it is started on demand and ends when nothing was left to do for a while.
"""

from __future__ import annotations

import contextlib
import math
import select
import socket
import threading
import time
from typing import Protocol

from loong_channels.waiting import Deadline
from loong_gateway.base.threads import ThreadRegistry

__all__ = ["Flushable", "Flusher"]

IDLE_S = 10.0
ENDING_S = 0.5


class Flushable(Protocol):
    """What waits for room in a socket. Thread-safe; no method blocks."""

    def pending(self) -> tuple[int, float] | None:
        """(descriptor or -1, moment on the monotonic clock when it is given up); None when it needs no watching."""

    def flush(self) -> None:
        """Write what fits."""

    def give_up(self) -> None:
        """End the connection."""


class Flusher:
    """Thread-safe. `_guard` protects what is handed over and whether the thread lives; nothing waits under it."""

    def __init__(self, threads: ThreadRegistry, *, idle_s: float = IDLE_S) -> None:
        self._threads = threads
        self._idle_s = idle_s
        self._guard = threading.Lock()
        self._ended = threading.Condition(self._guard)
        self._added: set[Flushable] = set()
        self._running = False
        # Threads that were asked for and have not ended: one that ends may overlap with the next.
        self._living = 0
        self._own: set[int] = set()
        self._wake: socket.socket | None = None
        self._stop: Deadline | None = None

    def watch(self, client: Flushable) -> None:
        """Look after a client until it has nothing pending. Never blocks.

        Where there is no thread to be had, or after the deadline of `stop`, the client is given up instead.
        """
        with self._guard:
            late = not self._running and self._stop is not None and self._stop.expired
            starts = not self._running and not late
            if not late:
                self._added.add(client)
                self._running = True
            if starts:
                self._living += 1
            self._poke()
        if late:
            client.give_up()
        if starts:
            self._start()

    def stop(self, deadline: Deadline) -> None:
        """Let what is pending end until the deadline, then give the rest up. Blocks; repeating it is harmless."""
        with self._guard:
            self._stop = deadline
            self._poke()
            if threading.get_ident() not in self._own:
                # A little longer, for at the deadline the thread itself only begins to end.
                self._ended.wait_for(lambda: not self._living, deadline.remaining() + ENDING_S)

    def _start(self) -> None:
        try:
            reader, writer = socket.socketpair()
        except OSError:
            self._fail()
            return
        reader.setblocking(False)
        writer.setblocking(False)
        with self._guard:
            self._wake = writer
        try:
            self._threads.spawn("ws-flusher", lambda: self._run(reader))
        except (RuntimeError, MemoryError):
            reader.close()
            self._fail()

    def _fail(self) -> None:
        with self._guard:
            clients = self._taken()
            self._forget_thread()
        for client in clients:
            client.give_up()
        self._end()

    def _run(self, reader: socket.socket) -> None:
        watched: set[Flushable] = set()
        idle = False
        with self._guard:
            self._own.add(threading.get_ident())
        try:
            while True:
                with self._guard:
                    watched |= self._taken()
                waiting, due = self._look(watched)
                with self._guard:
                    if self._may_end(watched, idle=idle):
                        watched |= self._taken()
                        self._forget_thread()
                        break
                    pause_s = self._idle_s if self._stop is None else self._stop.bounded(self._idle_s)
                idle = self._wait(reader, waiting, min(due, time.monotonic() + pause_s))
        except BaseException:
            # A bug. The clients are given up, and the next one that is slow has a new thread.
            with self._guard:
                watched |= self._taken()
                self._forget_thread()
            raise
        finally:
            reader.close()
            for client in watched:
                client.give_up()
            self._end()

    def _end(self) -> None:
        with self._guard:
            self._own.discard(threading.get_ident())
            self._living -= 1
            self._ended.notify_all()

    def _may_end(self, watched: set[Flushable], *, idle: bool) -> bool:
        """Whether nothing is left to do, or no time to do it. Holds the guard."""
        if self._stop is not None and self._stop.expired:
            return True
        return not watched and not self._added and (idle or self._stop is not None)

    def _taken(self) -> set[Flushable]:
        """What was handed over since the last time. Holds the guard."""
        taken, self._added = self._added, set()
        return taken

    def _forget_thread(self) -> None:
        """Have the next client start another one. Holds the guard."""
        self._running = False
        if self._wake is not None:
            self._wake.close()
            self._wake = None

    def _poke(self) -> None:
        """Wake the thread. Holds the guard."""
        if self._wake is not None:
            # What does not fit into the pair is not needed: it has woken the thread already.
            with contextlib.suppress(OSError):
                self._wake.send(b"x")

    @staticmethod
    def _look(watched: set[Flushable]) -> tuple[dict[int, Flushable], float]:
        """Drop who needs no watching, give up who is due; who waits for room, and the moment when the next is due."""
        waiting: dict[int, Flushable] = {}
        next_due = math.inf
        now = time.monotonic()
        for client in list(watched):
            pending = client.pending()
            if pending is None:
                watched.discard(client)
                continue
            descriptor, due = pending
            if due <= now:
                watched.discard(client)
                client.give_up()
                continue
            next_due = min(next_due, due)
            if descriptor >= 0:
                waiting[descriptor] = client
        return waiting, next_due

    @staticmethod
    def _wait(reader: socket.socket, waiting: dict[int, Flushable], until: float) -> bool:
        """Wait for room in a socket and use it, or for a poke; True when neither came until then.

        Should a descriptor be another connection's by now, a client is only looked at in vain.
        """
        poller = select.poll()
        poller.register(reader, select.POLLIN)
        for descriptor in waiting:
            poller.register(descriptor, select.POLLOUT)
        # Rounded up, or the last millisecond would be spent looking again and again.
        ready = poller.poll(math.ceil(max(0.0, until - time.monotonic()) * 1000))
        for descriptor, _ in ready:
            if descriptor in waiting:
                waiting[descriptor].flush()
            else:
                with contextlib.suppress(BlockingIOError):
                    reader.recv(4096)
        return not ready
