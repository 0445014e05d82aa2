"""The one place where it is decided which tool may be called, and where it is called."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from loong_channels.faults import Interrupted, TimedOut
from loong_channels.waiting import Deadline, StopToken
from loong_gateway.base.faults import StoreUnwritable
from loong_gateway.base.metrics import Metrics
from loong_gateway.config.snapshot import Config
from loong_gateway.control.audit import Audit, NoAudit
from loong_gateway.control.origin import Origin
from loong_gateway.control.tools import ToolInfo, ToolOutcome, ToolRequest
from loong_gateway.tools.approvals import APPROVED, BUSY, EXPIRED, STOPPED, ApprovalDesk
from loong_gateway.tools.arguments import checked, parsed
from loong_gateway.tools.contract import BadArgument, Tool, ToolContext, ToolFailed
from loong_gateway.tools.policy import HARD_DENIED, needs_approval, port_may_call, turns_may_call, wire_names

__all__ = ["HARD_DENIED", "Call", "ToolSource", "Tools"]

logger = logging.getLogger("loong.tools")

# Tools that are there at the moment; must be quick.
ToolSource = Callable[[], Iterable[Tool]]

NOT_APPROVED = {
    EXPIRED: "nobody approved this call in time, so it was not made",
    BUSY: "this call needs an approval, and too many calls wait for one; it was not made",
}
REFUSED_TEXT = "a person refused this call; it was not made"
STOPPED_TEXT = "stopped"


@dataclass(frozen=True)
class Call:
    """One call as it came. `arguments` may be JSON text as a model wrote it. `is_direct`: by a client of the port.

    `begins` is called just before a call that acts begins; what it raises ends the call.
    """

    name: str
    arguments: Mapping[str, object] | str
    origin: Origin
    deadline: Deadline
    stop: StopToken
    is_direct: bool = False
    begins: Callable[[], None] = lambda: None


class _Denied(Exception):
    """A call that may not be made. `reason` is a fixed word for the record."""

    def __init__(self, code: str, reason: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason


class Tools:
    """Implements control.ToolDesk. Thread-safe; sources are added before anybody calls, policy is read each time."""

    def __init__(
        self,
        config: Callable[[], Config],
        tools: Iterable[Tool] = (),
        *,
        audit: Audit | None = None,
        metrics: Metrics | None = None,
        approvals: ApprovalDesk | None = None,
    ) -> None:
        """Without `approvals` nothing is called that must be approved."""
        self._config = config
        self._audit = audit or NoAudit()
        self._metrics = metrics or Metrics()
        self._approvals = approvals
        fixed = tuple(tools)
        self._sources: tuple[ToolSource, ...] = (lambda: fixed,)
        self._preparations: tuple[Callable[[], None], ...] = ()

    def add(self, source: ToolSource, prepare: Callable[[], None] = lambda: None) -> None:
        """Offer what `source` yields as well; of two tools of one name the one that was added first counts.

        `prepare` blocks until `source` has had its time to begin.
        """
        self._sources = (*self._sources, source)
        self._preparations = (*self._preparations, prepare)

    def prepare(self) -> None:
        """Wait until every source yields what it has, or has failed to. Blocks."""
        for prepare in self._preparations:
            prepare()

    def invoke(self, request: ToolRequest) -> ToolOutcome:
        """See control.ToolDesk."""
        name = f"call:{request.idempotency_key}" if request.idempotency_key else ""
        origin = Origin(request.entry, name, request.session)
        settings = self._config().tools
        # A person who must approve has their own time.
        deadline = Deadline(settings.timeout_s + settings.approval.timeout_s)
        return self.call(Call(request.name, request.arguments, origin, deadline, StopToken(), is_direct=True))

    def call(self, call: Call) -> ToolOutcome:
        """Make a call if it may be made. Blocks until the call's deadline; raises only what `begins` raises."""
        config = self._config()
        try:
            tool = self._found(call, config)
            arguments = checked(tool, parsed(call.arguments))
            self._approve(call, tool, arguments, config)
        except _Denied as denial:
            if denial.reason != STOPPED:
                self._note_denial(call, denial.reason)
            return ToolOutcome({}, error_code=denial.code, error=str(denial))
        except BadArgument as error:
            self._note_denial(call, "bad_arguments")
            return ToolOutcome({}, error_code="invalid_request", error=str(error))
        if call.stop.is_set():
            return ToolOutcome({}, error_code="interrupted", error=STOPPED_TEXT)
        if tool.acts:
            call.begins()
        outcome = self._run(tool, arguments, call, config.tools.timeout_s)
        ended = outcome.error_code or "ok"
        self._metrics.add(f"tools:{ended}:{tool.name}")
        if tool.acts:
            self._note_acted(tool.name, call.origin, ended)
        return outcome

    def note_unknown(self, name: str, origin: Origin) -> None:
        """Record that nobody knows whether a call that acts has happened."""
        self._metrics.add(f"tools:unknown:{name}")
        self._note_acted(name, origin, "unknown")

    def for_turns(self) -> list[Tool]:
        """What the model may call now, by name. Quick."""
        config = self._config()
        if not config.tools.allow:
            return []
        found = {
            tool.name: tool for tool in self._all() if turns_may_call(config, tool.name) and tool.available()
        }
        return [tool for _, tool in sorted(found.items())]

    def wire_names(self) -> dict[str, str]:
        """All tools: names as models are given them -> our own. Those that may be called come first to theirs."""
        offered = wire_names(tool.name for tool in self.for_turns())
        return {**wire_names(tool.name for tool in self._all()), **offered}

    def visible(self) -> tuple[ToolInfo, ...]:
        """See control.ToolDesk."""
        return tuple(_info(tool) for tool in self.for_turns())

    def offered(self, entry: str) -> tuple[ToolInfo, ...]:
        """See control.ToolDesk. Every entry is allowed the same."""
        del entry
        config = self._config()
        found = [tool for tool in self._all() if port_may_call(config, tool.name) and tool.available()]
        return tuple(_info(tool) for tool in sorted(found, key=lambda tool: tool.name))

    def acts(self, name: str) -> bool:
        """Whether a call of this name changes something; True for a tool that is not there any more."""
        tool = next((tool for tool in self._all() if tool.name == name), None)
        return tool is None or tool.acts

    def _all(self) -> Iterator[Tool]:
        seen = set()
        for source in self._sources:
            for tool in source():
                if tool.name not in seen:
                    seen.add(tool.name)
                    yield tool

    def _found(self, call: Call, config: Config) -> Tool:
        # The same words whether it is missing, denied or switched off: nobody learns which ones there are.
        words = f"Tool not available: {_shown(call.name)}"
        tool = next((tool for tool in self._all() if tool.name == call.name), None)
        if tool is None:
            raise _Denied("not_found", "unknown", words)
        may_call = port_may_call if call.is_direct else turns_may_call
        if not may_call(config, tool.name):
            raise _Denied("not_found", "not_allowed", words)
        if not tool.available():
            raise _Denied("not_found", "not_available", words)
        return tool

    def _approve(self, call: Call, tool: Tool, arguments: Mapping[str, object], config: Config) -> None:
        if not needs_approval(config, tool):
            return
        desk = self._approvals
        how = desk.ask(tool.name, arguments, call) if desk is not None else EXPIRED
        if how == STOPPED:
            raise _Denied("interrupted", STOPPED, STOPPED_TEXT)
        if how != APPROVED:
            raise _Denied("refused", how, NOT_APPROVED.get(how, REFUSED_TEXT))

    def _run(self, tool: Tool, arguments: Mapping[str, object], call: Call, timeout_s: float) -> ToolOutcome:
        context = ToolContext(call.origin, call.deadline.within(timeout_s), call.stop, call.is_direct)
        code = "failed"
        try:
            result = tool.run(arguments, context)
            return ToolOutcome(result, json.dumps(result, ensure_ascii=False))
        except BadArgument as fault:
            code, error = "invalid_request", str(fault)
        except ToolFailed as fault:
            error = str(fault)
        except StoreUnwritable:
            error = "the store cannot be read now"
        except Interrupted:
            code, error = "interrupted" if call.stop.is_set() else code, STOPPED_TEXT
        except TimedOut:
            error = "the tool did not end in time"
        except Exception:
            # A bug in one tool costs one call, and tells nothing about the inside.
            logger.exception("the tool %s failed", tool.name)
            error = "tool execution failed"
        return ToolOutcome({}, error_code=code, error=error)

    def _note_denial(self, call: Call, reason: str) -> None:
        # A name that is not one of ours is somebody's words.
        known = "(unknown)" if reason == "unknown" else call.name
        entry = call.origin.entry
        self._metrics.add(f"tools_denied:{reason}:{entry}")
        self._audit.record("AuthorizationDenied", {"tool": known, "entry": entry, "reason": reason})

    def _note_acted(self, name: str, origin: Origin, outcome: str) -> None:
        facts = {"tool": name, "entry": origin.entry, "outcome": outcome}
        self._audit.record("ConnectorInvoked", facts)


def _info(tool: Tool) -> ToolInfo:
    return ToolInfo(tool.name, tool.description, frozenset(tool.arguments))


def _shown(name: str) -> str:
    """A name of whatever length and letters, fit for an answer."""
    return "".join(letter if letter.isprintable() else "?" for letter in name[:64])
