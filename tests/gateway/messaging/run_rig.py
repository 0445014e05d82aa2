"""Runs over a real store and real lanes, with a scripted model and a bus that is listened to when a test wants it."""

from __future__ import annotations

import contextlib
import queue
from collections.abc import Iterator

from loong_gateway.control.runs import RunRequest, RunResult
from loong_gateway.messaging.operator_sends import OperatorSends
from loong_gateway.messaging.run_answers import RunAnswers
from loong_gateway.messaging.runs import RunParts, RunTable
from loong_gateway.storage.outgoing import Outgoing
from tests.gateway.messaging.engine_rig import CONFIG, WAIT_S, Rig, lanes_for

SESSION = "agent:main:main"
MORE = b"""
[telegram]
enabled = true
bot_token = "123456789:AAExampleExampleExampleExampleExamp"
"""


class Watching:
    """A watcher that keeps what it is told."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.results: queue.SimpleQueue[RunResult] = queue.SimpleQueue()

    def grown(self, piece: str) -> None:
        self.pieces.append(piece)

    def ended(self, result: RunResult) -> None:
        self.results.put(result)

    def wait(self) -> RunResult:
        return self.results.get(timeout=WAIT_S)


class RunRig(Rig):
    def __init__(self, path: str, config: bytes = CONFIG + MORE) -> None:
        super().__init__(path, config)
        self.told_events: list = []
        self.lanes = None
        self.restart()

    def restart(self) -> None:
        """A table that knows nothing yet, as that of a new process."""
        if self.lanes is not None:
            self.lanes.close()
        self.lanes = lanes_for(self)
        sends = OperatorSends(
            self.store,
            self.lanes,
            self.delivery,
            config=lambda: self.config,
            ready_to_send=lambda _: None,
            last_error=lambda _: "",
            outgoing=Outgoing("/nonexistent"),
            clock=self.clock,
        )
        answers = RunAnswers(
            self.store,
            sends,
            config=lambda: self.config,
            asking=self.asking,
            obey=self.turns.obey,
            clock=self.clock,
        )
        self.runs = RunTable(
            RunParts(
                store=self.store,
                lanes=self.lanes,
                answers=answers,
                turns=self.turns.runs,
                config=lambda: self.config,
                events=self.make_events,
                metrics=self.metrics,
                clock=self.clock,
            )
        )

    def listen(self) -> None:
        self.bus.listen(lambda numbered: self.told_events.append(numbered.event))

    def start(self, run_id: str, text: str = "hello", watcher=None, **how) -> Watching:
        watcher = watcher or Watching()
        self.runs.start(RunRequest(run_id, text, **how), watcher)
        return watcher

    def ask_channel(self, text: str):
        return super().ask(text)

    def ask(self, run_id: str, text: str = "hello", **how) -> RunResult:
        return self.start(run_id, text, **how).wait()

    def told(self, name: str) -> list:
        return [event.payload for event in self.told_events if event.name == name]

    def asked(self, call: int) -> list[tuple[str, str]]:
        """What the model was asked, without the system text."""
        return [(m.role, m.content) for m in self.provider.calls[call].messages if m.role != "system"]

    def stop(self) -> None:
        self.lanes.close()
        self.runs.close()

    def close(self) -> None:
        self.stop()
        self.lanes.cut()
        super().close()


@contextlib.contextmanager
def runs_at(path: object) -> Iterator[RunRig]:
    rig = RunRig(str(path))
    try:
        yield rig
    finally:
        rig.close()
