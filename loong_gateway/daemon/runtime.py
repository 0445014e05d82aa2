"""The life of an owner: what starts and stops in which order, and the heartbeat.

Before this: configuration, lock, port, store. Start: recovery, the port's threads, channels. Stop: no new work,
channels stop receiving what comes again, running turns end or go back, what they produced is sent or stays queued, all
channels end, then the port, the store, the files, the lock. Everything here runs on the main thread unless it says
otherwise.
"""

from __future__ import annotations

import gc
import logging
import os
import socket
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace

from loong_channels.waiting import Deadline
from loong_gateway.api.listener import Listener
from loong_gateway.base.bus import GATEWAY_CHANGED, Event
from loong_gateway.base.parallel import gather
from loong_gateway.base.wording import plural
from loong_gateway.daemon.desk import Desk
from loong_gateway.daemon.document import status_document
from loong_gateway.daemon.main_loop import MainLoop, Timer
from loong_gateway.daemon.news import News
from loong_gateway.daemon.parts import LifeState, RuntimeParts
from loong_gateway.daemon.pruning import Pruning
from loong_gateway.daemon.report import Report
from loong_gateway.daemon.restarts import RESTARTING, Restarts
from loong_gateway.daemon.stop_ceiling import StopCeiling
from loong_gateway.owner import lock as owner
from loong_gateway.owner.files import keep_control_token, publish, retire, stop_requested

__all__ = ["RESTART_EXIT", "Runtime"]

logger = logging.getLogger("loong.runtime")

STOP_LOOK_S = 0.25
TICK_S = 1.0
RETENTION_S = 600.0
LEASES_S = 30.0
RECEIVING_STOP_S = 5.0
STOP_STEP_S = 0.1
CUT_S = 3.0
CLOSE_S = 2.0
CEILING_EXTRA_S = 5.0
PROGRESS_AFTER_S = 10.0
END_OF_SESSION = "foreground CLI host exited"
# What a service manager is told by a gateway that wants to be started again (sysexits.h, EX_TEMPFAIL).
RESTART_EXIT = 75
# For clients: how long a restart usually keeps them waiting.
RESTART_EXPECTED_MS = 1500


class Runtime:
    """`run` belongs to the main thread; `note_change` and `end_of_session` may be called from any."""

    def __init__(self, parts: RuntimeParts) -> None:
        self._parts = parts
        self._engine = parts.engine
        self._clock = parts.clock
        self._life = LifeState()
        self._report = Report(parts, self._life)
        self._news = News(parts.announce, parts.clock, stop_command=parts.places.command("gateway stop"))
        self._ready_since_s: float | None = None
        self._progress_noted = False
        self._pruning = Pruning(parts.store, parts.engine, parts.clock)
        self._events_published = 0
        self._changed = threading.Event()
        self._ceiling = StopCeiling(parts.threads, parts.places.logs)
        self._listener: Listener | None = None
        self._loop = MainLoop(
            [
                Timer(owner.HEARTBEAT_S, self._beat),
                Timer(STOP_LOOK_S, self._look),
                Timer(TICK_S, self._tick),
                Timer(RETENTION_S, self._pruning.begin),
                Timer(LEASES_S, parts.desk.work_units.tick),
            ],
            parts.clock,
        )
        self._handed: list[socket.socket] | None = None
        self._restarts = Restarts(
            self._loop,
            parts.rehearse,
            parts.program[0] if parts.program else "",
            parts.clock,
            parts.threads,
            parts.clock.monotonic_s() if parts.is_successor else None,
        )
        self._desk = Desk(parts.engine, self._report, self._life, self._loop, parts.desk, self._restarts)

    @property
    def handed(self) -> list[socket.socket] | None:
        """After `run`: the listening sockets for whoever goes on with the lock, which is still held.

        None when nobody does: then the lock is free.
        """
        return self._handed

    def run(self) -> int:
        """Start everything, live until a stop is asked for, stop everything. Blocks; returns the exit code."""
        self._loop.install_signal_handlers()
        try:
            self._start()
            while self._loop.stop_reason is None:
                self._loop.step(self._seconds_to_next())
                self._report_changes()
            self._record("restart" if self._loop.restarting else "stop")
            self._stop(self._loop.stop_reason)
        except BaseException as error:
            self._life.phase = "failed"
            self._life.last_error = self._life.shutdown_reason = (
                f"internal error: {type(error).__name__}: {error}"
            )
            self._retire(self._report.document())
            raise
        finally:
            self._ceiling.over()
            if self._handed is None:
                self._parts.lock.release()
        return RESTART_EXIT if self._loop.restarting and self._handed is None else 0

    def note_change(self) -> None:
        """Say from any thread that a surface or the store changed; it is published at once."""
        self._engine.store_changed()
        if not self._changed.is_set():
            self._changed.set()
            self._loop.wake()

    def end_of_session(self) -> None:
        """Stop because the person on the attached terminal has left; from any thread."""
        self._loop.ask_to_stop(END_OF_SESSION)

    # Start

    def _start(self) -> None:
        parts = self._parts
        self._ceiling.start()
        early_ends = parts.boots.begin()
        limit = self._engine.config.gateway.crash_loop_boots
        self._life.channels_on = not (limit and early_ends >= limit)
        self._publish()
        logger.info("log file: %s", parts.desk.log_path)
        self._engine.answering.agents.recover()
        replies, messages = self._engine.recover()
        aside = parts.store.set_aside
        resumed = f"{plural(messages, 'message')} and {plural(replies, 'reply', 'replies')} resumed from disk"
        news = self._news
        news.part("store", f"ok, {resumed}" + (f"; a damaged one was set aside: {aside}" if aside else ""))
        self._listener = parts.listener(self._desk)
        self._listener.start()
        logger.info("http server listening: %s", parts.bound.url)
        news.part("port", f"{parts.bound.url}, token auth")
        news.part("provider", self._engine.providers.line())
        if not self._life.channels_on:
            news.part(
                "channels", f"off: {plural(early_ends, 'start')} in a row ended early; look: loong logs"
            )
        self._engine.start(channels=self._life.channels_on)
        # What was made for the start stays: to look through it for garbage again and again would cost a tenth more CPU.
        gc.collect()
        gc.freeze()
        self._life.phase = "running"
        self._record("start")
        self._changed.set()
        self._report_changes()

    # Live

    def _seconds_to_next(self) -> float:
        parked_s = self._engine.lanes.seconds_to_next()
        return STOP_LOOK_S if parked_s is None else min(STOP_LOOK_S, parked_s)

    def _beat(self) -> None:
        self._parts.store.look()
        if self._parts.desk.audit is not None:
            self._parts.desk.audit.look()
        places = self._parts.places
        for trouble in (
            self._parts.lock.beat(),
            self._publish(),
            keep_control_token(places, self._parts.token),
        ):
            if trouble is not None:
                logger.warning("%s", trouble)
        if self._parts.lock.is_lost and self._loop.stop_reason is None:
            self._loop.ask_to_stop("another process has taken the lock")

    def _report_changes(self) -> None:
        if self._changed.is_set():
            self._changed.clear()
            if self._life.channels_on and self._life.phase == "running":
                self._news.surfaces(self._engine.supervisor.states())
            self._publish()
            bus = self._engine.bus
            if bus.has_listeners:
                bus.publish(Event(GATEWAY_CHANGED, {}, droppable=True, is_kept=False))

    def _look(self) -> None:
        self._engine.tick()
        if self._parts.desk.tool_servers.tick():
            self._changed.set()
        self._engine.answering.agents.tick()
        if self._parts.once and self._engine.is_through():
            self._loop.ask_to_stop("one batch was taken and answered")
        self._restarts.look()
        self._look_for_stop_request()

    def _look_for_stop_request(self) -> None:
        # Asked once: a second time would mean that the drain is to end now.
        if (self._loop.stop_reason is None or self._loop.restarting) and stop_requested(
            self._parts.places, self._parts.lock.owner_token
        ):
            self._loop.ask_to_stop("gateway stop requested")

    def _tick(self) -> None:
        if self._life.resume_asked and not self._life.channels_on:
            self._life.channels_on = True
            self._parts.boots.resume()
            self._changed.set()
        events = self._engine.metrics.events
        if events != self._events_published:
            # Traffic alone republishes the counts, at most once a tick.
            self._events_published = events
            self._changed.set()
        if self._pruning.has_more:
            self._pruning.begin()
        # Starts again what died.
        self._engine.start(channels=self._life.channels_on)
        self._note_progress()

    def _note_progress(self) -> None:
        if self._progress_noted:
            return
        now_s = self._clock.monotonic_s()
        if self._report.unready():
            self._ready_since_s = None
        elif self._ready_since_s is None:
            self._ready_since_s = now_s
        long_ready = self._ready_since_s is not None and now_s - self._ready_since_s >= PROGRESS_AFTER_S
        if long_ready or self._engine.has_progressed():
            self._parts.boots.progress()
            self._progress_noted = True

    # Stop

    def _stop(self, reason: str) -> None:
        parts = self._parts
        drain_s = self._engine.config.gateway.drain_s
        drain = Deadline(drain_s)
        self._ceiling.begin(drain_s + CEILING_EXTRA_S)
        self._life.phase = "stopping"
        self._life.shutdown_reason = f"shutdown requested: {reason}"
        self._publish()
        self._engine.bus.publish(Event("shutdown", self._farewell(), scope=None))
        lanes = self._engine.lanes
        self._engine.close()
        self._news.stopping(lanes.snapshot().running, drain_s)
        supervisor = self._engine.supervisor
        stuck = supervisor.stop_receiving(drain.within(RECEIVING_STOP_S))
        while lanes.wait_idle(drain.within(STOP_STEP_S)) and not drain.expired and self._loop.times_asked < 2:
            self._loop.step(0.0)
        lanes.cut()
        left = lanes.wait_idle(Deadline(CUT_S))
        self._end_programs()
        self._engine.timers.close(Deadline(CLOSE_S))
        # What comes only once was received until now; nothing may be read any more when the store is closed.
        stuck += supervisor.stop(Deadline(CLOSE_S))
        supervisor.close()
        if left or stuck:
            logger.warning("%d tasks and the channels %s did not end in time", left, stuck)
        # Closing its own leaves these open: who comes now waits in their queues for the successor.
        handed = _copies(parts.bound.sockets) if self._hands_over() else []
        if self._listener is not None:
            self._listener.stop(Deadline(CLOSE_S))
        facts = self._report.facts()
        parts.store.close(Deadline(CLOSE_S))
        parts.boots.clean()
        if self._is_still_restart():
            self._handed = handed
        else:
            for sock in handed:
                sock.close()
            self._life.phase = "stopped"
            self._life.shutdown_reason = f"shutdown requested: {self._loop.stop_reason}"
            facts = replace(facts, phase="stopped", shutdown_reason=self._life.shutdown_reason)
            self._retire(status_document(facts))
        messages = _rows(facts.inbox, "new", "claimed") + facts.runs
        self._news.stopped(messages, _rows(facts.outbox, "queued", "sending"))
        logger.info("stopped: %s", self._loop.stop_reason)

    def _end_programs(self) -> None:
        """End what was started for turns: tool servers and agents, side by side."""
        deadline = Deadline(CLOSE_S)
        tasks = {
            "servers": lambda: self._parts.desk.tool_servers.close(deadline),
            "agents": lambda: self._engine.answering.agents.close(deadline),
        }
        gather(self._parts.threads, "stop", tasks, deadline)

    def _farewell(self) -> dict[str, object]:
        if self._loop.restarting:
            return {"reason": RESTARTING, "restartExpectedMs": RESTART_EXPECTED_MS}
        return {"reason": "gateway stopping"}

    def _hands_over(self) -> bool:
        """Whether this process goes on as its own successor. A service manager starts another one by itself."""
        parts = self._parts
        return (
            self._loop.restarting and not parts.supervised and bool(parts.program) and not parts.lock.is_lost
        )

    def _is_still_restart(self) -> bool:
        """The last look for a stop before the point of no return; a signal after it waits for the successor."""
        if not self._hands_over():
            return False
        self._loop.hold_signals()
        self._look_for_stop_request()
        self._loop.gather()
        if not self._hands_over():
            self._loop.release_signals()
            return False
        return True

    def _retire(self, last_words: dict[str, object]) -> None:
        # The files belong to whoever holds the lock.
        if not self._parts.lock.is_lost:
            retire(self._parts.places, last_words)

    # What others are told

    def _record(self, operation: str) -> None:
        audit = self._parts.desk.audit
        if audit is not None:
            # Why is not told: a person may have written it.
            audit.record("PlaneInvoked", {"plane": "gateway", "operation": operation, "pid": os.getpid()})

    def _publish(self) -> str | None:
        return publish(self._parts.places, self._report.document())


def _copies(sockets: Sequence[socket.socket]) -> list[socket.socket]:
    """The sockets of the port once more. That in the state directory is made anew, for its path goes with it."""
    copies: list[socket.socket] = []
    try:
        for sock in sockets:
            if sock.family != socket.AF_UNIX:
                copies.append(sock.dup())
    except OSError as error:
        # No descriptors are left: the successor opens the port anew.
        logger.warning("the port will be closed for a moment: %s", error.strerror)
        for copy in copies:
            copy.close()
        return []
    return copies


def _rows(counts: Mapping[tuple[str, str], Mapping[str, int]], *states: str) -> int:
    return sum(account.get(state, 0) for account in counts.values() for state in states)
