"""One run from its admission to its end, and everyone who is told of it."""

from __future__ import annotations

import functools
import logging
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from loong_channels.waiting import Deadline, StopToken
from loong_gateway.base.clock import Clock
from loong_gateway.control.runs import RunRequest, RunResult, RunWatcher
from loong_gateway.messaging.run_events import RunEvents
from loong_gateway.messaging.tool_rounds import ToolStep

__all__ = ["OnEnd", "Run"]

logger = logging.getLogger("loong.runs")

OnEnd = Callable[[RunResult], None]


@dataclass
class _Told:
    """A watcher, and how many pieces it was told; None once it has failed."""

    watcher: RunWatcher | None
    known: int = 0

    def grown(self, pieces: list[str]) -> None:
        new, self.known = pieces[self.known :], len(pieces)
        if self.watcher is not None and any(new):
            try:
                self.watcher.grown("".join(new))
            except Exception:
                # One client's bug is not the run's.
                logger.exception("a watcher of a run failed")
                self.watcher = None

    def ended(self, result: RunResult) -> None:
        if self.watcher is not None:
            try:
                self.watcher.ended(result)
            except Exception:
                # As above.
                logger.exception("a watcher of a run failed at its end")


class Run:
    """Thread-safe; `_guard` protects who watches and whether it has ended, and is not held while anybody is told.

    `stop` ends the run; its reason is who wanted that. `deadline` is on the monotonic clock.
    """

    def __init__(self, request: RunRequest, events: RunEvents, clock: Clock, accepted_ms: int) -> None:
        self.request = request
        self.accepted_ms = accepted_ms
        self.weight_bytes = _weight(request)
        self.stop = StopToken()
        self.deadline = Deadline(request.timeout_s, clock=clock.monotonic_s)
        self.ended_s: float | None = None
        self.is_shed = False
        self.started_ms: int | None = None
        self._clock = clock
        self._events = events
        self._guard = threading.Lock()
        self._watchers: list[_Told] = []
        self._on_end: list[OnEnd] = []
        self._pieces: list[str] = []
        self._is_over = False
        self._result: RunResult | None = None

    @classmethod
    def remembered(cls, result: RunResult, events: RunEvents, clock: Clock, accepted_ms: int) -> Run:
        """A run that ended before this process began."""
        asked = RunRequest(result.run_id, "", session=result.session, durable=True)
        run = cls(asked, events, clock, accepted_ms)
        run._is_over, run._result, run.ended_s = True, result, clock.monotonic_s()
        return run

    @property
    def result(self) -> RunResult | None:
        """How it ended; None before everyone was told of its last event."""
        return self._result

    @property
    def result_bytes(self) -> int:
        """About how much memory the result takes; 0 before there is one."""
        result = self._result
        if result is None or self.is_shed:
            return 0
        return sys.getsizeof(result.text) + sum(sys.getsizeof(one.arguments) for one in result.tool_calls)

    def shed(self) -> None:
        """Keep how it ended, not what was said, which is on disk. For the table, which asks one at a time."""
        if self._result is not None:
            self._result = replace(self._result, text="", tool_calls=())
            self.is_shed = True

    @property
    def is_over(self) -> bool:
        """True from the moment on at which nothing more can come of it."""
        return self._is_over

    @property
    def wants_stream(self) -> bool:
        """Whether somebody would be told of pieces now."""
        return bool(self._watchers) or self._events.is_wanted

    def join(self, watcher: RunWatcher) -> bool:
        """Tell somebody of the run as it goes on; False when it has ended."""
        with self._guard:
            if self._is_over:
                return False
            self._watchers.append(_Told(watcher))
            return True

    def watch(self, on_end: OnEnd) -> Callable[[], None]:
        """See control.runs.Runs.watch."""
        with self._guard:
            result = self._result
            if result is None:
                self._on_end.append(on_end)
        if result is not None:
            on_end(result)

        return functools.partial(self.forget, on_end)

    def adopt(self, waiting: list[OnEnd]) -> None:
        """Tell these of the end as well; before anybody else knows of the run."""
        self._on_end += waiting

    def forget(self, on_end: OnEnd) -> None:
        """Take back a `watch`."""
        with self._guard:
            if on_end in self._on_end:
                self._on_end.remove(on_end)

    def begin(self) -> bool:
        """It is its turn, perhaps again; False when it has ended already."""
        if self._is_over:
            return False
        if self.started_ms is None:
            self.started_ms = self._clock.wall_ms()
        self._events.started()
        return True

    def grown(self, piece: str) -> None:
        """The answer has grown. In the thread of the run."""
        with self._guard:
            if self._is_over:
                return
            self._pieces.append(piece)
            watchers = list(self._watchers)
        self._events.grown(piece)
        for told in watchers:
            told.grown(self._pieces)

    def used_tool(self, step: ToolStep) -> None:
        """A tool is called, or was. In the thread of the run."""
        if not self._is_over:
            self._events.used_tool(step)

    def end(self, result: RunResult, *, was_admitted: bool = True) -> bool:
        """Tell everyone how it ended; False when it had ended before. Events first, then watchers.

        Of one that was not admitted there are no events.
        """
        with self._guard:
            if self._is_over:
                return False
            self._is_over = True
            watchers = list(self._watchers)
        if was_admitted:
            self._publish(result)
        said = "".join(self._pieces)
        if result.state == "ok" and result.text.startswith(said):
            # What came in one piece, because nobody watched when it was asked for, is a piece as well.
            self._pieces.append(result.text[len(said) :])
        for told in watchers:
            told.grown(self._pieces)
            told.ended(result)
        with self._guard:
            self._result = result
            self.ended_s = self._clock.monotonic_s()
            on_end, self._on_end = self._on_end, []
            # The table keeps the run for its result only; what was asked may be large.
            self._pieces, self._watchers = [], []
            asked = self.request
            self.request = RunRequest(
                asked.run_id, "", session=asked.session, durable=asked.durable, origin=asked.origin
            )
        for told_of_end in on_end:
            _tell(told_of_end, result)
        return True

    def suspend(self) -> None:
        """The gateway stops, and the next process begins it again: nothing more is told of it here, nor an end."""
        with self._guard:
            self._is_over = True

    def _publish(self, result: RunResult) -> None:
        if result.state == "ok":
            self._events.finished(result.text, None if result.usage is None else result.usage.counts())
        elif result.state == "aborted":
            self._events.aborted(result.stop_reason)
        else:
            self._events.failed(result.error, result.error_code)

    def say(self) -> str:
        """What was said so far."""
        with self._guard:
            return "".join(self._pieces)


def _tell(on_end: OnEnd, result: RunResult) -> None:
    try:
        on_end(result)
    except Exception:
        # As above.
        logger.exception("who waited for a run failed")


def _weight(request: RunRequest) -> int:
    """About how many bytes a request keeps in memory: its texts and pictures."""
    texts = [request.text, request.system, *(one.content for one in request.messages)]
    texts += [call.arguments for one in request.messages for call in one.tool_calls]
    images = [*request.images, *(image for one in request.messages for image in one.images)]
    texts += [repr(tool.parameters) for tool in request.options.tools]
    return sum(map(sys.getsizeof, texts)) + sum(len(image.content) for image in images)
