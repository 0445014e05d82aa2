"""Turns and deliveries over a real store, with a scripted channel and a scripted model."""

from __future__ import annotations

import contextlib
import dataclasses
import queue
import threading
from collections.abc import Callable, Iterator, Mapping

from loong_channels.contract import Address, Attachment, ChannelSpec, Inbound, Media, Outbound, Receipt
from loong_channels.telegram.spec import SPEC
from loong_channels.waiting import Deadline, StopToken
from loong_gateway.base.bus import Bus
from loong_gateway.base.metrics import Metrics
from loong_gateway.base.pool import Pool
from loong_gateway.base.threads import ThreadRegistry
from loong_gateway.config.loading import validate_source
from loong_gateway.control.agents import NoAgents
from loong_gateway.messaging.asking import Asking
from loong_gateway.messaging.delivery import Delivery, DeliveryTask
from loong_gateway.messaging.kept_rounds import KeptRounds
from loong_gateway.messaging.lanes import Lanes, Later
from loong_gateway.messaging.memory import Summaries
from loong_gateway.messaging.parking import Parking
from loong_gateway.messaging.run_events import RunEvents
from loong_gateway.messaging.sessions import session_key
from loong_gateway.messaging.tool_rounds import ToolRounds
from loong_gateway.messaging.turn_runs import TurnRuns
from loong_gateway.messaging.turns import Turns, TurnSources, TurnTask
from loong_gateway.providers.contract import Completion
from loong_gateway.storage import inbox, outbox
from loong_gateway.storage.store import Store
from loong_gateway.tools.approvals import ApprovalDesk
from loong_gateway.tools.desk import Tools
from tests.clocks import HandClock

CONFIG = b"""
[provider]
kind = "custom"
base_url = "http://127.0.0.1:9/v1"
"""
WAIT_S = 15.0


class ScriptedChannel:
    """Takes every part, unless faults are lined up: one per send, in order."""

    def __init__(self) -> None:
        self.sent: list[Outbound] = []
        self.tried: list[Outbound] = []
        self.faults: list[BaseException | Callable[[Outbound], None]] = []
        # What `fetch` finds under an attachment's id, or what happens instead; one fault of a list at a time.
        self.media: dict[object, Media | BaseException | list[object] | Callable[..., Media]] = {}
        self.fetched: list[object] = []

    def send(self, outbound: Outbound, *, deadline: Deadline, stop: StopToken) -> Receipt:
        self.tried.append(outbound)
        if self.faults:
            fault = self.faults.pop(0)
            if isinstance(fault, BaseException):
                raise fault
            fault(outbound)
        self.sent.append(outbound)
        return Receipt((f"m{len(self.sent)}",))

    def fetch(self, attachment: Attachment, *, max_bytes: int, deadline: Deadline, stop: StopToken) -> Media:
        id = attachment.ref.get("id")
        self.fetched.append(id)
        found = self.media[id]
        if isinstance(found, list):
            found = found.pop(0)
        if isinstance(found, BaseException):
            raise found
        return found if isinstance(found, Media) else found(max_bytes, deadline, stop)

    def texts(self) -> list[str]:
        return [outbound.text for outbound in self.sent]


class StubSurface:
    """A surface whose answers a test sets."""

    def __init__(self, spec: ChannelSpec, channel: ScriptedChannel) -> None:
        self.spec = spec
        self.channel = channel
        self.gate = "telegram=work"
        self.shows_errors = False
        self.sendable = True
        self.allowed = True
        self.moves: dict[str, str] = {}
        self.troubles: list[Exception] = []
        self.failures: list[Exception] = []
        self.preview_made = None
        self.sends = 0

    def can_send(self) -> bool:
        return self.sendable

    def allows(self, address: Address) -> bool:
        return self.allowed

    def current(self, address: Address) -> Address:
        new = self.moves.get(address.conversation)
        return address if new is None else dataclasses.replace(address, conversation=new)

    def session(self, inbound: Inbound) -> str:
        return session_key(inbound.address, kind=inbound.kind)

    def preview(self, inbound: Inbound):
        return self.preview_made

    def typing(self, address: Address):
        return contextlib.nullcontext()

    def acknowledge(self, inbound: Inbound) -> None:
        pass

    def sent(self) -> None:
        self.sends += 1

    def send_failed(self, fault: Exception, began_s: float) -> None:
        self.failures.append(fault)

    def trouble(self, fault: Exception) -> None:
        self.troubles.append(fault)

    def moved(self, old: str, new: str) -> None:
        self.moves[old] = new

    def surface(self, channel: str, account: str):
        return self


class ScriptedProvider:
    """Answers `re: <text>`, unless faults are lined up."""

    profile = kind = model = "scripted"

    def __init__(self) -> None:
        self.calls = []
        self.script: list[object] = []

    def complete(self, call, *, deadline, stop, on_text=None):
        self.calls.append(call)
        step = self.script.pop(0) if self.script else None
        if isinstance(step, BaseException):
            raise step
        if callable(step):
            return step(call, stop, on_text)
        text = step if isinstance(step, str) else f"re: {call.messages[-1].content}"
        if on_text is not None:
            on_text(text)
        return Completion(text, "scripted")


class Recorded:
    """An audit journal in memory."""

    def __init__(self) -> None:
        self.records: list[tuple[str, dict[str, object]]] = []

    def record(self, kind: str, facts: Mapping[str, object], *, agent: str | None = None) -> None:
        self.records.append((kind, dict(facts)))

    def of(self, kind: str) -> list[dict[str, object]]:
        return [facts for name, facts in self.records if name == kind]


class Rig:
    """Everything wired; `ask` stores a message and runs its lane's work in this thread."""

    def __init__(self, path: str, config: bytes = CONFIG) -> None:
        self.config, problems = validate_source("config.toml", config, environ={})
        assert self.config is not None, problems
        self.clock = HandClock()
        self.threads = ThreadRegistry()
        self.store = Store.open(path, threads=self.threads)
        self.channel = ScriptedChannel()
        self.surface = StubSurface(SPEC, self.channel)
        self.provider = ScriptedProvider()
        self.metrics = Metrics()
        self.bus = Bus(self.clock.wall_ms)
        # What is due later: (seconds, action).
        self.due: list[tuple[float, Callable[[], None]]] = []
        self.parking = Parking(self.clock)
        self.delivery = Delivery(
            self.store,
            self.surface,
            config=lambda: self.config,
            parking=self.parking,
            metrics=self.metrics,
            clock=self.clock,
        )
        self.audit = Recorded()
        self.approvals = ApprovalDesk(lambda: self.config, self.bus, self.clock, self.tell)
        self.asked_people: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()
        self.tools = Tools(
            lambda: self.config, audit=self.audit, metrics=self.metrics, approvals=self.approvals
        )
        self.rounds = self.make_rounds()
        self.pool = Pool("memory", self.threads, threads=2, waiting=8, weight=0)
        self.summaries = Summaries(
            self.store,
            self.pool,
            config=lambda: self.config,
            provider=lambda: self.provider,
            clock=self.clock,
        )
        self.asking = Asking(
            self.store,
            config=lambda: self.config,
            provider=lambda _=None: self.provider,
            rounds=self.rounds,
            agents=NoAgents(),
            metrics=self.metrics,
            clock=self.clock,
            summaries=self.summaries,
        )
        self.turns = Turns(
            self.store,
            self.delivery,
            self.surface,
            sources=TurnSources(lambda: self.config, self.asking, lambda: "all is well"),
            runs=TurnRuns(self.make_events),
            metrics=self.metrics,
            clock=self.clock,
        )
        self.events = 0

    def make_rounds(self) -> ToolRounds:
        kept = KeptRounds(self.store, self.clock)
        kept.recover()
        return ToolRounds(self.tools, self.approvals, kept, lambda: self.config)

    def forget(self) -> None:
        """Know of rounds only what a new process would."""
        self.asking.rounds = self.make_rounds()

    def tell(self, origin, text: str, id: str, until_ms: int) -> None:
        self.asked_people.put((id, text))

    def make_events(self, run_id: str, session: str | None) -> RunEvents:
        return RunEvents(self.bus, self.clock, self.later, run_id, session)

    def later(self, after_s: float, action: Callable[[], None]) -> None:
        self.due.append((after_s, action))

    def close(self) -> None:
        self.summaries.close()
        self.pool.close(Deadline(WAIT_S))
        self.store.close(Deadline(WAIT_S))
        assert self.threads.join_all(Deadline(WAIT_S)) == []

    def message(self, text: str = "hello", **changes) -> Inbound:
        self.events += 1
        values = {
            "address": Address("telegram", "work", "7"),
            "event_id": f"e{self.events}",
            "message_id": str(self.events),
            "sender_id": "42",
            "text": text,
            "received_ms": self.clock.wall_ms(),
            "sent_ms": self.clock.wall_ms(),
        }
        return Inbound(**{**values, **changes})

    def put(self, inbound: Inbound) -> int:
        return self.store.write(lambda conn: inbox.add(conn, [inbound], self.clock.wall_ms()))[0].seq

    def run(self, task, stop: StopToken | None = None) -> Later | None:
        """Run a task and what follows at once, as a worker does; what is left to wait for is returned."""
        later = Later(task, 0.0)
        while later is not None and later.after_s <= 0:
            later = later.task.run(stop or StopToken())
        self.settle()
        return later

    def ask(self, text: str = "hello", *, stop: StopToken | None = None, **changes) -> Later | None:
        return self.run(TurnTask(self.turns, self.put(self.message(text, **changes))), stop)

    def deliver(self, group: str, stop: StopToken | None = None) -> Later | None:
        return self.run(DeliveryTask(self.delivery, group), stop)

    def settle(self) -> None:
        """Wait until everything submitted is on disk."""
        self.store.write(lambda conn: None)

    def inbox_states(self) -> dict[int, str]:
        return self.store.read(lambda conn: dict(conn.execute("SELECT seq, state FROM inbox").fetchall()))

    def outbox_states(self) -> dict[str, str]:
        return self.store.read(lambda conn: dict(conn.execute("SELECT id, state FROM outbox").fetchall()))

    def rows(self, group: str):
        return self.store.read(lambda conn: outbox.group(conn, group))


@contextlib.contextmanager
def rig_at(path: object, config: bytes = CONFIG) -> Iterator[Rig]:
    rig = Rig(str(path), config)
    try:
        yield rig
    finally:
        rig.close()


def lanes_for(rig: Rig) -> Lanes:
    return Lanes(rig.threads, workers=4, lane_limit=100, total_limit=10_000, clock=rig.clock)


def event() -> threading.Event:
    return threading.Event()
