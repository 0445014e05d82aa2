"""The rounds of tool calls of a turn that has not ended: on disk where the turn is begun again after a crash."""

from __future__ import annotations

import functools
import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from loong_gateway.base.clock import Clock
from loong_gateway.control.origin import Origin
from loong_gateway.providers.contract import Completion, ToolCall, Usage
from loong_gateway.storage import tool_calls
from loong_gateway.storage.connection import Connection
from loong_gateway.storage.store import Store

__all__ = ["KeptCall", "KeptRound", "KeptRounds"]

DAMAGED = "It is not known what came of this call: its record is damaged."


@dataclass
class KeptCall:
    """One call of a round. `state` as in storage.tool_calls; `text` is what the model is told of it once it is done."""

    call: ToolCall
    state: str = "planned"
    text: str = ""
    failed: bool = False


@dataclass
class KeptRound:
    """What the model said when it asked for `calls`."""

    number: int
    text: str
    model: str = ""
    usage: Usage | None = None
    calls: list[KeptCall] = field(default_factory=list)


class KeptRounds:
    """Thread-safe; `_guard` protects the set of turns that have rows, so that no other turn costs a look.

    Every method that stores raises StoreUnwritable, and does nothing for an origin that is not durable.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._guard = threading.Lock()
        self._turns: set[str] = set()

    def recover(self) -> None:
        """Take over what an earlier process left, before any worker starts."""
        found = self._store.read(tool_calls.turns)
        with self._guard:
            self._turns.update(found)

    def has(self, turn: str) -> bool:
        """Whether a turn that is begun has rounds already."""
        with self._guard:
            return turn in self._turns

    def load(self, turn: str) -> list[KeptRound]:
        """The rounds of a turn, oldest first. Blocks."""
        if not self.has(turn):
            return []
        rounds: list[KeptRound] = []
        for row in self._store.read(functools.partial(tool_calls.load, turn=turn)):
            if row.call == tool_calls.SAID:
                rounds.append(_decode_said(row.round, row.payload))
            else:
                rounds[-1].calls.append(_decode_call(row.call, row.state, row.payload))
        return rounds

    def plan(self, origin: Origin, number: int, completion: Completion) -> KeptRound:
        """A new round with its calls, on disk before any of them begins. Blocks for a commit."""
        calls = _with_unique_ids(number, completion.tool_calls)
        made = KeptRound(
            number, completion.text, completion.model, completion.usage, [KeptCall(call) for call in calls]
        )
        if origin.durable:
            said, rows = _encode_said(made), [_encode_call(call) for call in made.calls]
            now_ms = self._clock.wall_ms()
            with self._guard:
                self._turns.add(origin.turn)
            self._store.write(lambda conn: tool_calls.plan(conn, origin.turn, number, said, rows, now_ms))
        return made

    def change(self, origin: Origin, round: int, index: int, call: KeptCall, *, wait: bool) -> None:
        """Store the state of a call and what came of it; with `wait` it is on disk when this returns."""
        if origin.durable:
            operation = functools.partial(
                tool_calls.change,
                turn=origin.turn,
                round=round,
                call=index,
                state=call.state,
                payload=_encode_call(call),
            )
            (self._store.write if wait else self._store.submit)(operation)

    def clearing(self, turn: str) -> Callable[[Connection], None] | None:
        """What removes the rounds of a turn, to be run in the transaction of its outcome; None without any."""
        return functools.partial(tool_calls.forget, turn=turn) if self.has(turn) else None

    def cleared(self, turn: str) -> None:
        """The turn's outcome is stored."""
        with self._guard:
            self._turns.discard(turn)


def _with_unique_ids(number: int, calls: Sequence[ToolCall]) -> list[ToolCall]:
    """The calls, with ids by which their results can be told apart."""
    seen: set[str] = set()
    found = []
    for index, call in enumerate(calls):
        id = call.id if call.id and call.id not in seen else f"call_{number}_{index}"
        seen.add(id)
        found.append(ToolCall(id, call.name, call.arguments))
    return found


def _encode_said(round: KeptRound) -> bytes:
    usage = None if round.usage is None else vars(round.usage)
    return _bytes({"text": round.text, "model": round.model, "usage": usage})


def _decode_said(number: int, payload: bytes) -> KeptRound:
    if not payload:
        return KeptRound(number, "")
    row = json.loads(payload)
    usage = row["usage"]
    return KeptRound(number, row["text"], row["model"], None if usage is None else Usage(**usage))


def _encode_call(kept: KeptCall) -> bytes:
    call = kept.call
    row = {"id": call.id, "name": call.name, "arguments": call.arguments}
    return _bytes({**row, "text": kept.text, "failed": kept.failed})


def _decode_call(index: int, state: str, payload: bytes) -> KeptCall:
    if not payload:
        # Its id must be there, because the model's own words name it; what it was is not known any more.
        return KeptCall(ToolCall(f"damaged_{index}", "damaged", "{}"), "done", DAMAGED, failed=True)
    row = json.loads(payload)
    return KeptCall(ToolCall(row["id"], row["name"], row["arguments"]), state, row["text"], row["failed"])


def _bytes(row: object) -> bytes:
    # ASCII, because a text may hold lone surrogates.
    return json.dumps(row, separators=(",", ":")).encode("ascii")
