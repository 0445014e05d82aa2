"""What an owner is at a moment, gathered from its parts: for the status files, the port, and whether it is ready."""

from __future__ import annotations

from loong_gateway import VERSION
from loong_gateway.base.process import identity
from loong_gateway.daemon.document import OwnerFacts, status_document
from loong_gateway.daemon.parts import LifeState, RuntimeParts

__all__ = ["Report"]


class Report:
    """Thread-safe; each call looks anew."""

    def __init__(self, parts: RuntimeParts, life: LifeState) -> None:
        self._parts = parts
        self._life = life
        self._identity = identity()
        self._started_at_ms = parts.clock.wall_ms()

    def facts(self) -> OwnerFacts:
        """Everything that the status document is made of. Blocks for a look into the store."""
        parts, life = self._parts, self._life
        engine = parts.engine
        rows = engine.row_counts()
        return OwnerFacts(
            owner_token=parts.lock.owner_token,
            identity=self._identity,
            phase=life.phase,
            mode=parts.mode,
            version=VERSION,
            config_path=engine.config.path,
            session=parts.session,
            started_at_ms=self._started_at_ms,
            now_ms=parts.clock.wall_ms(),
            ready=not self.unready(),
            problems=tuple(self._problems()),
            last_error=life.last_error,
            shutdown_reason=life.shutdown_reason,
            bind_address=parts.bound.address,
            port=parts.bound.port,
            port_source=parts.bound.source,
            token_path=parts.places.control_token,
            surfaces=engine.supervisor.states(),
            inbox=rows.inbox,
            outbox=rows.outbox,
            runs=rows.runs,
            provider=engine.providers.facts(),
            acp=engine.answering.agents.snapshot(),
            audit=self._audit(),
            tools=tuple(tool.name for tool in engine.answering.tools.for_turns()),
        )

    def document(self) -> dict[str, object]:
        """The status document as it is published for this user. Blocks as `facts`."""
        return status_document(self.facts())

    def started(self) -> bool:
        """True once every enabled surface has been started once."""
        life = self._life
        return life.phase == "running" and (self._parts.engine.supervisor.started() or not life.channels_on)

    def unready(self) -> tuple[str, ...]:
        """The reasons why the gateway is not ready, empty when it is."""
        if self._life.phase != "running":
            return (self._life.phase,)
        reasons = [] if self.started() else ["starting"]
        if self._parts.store.unwritable_reason() is not None:
            reasons.append("store_unwritable")
        return tuple(reasons)

    def _problems(self) -> list[str]:
        found = [*self._parts.engine.problems(), *self._parts.desk.tool_servers.problems()]
        if not self._life.channels_on:
            found.append("crash_loop")
        audit = self._parts.desk.audit
        if audit is not None and audit.facts().trouble:
            found.append("audit_unwritable")
        return found

    def _audit(self) -> dict[str, object]:
        audit = self._parts.desk.audit
        if audit is None:
            return {"mode": "off", "path": None, "events": 0, "last_event_ms": None, "lost": 0}
        facts = vars(audit.facts())
        return {"mode": "jsonl", **{name: value for name, value in facts.items() if name != "trouble"}}
