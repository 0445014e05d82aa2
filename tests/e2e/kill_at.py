"""Runs the engine of the gateway on a store that counts its calls, and dies as by kill -9 at a chosen moment.

    python -m tests.e2e.kill_at N FILE

A moment lies before and after each operation that changes the store, so that the moments also enclose every send and
every question to the model. The process ends at moment N (0: never); each moment is written to FILE.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import Any, Callable

from loong_gateway.base.clock import Clock
from loong_gateway.base.threads import ThreadRegistry
from loong_gateway.config.loading import load
from loong_gateway.config.outside import egress_of
from loong_gateway.config.selectors import select
from loong_gateway.logs.redaction import Redactor
from loong_gateway.messaging.engine import Engine
from loong_gateway.messaging.engine_parts import EngineParts
from loong_gateway.owner.paths import resolve_places
from loong_gateway.storage.outgoing import Outgoing
from loong_gateway.storage.store import Store

TICK_S = 0.1


class Fuse:
    """Counts the moments and ends the process at one of them."""

    def __init__(self, at: int, path: str) -> None:
        self._at = at
        self._lock = threading.Lock()
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
        self._burnt = 0

    def burn(self, moment: str) -> None:
        """One moment."""
        with self._lock:
            self._burnt += 1
            os.write(self._file, f"{self._burnt} {moment}\n".encode())
            if self._burnt == self._at:
                os.kill(os.getpid(), signal.SIGKILL)


class CountingStore:
    """A store with a moment before and after each operation; on disk it is for sure only after `write`."""

    def __init__(self, store: Store, fuse: Fuse) -> None:
        self._store = store
        self._fuse = fuse

    def write(self, operation: Callable[[Any], Any], **limits: float) -> Any:
        """See Store.write."""
        self._fuse.burn("before write")
        result = self._store.write(operation, **limits)
        self._fuse.burn("after write")
        return result

    def submit(self, operation: Callable[[Any], Any]) -> None:
        """See Store.submit."""
        self._fuse.burn("before submit")
        self._store.submit(operation)
        self._fuse.burn("after submit")

    def submit_lazy(self, operation: Callable[[Any], Any]) -> None:
        """See Store.submit_lazy."""
        self._fuse.burn("before submit_lazy")
        self._store.submit_lazy(operation)
        self._fuse.burn("after submit_lazy")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def main(prepare: Callable[[Engine, Fuse], None] = lambda *_: None) -> None:
    """Live until the moment comes or somebody ends the process. `prepare` adds to the engine."""
    fuse = Fuse(int(sys.argv[1]), sys.argv[2])
    environ = dict(os.environ)
    places = resolve_places({}, environ)
    places.create()
    config = load(places, environ=environ)
    threads = ThreadRegistry()
    store: Any = CountingStore(Store.open(places.store, threads=threads), fuse)
    changed = threading.Event()
    parts = EngineParts(
        store=store,
        threads=threads,
        egress=egress_of(config.network, environ),
        environ=environ,
        redactor=Redactor(),
        clock=Clock(),
        changed=changed.set,
        outgoing=Outgoing(places.outgoing),
    )
    engine = Engine(config, parts)
    prepare(engine, fuse)
    for account in select(config, {}):
        engine.add_account(account)
    engine.recover()
    engine.start(channels=True)
    while True:
        engine.tick()
        changed.wait(TICK_S)
        changed.clear()


if __name__ == "__main__":
    main()
