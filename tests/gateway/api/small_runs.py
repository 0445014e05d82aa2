"""Runs without a gateway: each answers with scripted pieces in a thread of its own, and can be held back or fail."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from loong_gateway.control.runs import RunRefused, RunRequest, RunResult, RunTicket, RunWatcher
from loong_gateway.providers.contract import ToolCall, Usage

PATIENCE_S = 10.0
NOW_MS = 1_795_161_160_266


class SmallRuns:
    """Implements control.runs.Runs. `pieces` is what a run says; `gate` holds it back after the first piece.

    `fault` (code, message) fails it, `refuse` refuses it; `tool_calls` makes it ask for tools. Everything that was
    asked for is in `requests`.
    """

    def __init__(self) -> None:
        self.pieces: Sequence[str] = ("Hel", "lo.")
        self.fault: tuple[str, str] | None = None
        self.refuse: RunRefused | None = None
        self.tool_calls: tuple[ToolCall, ...] = ()
        self.usage: Usage | None = Usage(10, 6, 16)
        self.gate = threading.Event()
        self.gate.set()
        self.began = threading.Event()
        self.aborted = threading.Event()
        self.requests: list[RunRequest] = []
        self._guard = threading.Lock()
        self._results: dict[str, RunResult] = {}
        self._running: dict[str, RunRequest] = {}
        self._waiting: dict[str, list[Callable[[RunResult], None]]] = {}

    def start(
        self,
        request: RunRequest,
        watcher: RunWatcher | None = None,
        admitted: Callable[[RunTicket], None] | None = None,
    ) -> RunTicket:
        if self.refuse is not None:
            raise self.refuse
        with self._guard:
            known = self._results.get(request.run_id)
            if known is not None:
                return RunTicket(request.run_id, "ended", request.session, NOW_MS, known)
            if request.run_id in self._running:
                return RunTicket(request.run_id, "in_flight", request.session, NOW_MS)
            self._running[request.run_id] = request
            self.requests.append(request)
        ticket = RunTicket(request.run_id, "accepted", request.session, NOW_MS)
        if admitted is not None:
            admitted(ticket)
        threading.Thread(target=self._run, args=(request, watcher), daemon=True).start()
        return ticket

    def watch(
        self, run_id: str, on_end: Callable[[RunResult], None], *, early: bool = False
    ) -> Callable[[], None] | None:
        with self._guard:
            known = self._results.get(run_id)
            if known is None:
                if run_id not in self._running and not early:
                    return None
                self._waiting.setdefault(run_id, []).append(on_end)
                return lambda: self._waiting[run_id].remove(on_end)
        on_end(known)
        return lambda: None

    def abort(
        self, *, session: str | None = None, run_id: str | None = None, reason: str = "rpc"
    ) -> Sequence[str]:
        with self._guard:
            found = [
                one.run_id
                for one in self._running.values()
                if (run_id is None or one.run_id == run_id) and (session is None or one.session == session)
            ]
        if found:
            self.abort_reason = reason
            self.aborted.set()
            self.gate.set()
        return found

    def active(self, session: str | None = None) -> Sequence[str]:
        with self._guard:
            return [one.run_id for one in self._running.values() if session in (None, one.session)]

    def _run(self, request: RunRequest, watcher: RunWatcher | None) -> None:
        said = []
        self.began.set()
        for piece in self.pieces:
            if self.aborted.is_set():
                break
            said.append(piece)
            if watcher is not None:
                watcher.grown(piece)
            self.gate.wait(PATIENCE_S)
        state, code, error = "ok", "", ""
        if self.fault is not None:
            state, (code, error) = "error", self.fault
        if self.aborted.is_set():
            state = "aborted"
        result = RunResult(
            request.run_id,
            state,
            "".join(said),
            error,
            code,
            self.abort_reason if state == "aborted" else "",
            "fake",
            "fake-1",
            self.usage,
            tool_calls=self.tool_calls,
            session=request.session,
            started_ms=NOW_MS,
            ended_ms=NOW_MS + 5,
        )
        with self._guard:
            del self._running[request.run_id]
            self._results[request.run_id] = result
            waiting = self._waiting.pop(request.run_id, [])
        if watcher is not None:
            watcher.ended(result)
        for on_end in waiting:
            on_end(result)
