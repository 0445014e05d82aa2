"""One thread for all clients that read too slowly: it writes on when their sockets have room again.

A client that keeps up never meets it, so it is started on demand and ends when nothing was left to do for a while.
"""

from __future__ import annotations

import contextlib
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
# Nobody pokes for a client that has just gone, and a stop should not wait for one.
STOPPING_LOOK_S = 0.05


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
        self._added: set[Flushable] = set()
        self._running = False
        self._thread: threading.Thread | None = None
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
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            # A little longer, for at the deadline the thread itself only begins to end.
            thread.join(deadline.remaining() + ENDING_S)

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
            thread = self._threads.spawn("ws-flusher", lambda: self._run(reader))
        except (RuntimeError, MemoryError):
            reader.close()
            self._fail()
            return
        with self._guard:
            if self._running and self._thread is None:
                self._thread = thread

    def _fail(self) -> None:
        with self._guard:
            clients = self._taken()
            self._forget_thread()
        for client in clients:
            client.give_up()

    def _run(self, reader: socket.socket) -> None:
        watched: set[Flushable] = set()
        idle = False
        try:
            while True:
                with self._guard:
                    watched |= self._taken()
                    if self._may_end(watched, idle=idle):
                        self._forget_thread()
                        break
                    until = time.monotonic() + (
                        self._idle_s if self._stop is None else self._stop.bounded(STOPPING_LOOK_S)
                    )
                idle = self._round(watched, reader, until)
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

    def _may_end(self, watched: set[Flushable], *, idle: bool) -> bool:
        """Whether nothing is left to do, or no time to do it. Holds the guard."""
        if self._stop is not None and self._stop.expired:
            return True
        return not watched and (idle or self._stop is not None)

    def _taken(self) -> set[Flushable]:
        """What was handed over since the last time. Holds the guard."""
        taken, self._added = self._added, set()
        return taken

    def _forget_thread(self) -> None:
        """Have the next client start another one. Holds the guard."""
        self._running = False
        self._thread = None
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
    def _round(watched: set[Flushable], reader: socket.socket, until: float) -> bool:
        """Wait for room in a socket, a poke, or something that is due, and see to it; True when none of them came."""
        poller = select.poll()
        poller.register(reader, select.POLLIN)
        waiting: dict[int, Flushable] = {}
        now = time.monotonic()
        for client in list(watched):
            pending = client.pending()
            if pending is None or pending[1] <= now:
                watched.discard(client)
                if pending is not None:
                    client.give_up()
                continue
            until = min(until, pending[1])
            if pending[0] >= 0:
                # Should the descriptor be another connection's by now, a client is only looked at in vain.
                waiting[pending[0]] = client
                poller.register(pending[0], select.POLLOUT)
        ready = poller.poll(max(0.0, until - now) * 1000)
        for descriptor, _ in ready:
            if descriptor in waiting:
                waiting[descriptor].flush()
            else:
                with contextlib.suppress(BlockingIOError):
                    reader.recv(4096)
        return not ready
