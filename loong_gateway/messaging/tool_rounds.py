"""Asks the model, does what it asks for with tools, and asks again, until it answers. Runs on lane workers."""

from __future__ import annotations

import collections
import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Callable, Optional

from loong_channels.waiting import Deadline, StopToken
from loong_gateway.base.wording import plural
from loong_gateway.config.agent_snapshot import ToolSettings
from loong_gateway.config.snapshot import Config
from loong_gateway.control.origin import Origin
from loong_gateway.messaging.kept_rounds import KeptCall, KeptRound, KeptRounds
from loong_gateway.providers.contract import (
    Completion,
    Function,
    Message,
    Provider,
    ProviderCall,
    ProviderFault,
    ToolCall,
    Usage,
)
from loong_gateway.tools.approvals import ApprovalDesk
from loong_gateway.tools.arguments import schema_of
from loong_gateway.tools.contract import Tool
from loong_gateway.tools.desk import Call, Tools
from loong_gateway.tools.policy import wire_names

__all__ = ["OnTool", "ToolRounds", "ToolStep"]

BETWEEN = "\n\n"
CUT_MARK = " […cut: {shown} of {whole} bytes]"
UNKNOWN_TEXT = (
    "The gateway ended while this call was being made: it may have happened, or not. It was not made again."
)
ENDED = ("done", "unknown")
NO_MORE = "[{limit} reached: no further tools can be called now. Answer with what you have.]"
NOTHING_SAID = "I stopped here: {limit} was reached before there was an answer."


@dataclass(frozen=True)
class ToolStep:
    """What is told of a call: `phase` "start" or "result", then with the `result` as the model is told it."""

    phase: str
    name: str
    call_id: str
    arguments: str
    result: str = ""
    is_error: bool = False


OnTool = Callable[[ToolStep], None]
OnText = Optional[Callable[[str], None]]


class ToolRounds:
    """Stateless but for what `kept` keeps, so thread-safe."""

    def __init__(
        self, tools: Tools, approvals: ApprovalDesk, kept: KeptRounds, config: Callable[[], Config]
    ) -> None:
        self.approvals = approvals
        self.kept = kept
        self._tools = tools
        self._config = config

    def complete(
        self,
        provider: Provider,
        call: ProviderCall,
        origin: Origin,
        *,
        deadline: Deadline,
        stop: StopToken,
        on_text: OnText = None,
        on_tool: OnTool | None = None,
    ) -> Completion:
        """The model's last answer, with what it said on the way. Blocks; raises ProviderFault and StoreUnwritable.

        A turn that was begun before goes on where it was: what is known is neither asked nor done again.
        """
        if self.kept.has(origin.turn):
            # What is left of it may need a tool server that has only just been started.
            self._tools.prepare()
        # A caller that brings its own tools runs them itself.
        offered = [] if call.options.tools else self._tools.for_turns()
        if not offered and not self.kept.has(origin.turn):
            return provider.complete(call, deadline=deadline, stop=stop, on_text=on_text)
        names = self._tools.wire_names()
        turn = _Turn(provider, call, _functions(offered), self._config().tools, on_text)
        work = _Work(self._tools, self.kept, origin, deadline, stop, on_tool)
        for round in self.kept.load(origin.turn):
            turn.say(round.text)
            self._do(turn, work, round, names)
        while True:
            completion = turn.ask(deadline, stop)
            if not completion.tool_calls or turn.limit:
                return turn.answer(completion)
            self._do(turn, work, self.kept.plan(origin, turn.rounds, completion), names)

    def _do(self, turn: _Turn, work: _Work, round: KeptRound, names: Mapping[str, str]) -> None:
        """Everything that a round asks for, one call after the other."""
        turn.used(round)
        for index, kept in enumerate(round.calls):
            name = names.get(kept.call.name, kept.call.name)
            refusal = turn.count(kept.call)
            if kept.state not in ENDED:
                work.make(name, round.number, index, kept, refusal, turn.settings.max_result_bytes)
            turn.heard(kept)
        turn.close_round()


class _Turn:
    """What one turn has said, heard and used in `rounds`. `limit` names the bound that it has reached, or is ""."""

    def __init__(
        self,
        provider: Provider,
        call: ProviderCall,
        functions: tuple[Function, ...],
        settings: ToolSettings,
        on_text: OnText,
    ) -> None:
        self.settings = settings
        self.rounds = 0
        self.limit = ""
        self._provider = provider
        self._call = call
        self._on_text = on_text
        self._messages = list(call.messages)
        self._functions = functions
        self._texts: list[str] = []
        self._has_said = False
        self._usages: list[Usage] = []
        self._calls = 0
        self._seen: collections.Counter[tuple[str, str]] = collections.Counter()

    def ask(self, deadline: Deadline, stop: StopToken) -> Completion:
        """Have the model go on; its words are told as they grow."""
        begun = False

        def grown(piece: str) -> None:
            nonlocal begun
            if piece:
                self._tell(piece, is_new=not begun)
                begun = True

        # The tools stay in the request: services refuse a conversation with calls that offers none.
        choice = self._call.options.tool_choice
        if self._functions and choice != "none":
            choice = "none" if self.limit else None
        options = replace(self._call.options, tools=self._functions, tool_choice=choice)
        call = replace(self._call, messages=tuple(self._messages), options=options)
        on_text = None if self._on_text is None else grown
        return self._provider.complete(call, deadline=deadline, stop=stop, on_text=on_text)

    def say(self, text: str) -> None:
        """Tell what was said before a crash."""
        if text:
            self._tell(text, is_new=True)

    def used(self, round: KeptRound) -> None:
        """Take what the model said when it asked for calls."""
        calls = tuple(kept.call for kept in round.calls)
        self._messages.append(Message("assistant", round.text, tool_calls=calls))
        if round.text:
            self._texts.append(round.text)
        if round.usage is not None:
            self._usages.append(round.usage)

    def count(self, call: ToolCall) -> str:
        """Count a call; why it is not made, "" when it may be."""
        self._calls += 1
        key = (call.name, _same(call.arguments))
        self._seen[key] += 1
        if self._calls > self.settings.max_calls:
            self.limit = f"the limit of {plural(self.settings.max_calls, 'tool call')}"
        elif self._seen[key] > self.settings.max_repeats:
            self.limit = f"the limit of {plural(self.settings.max_repeats, 'time')} for the same call"
        else:
            return ""
        return f"not made: {self.limit} was reached"

    def heard(self, kept: KeptCall) -> None:
        """Take what the model is told of a call."""
        self._messages.append(Message("tool", kept.text, tool_call_id=kept.call.id))

    def close_round(self) -> None:
        """Look whether another one may follow, and say so where not."""
        self.rounds += 1
        if not self.limit and self.rounds >= self.settings.max_rounds:
            self.limit = f"the limit of {plural(self.settings.max_rounds, 'round')} of tool calls"
        if self.limit:
            last = self._messages[-1]
            self._messages[-1] = replace(
                last, content=f"{last.content}{BETWEEN}{NO_MORE.format(limit=self.limit)}"
            )

    def answer(self, completion: Completion) -> Completion:
        """The whole turn as one answer."""
        if completion.usage is not None:
            self._usages.append(completion.usage)
        text = completion.text
        if completion.tool_calls and not text:
            text = NOTHING_SAID.format(limit=self.limit)
            self.say(text)
        whole = BETWEEN.join([*self._texts, *([text] if text else [])])
        return replace(completion, text=whole, usage=_sum(self._usages), tool_calls=())

    def _tell(self, piece: str, *, is_new: bool) -> None:
        if self._on_text is not None:
            self._on_text(BETWEEN + piece if is_new and self._has_said else piece)
        self._has_said = True


@dataclass(frozen=True)
class _Work:
    """Makes the calls of one turn."""

    tools: Tools
    kept: KeptRounds
    origin: Origin
    deadline: Deadline
    stop: StopToken
    on_tool: OnTool | None

    def make(self, name: str, round: int, index: int, kept: KeptCall, refusal: str, most_bytes: int) -> None:
        """Bring a call to its end: made, refused, or of unknown fate. Raises ProviderFault when the turn must end."""
        if self.stop.is_set() or self.deadline.expired:
            raise _ended(self.stop)
        self._tell(ToolStep("start", name, kept.call.id, kept.call.arguments))
        if kept.state == "started":
            kept.state, kept.text, kept.failed = "unknown", UNKNOWN_TEXT, True
            self.kept.change(self.origin, round, index, kept, wait=True)
            self.tools.note_unknown(name, self.origin)
        elif refusal:
            kept.text, kept.failed = refusal, True
        else:
            self._call(name, round, index, kept, most_bytes)
        if kept.state != "unknown":
            acted = kept.state == "started"
            kept.state = "done"
            self.kept.change(self.origin, round, index, kept, wait=acted)
        self._tell(
            ToolStep("result", name, kept.call.id, kept.call.arguments, kept.text, is_error=kept.failed)
        )
        if self.stop.is_set():
            raise _ended(self.stop)

    def _call(self, name: str, round: int, index: int, kept: KeptCall, most_bytes: int) -> None:
        def begins() -> None:
            kept.state = "started"
            self.kept.change(self.origin, round, index, kept, wait=True)

        outcome = self.tools.call(
            Call(name, kept.call.arguments, self.origin, self.deadline, self.stop, begins=begins)
        )
        if outcome.error_code == "interrupted":
            # Whoever waited for an approval goes on in the next process.
            self.stop.set("stopping")
        if outcome.error_code and self.stop.is_set():
            # What was cut short is no result: a call that only looks is made again, any other is of unknown fate.
            raise _ended(self.stop)
        kept.failed = bool(outcome.error_code)
        kept.text = _cut(outcome.error if kept.failed else outcome.text, most_bytes)
        if kept.failed:
            kept.text = f"Error: {kept.text}"

    def _tell(self, step: ToolStep) -> None:
        if self.on_tool is not None:
            self.on_tool(step)


def _ended(stop: StopToken) -> ProviderFault:
    if not stop.is_set():
        return ProviderFault("timed_out", "the turn did not end in time")
    return ProviderFault("interrupted", f"stopped: {stop.reason}")


def _functions(offered: Sequence[Tool]) -> tuple[Function, ...]:
    wire = {name: shown for shown, name in wire_names(tool.name for tool in offered).items()}
    return tuple(Function(wire[tool.name], tool.description, schema_of(tool)) for tool in offered)


def _same(arguments: str) -> str:
    """Arguments in one spelling."""
    try:
        return json.dumps(json.loads(arguments), sort_keys=True)
    except (ValueError, RecursionError):
        return arguments


def _cut(text: str, most_bytes: int) -> str:
    raw = text.encode("utf-8", "surrogatepass")
    if len(raw) <= most_bytes:
        return text
    return raw[:most_bytes].decode("utf-8", "ignore") + CUT_MARK.format(shown=most_bytes, whole=len(raw))


def _sum(usages: list[Usage]) -> Usage | None:
    """All of them together, count by count; None where none was said."""
    if not usages:
        return None
    totals: dict[str, int | None] = {}
    for field in dataclasses.fields(Usage):
        said = [value for usage in usages if (value := getattr(usage, field.name)) is not None]
        totals[field.name] = sum(said) if said else None
    return Usage(**totals)
