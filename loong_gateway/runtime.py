"""The life of an owner: what starts and stops in which order, the heartbeat, and the answers of the control plane.

Before this: configuration, lock and port. Start: store and recovery, workers, the port's threads, channels. Stop: no
new work, channels stop receiving, running turns end or go back, what they produced is sent or stays queued, then the
port, the store, the files, the lock. Everything here runs on the main thread unless it says otherwise.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from loong_channels.waiting import Deadline
from loong_gateway import VERSION, inbox, outbox, owner, retention
from loong_gateway.api.bind import Bound
from loong_gateway.api.listener import Listener
from loong_gateway.boots import Boots
from loong_gateway.clock import Clock
from loong_gateway.control import SendOutcome, SendRequest, TurnRequest, TurnResult
from loong_gateway.engine import Engine
from loong_gateway.faults import CommandError, StoreUnwritable
from loong_gateway.main_loop import MainLoop, Timer
from loong_gateway.owner import OwnerLock
from loong_gateway.owner_document import OwnerFacts, degraded_reasons, status_document
from loong_gateway.paths import Places
from loong_gateway.store import Store
from loong_gateway.threads import ThreadRegistry

__all__ = ["Runtime", "RuntimeParts"]

logger = logging.getLogger("loong.runtime")

HEARTBEAT_S = owner.HEARTBEAT_S
STOP_LOOK_S = 0.25
TICK_S = 1.0
RETENTION_S = 600.0
RECEIVING_STOP_S = 5.0
CUT_S = 3.0
CEILING_EXTRA_S = 5.0
PROGRESS_AFTER_S = 10.0
FORCED_EXIT = 70


@dataclass(frozen=True)
class RuntimeParts:
    """What the life is made of; everything was opened by the command, nothing has started yet.

    `mode` and `session` are those of the status document. `announce` prints a line for the person who started us.
    """

    places: Places
    lock: OwnerLock
    bound: Bound
    store: Store
    engine: Engine
    threads: ThreadRegistry
    boots: Boots
    loop: MainLoop
    clock: Clock
    announce: Callable[[str], None]
    mode: str
    session: str | None = None


class Runtime:
    """Implements control.ControlPlane; `run` belongs to the main thread, the control plane to any."""

    def __init__(self, parts: RuntimeParts) -> None:
        self._parts = parts
        self._engine = parts.engine
        self._loop = parts.loop
        self._clock = parts.clock
        self._started_at_ms = parts.clock.wall_ms()
        self._identity = owner.identity()
        self._phase = "starting"
        self._channels_on = True
        self._last_error: str | None = None
        self._publish_error: str | None = None
        self._shutdown_reason: str | None = None
        self._ready_since_s: float | None = None
        self._announced_ready = False
        self._progress_noted = False
        self._changed = threading.Event()
        self._gone = threading.Event()
        self._listener: Listener | None = None
