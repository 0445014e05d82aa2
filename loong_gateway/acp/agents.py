"""Agents of conversations: one actor for each session, a bounded number at once, ended when they rest."""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Callable

from loong_channels.faults import Fault, Interrupted, TimedOut
from loong_channels.waiting import Deadline, StopToken, Turn
from loong_gateway.acp.dispatch import ALLOWED, Decision, decide
from loong_gateway.acp.faults import KINDS, before_quote
from loong_gateway.acp.figures import Figures
from loong_gateway.acp.link import CLOSE_S, GRACE_S, AgentLink, Said
from loong_gateway.acp.starts import AgentStarts, directory_of, launchable
from loong_gateway.base.clock import Clock
from loong_gateway.base.faults import StoreUnwritable
from loong_gateway.base.parallel import gather
from loong_gateway.base.stdio_peer import PeerFailed
from loong_gateway.base.threads import ThreadRegistry
from loong_gateway.config.snapshot import Config
from loong_gateway.control.audit import Audit
from loong_gateway.control.origin import Origin
from loong_gateway.providers.contract import Completion, ProviderFault
from loong_gateway.storage import acp_sessions
from loong_gateway.storage.acp_sessions import AcpSession
from loong_gateway.storage.connection import Connection
from loong_gateway.storage.store import Store

__all__ = ["INTERRUPTED_TEXT", "NOTHING_SAID_TEXT", "AcpAgents", "AcpParts", "PermitFor"]

logger = logging.getLogger("loong.acp")

INTERRUPTED_TEXT = (
    "The agent {agent} was interrupted while it worked on this. It may have done part of it already, so it was not "
    "asked again. Look at what is there, then ask for the rest."
)
NOTHING_SAID_TEXT = "The agent {agent} has ended its turn without a word."

# Whether an agent, by its name, may do for a turn what its title says; see link.Permit.
PermitFor = Callable[[Origin, str, str, StopToken], bool]


@dataclass(frozen=True)
class AcpParts:
    """What agents work with. `permit` decides about what they ask."""

    store: Store
    config: Callable[[], Config]
    starts: AgentStarts
    permit: PermitFor
    audit: Audit
    threads: ThreadRegistry
    clock: Clock
    home: str


class _Actor:
    """The agent of one session. `turn` is held by whoever uses the rest; `users` and `rested_s` are the pool's."""

    def __init__(self, record: AcpSession) -> None:
        self.turn = Turn()
        self.link: AgentLink | None = None
        self.record = record
        self.users = 0
        self.rested_s = 0.0


@dataclass(frozen=True)
class _Chosen:
    """Implements control.agents.Agent."""

    pool: AcpAgents
    origin: Origin
    decision: Decision

    def complete(
        self, *, deadline: Deadline, stop: StopToken, on_text: Callable[[str], None] | None = None
    ) -> Completion:
        return self.pool.answer(self.origin, self.decision, deadline=deadline, stop=stop, on_text=on_text)


class AcpAgents:
    """Implements control.agents.Agents. Thread-safe; `_changed` protects the table of actors and who uses them."""

    def __init__(self, parts: AcpParts) -> None:
        self._parts = parts
        self._changed = threading.Condition()
        self._actors: dict[str, _Actor] = {}
        self._waiting = 0
        self._closed = False
        self._figures = Figures()
        # What an earlier process had begun: its end is told whatever the configuration says by now.
        self._begun_before: frozenset[str] = frozenset()

    def choose(self, origin: Origin, text: str) -> _Chosen | None:
        """See control.agents.Agents."""
        settings = self._parts.config().acp
        was_begun = origin.turn in self._begun_before
        if not settings.enabled and not origin.wants_agent and not was_begun:
            return None
        decision = decide(settings, origin.address, text, explicit=origin.wants_agent)
        if was_begun:
            return _Chosen(self, origin, replace(decision, agent=decision.agent or settings.default_agent))
        return _Chosen(self, origin, decision) if decision.reason == ALLOWED and origin.session else None

    def answer(
        self,
        origin: Origin,
        decision: Decision,
        *,
        deadline: Deadline,
        stop: StopToken,
        on_text: Callable[[str], None] | None,
    ) -> Completion:
        """The answer of the agent that was decided on. Blocks; raises ProviderFault and StoreUnwritable."""
        parts, agent = self._parts, decision.agent
        if origin.turn in self._begun_before or parts.store.read(
            lambda conn: acp_sessions.was_begun(conn, origin.turn)
        ):
            return Completion(INTERRUPTED_TEXT.format(agent=agent), agent, profile=f"acp:{agent}")
        begin_s = parts.clock.monotonic_s()
        try:
            if not parts.config().acp.enabled:
                raise ProviderFault.of("acp.disabled", "not_supported")
            with self._actor(_record(parts, origin, decision), deadline, stop) as actor:
                said = self._speak(actor, origin, decision, deadline, stop, on_text)
            completion = _completion(said, agent, parts.config())
        except (Interrupted, TimedOut, ProviderFault) as fault:
            failed = fault if isinstance(fault, ProviderFault) else _while_waiting(fault, agent)
            self._figures.failed(failed.kind)
            self._told(decision, failed.kind)
            raise failed from None
        self._figures.completed(parts.clock.monotonic_s() - begin_s)
        self._told(decision, "completed")
        return completion

    def recover(self) -> None:
        """Take over from an earlier process, before any turn: its agents are gone. Blocks; raises StoreUnwritable."""
        self._begun_before = frozenset(self._parts.store.read(acp_sessions.begun))
        self._parts.store.submit_lazy(acp_sessions.recover)

    def tick(self) -> None:
        """End agents that have rested long enough. Called often by the owner's thread; does not block."""
        if not self._actors:
            return
        ttl_s = self._parts.config().acp.session_idle_ttl_ms / 1000
        before_s = self._parts.clock.monotonic_s() - ttl_s
        with self._changed:
            resting = [actor for actor in self._resting() if actor.rested_s <= before_s]
            for actor in resting:
                self._drop(actor)
        if resting:
            self._figures.evicted(len(resting), self._parts.clock.wall_ms())
            try:
                self._parts.threads.spawn("acp-evict", lambda: self._end(resting))
            except RuntimeError:
                # No thread now: they come round again.
                with self._changed:
                    self._actors.update((actor.record.session_key, actor) for actor in resting)

    def close(self, deadline: Deadline) -> None:
        """Begin no more turns, and end all agents. Blocks."""
        with self._changed:
            self._closed = True
            actors = list(self._actors.values())
            self._actors.clear()
            self._changed.notify_all()
        self._end(actors, deadline)

    def sessions(self, limit: int) -> tuple[Sequence[AcpSession], int]:
        """See control.ControlPlane.agent_sessions."""
        return self._parts.store.read(
            lambda conn: (acp_sessions.sessions(conn, limit), acp_sessions.count(conn))
        )

    def snapshot(self) -> Mapping[str, object] | None:
        """The figures of this moment, as `observability` shows them; None while agents are switched off."""
        settings = self._parts.config().acp
        if not settings.enabled:
            return None
        with self._changed:
            actors = list(self._actors.values())
            waiting = self._waiting
        return self._figures.snapshot(
            [actor.record for actor in actors],
            idle_ttl_ms=settings.session_idle_ttl_ms,
            alive=sum(1 for actor in actors if actor.link is not None),
            busy=sum(1 for actor in actors if actor.users),
            queued=waiting + sum(max(0, actor.users - 1) for actor in actors),
            waiting=waiting,
        )

    # Inside

    def _told(self, decision: Decision, outcome: str) -> None:
        facts = {"connector": "acp", "activation_origin": decision.activation_origin, "outcome": outcome}
        self._parts.audit.record("ConnectorInvoked", facts, agent=decision.agent)

    @contextmanager
    def _actor(self, record: AcpSession, deadline: Deadline, stop: StopToken) -> Iterator[_Actor]:
        """The actor of a session, alone. Blocks while it is busy or all places are taken."""
        actor = self._enter(record, deadline, stop)
        try:
            with actor.turn.hold(deadline, stop):
                actor.record = replace(
                    record,
                    agent_session_id=actor.record.agent_session_id,
                    last_error=actor.record.last_error,
                )
                yield actor
        finally:
            with self._changed:
                actor.users -= 1
                actor.rested_s = self._parts.clock.monotonic_s()
                if not actor.users and actor.link is None:
                    self._drop(actor)
                self._changed.notify_all()

    def _enter(self, record: AcpSession, deadline: Deadline, stop: StopToken) -> _Actor:
        key, most = record.session_key, self._parts.config().acp.max_concurrent_sessions

        def is_free() -> bool:
            return (
                stop.is_set()
                or self._closed
                or key in self._actors
                or len(self._actors) < most
                or next(self._resting(), None) is not None
            )

        evicted: list[_Actor] = []
        with stop.watch(self._wake), self._changed:
            self._waiting += 1
            try:
                in_time = self._changed.wait_for(is_free, deadline.remaining())
            finally:
                self._waiting -= 1
            if stop.is_set() or self._closed:
                raise ProviderFault.of("acp.stopped", "interrupted", agent=record.agent)
            if not in_time:
                raise ProviderFault.of("acp.full", "timed_out", most=most)
            actor = self._actors.get(key)
            if actor is None:
                if len(self._actors) >= most:
                    evicted = [min(self._resting(), key=lambda one: one.rested_s)]
                    self._drop(evicted[0])
                actor = self._actors[key] = _Actor(record)
            actor.users += 1
        if evicted:
            self._figures.evicted(1, self._parts.clock.wall_ms())
            self._end(evicted)
        return actor

    def _resting(self) -> Iterator[_Actor]:
        return (actor for actor in self._actors.values() if not actor.users)

    def _drop(self, actor: _Actor) -> None:
        """Forget an actor, unless another one has taken its place. Holds the guard."""
        if self._actors.get(actor.record.session_key) is actor:
            del self._actors[actor.record.session_key]

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _speak(
        self,
        actor: _Actor,
        origin: Origin,
        decision: Decision,
        deadline: Deadline,
        stop: StopToken,
        on_text: Callable[[str], None] | None,
    ) -> Said:
        parts, config = self._parts, self._parts.config()
        state, error = "closed", None
        try:
            link = self._linked(actor, config, deadline, stop)
            self._note(actor, "busy", mark=origin.turn if origin.durable else None)
            # What the agent needs to end its turn must fit as well.
            limit_s = min(config.acp.turn_timeout_ms / 1000, max(0.0, deadline.remaining() - GRACE_S))
            said = link.prompt(
                decision.text,
                limit_s=limit_s,
                stop=stop,
                permit=functools.partial(parts.permit, origin, decision.agent),
                on_text=on_text,
                cancelling=lambda: self._note(actor, "cancelling"),
            )
            state = "ready"
        except PeerFailed as failed:
            # Without its last words, and without what it was asked: this is stored and gets into the log.
            detail = before_quote(failed.message, decision.text)
            error = f"{failed.kind}: {detail}"
            if failed.kind == "refused":
                # It lives, and said why not.
                state = "ready"
            if stop.is_set():
                raise ProviderFault.of("acp.stopped", "interrupted", agent=decision.agent) from None
            raise ProviderFault.of(
                "acp.refused" if failed.kind == "refused" else "acp.failed",
                KINDS[failed.kind],
                agent=decision.agent,
                backend=actor.record.backend,
                detail=detail,
            ) from None
        except ProviderFault as fault:
            state, error = "error", f"{fault.kind}: {fault}"
            raise
        else:
            return said
        finally:
            if state != "ready" and actor.link is not None:
                actor.link.close(Deadline(CLOSE_S))
                actor.link = None
            actor.record = replace(actor.record, last_error=error)
            self._note(actor, state)

    def _linked(self, actor: _Actor, config: Config, deadline: Deadline, stop: StopToken) -> AgentLink:
        """The process of an actor, started when there is none that lives."""
        if actor.link is not None and actor.link.alive:
            return actor.link
        key = actor.record.session_key
        before = self._parts.store.read(lambda conn: acp_sessions.find(conn, key))
        known = None
        if before is not None and before.working_directory == actor.record.working_directory:
            known = before.agent_session_id
        actor.link = None
        self._note(actor, "initializing")
        link, _ = self._parts.starts.start(config, actor.record.agent, known, deadline, stop)
        actor.link = link
        actor.record = replace(actor.record, agent_session_id=link.session)
        return link

    def _note(self, actor: _Actor, state: str, *, mark: str | None = None) -> None:
        """Store what a session is doing; with the mark of a turn it is on disk when this returns."""
        now_ms = self._parts.clock.wall_ms()
        actor.record = record = replace(actor.record, state=state, last_activity_ms=now_ms)
        if mark is not None:
            turn = mark
            self._parts.store.write(lambda conn: acp_sessions.begin(conn, turn, record, now_ms))
            return
        with suppress(StoreUnwritable):
            # The next state is stored again.
            self._parts.store.submit_lazy(lambda conn: acp_sessions.keep(conn, record))

    def _end(self, actors: list[_Actor], deadline: Deadline | None = None) -> None:
        """End processes that nobody uses any more, side by side."""
        limit = deadline or Deadline(CLOSE_S)
        links = {number: actor.link for number, actor in enumerate(actors) if actor.link is not None}
        closing = {number: functools.partial(link.close, limit) for number, link in links.items()}
        gather(self._parts.threads, "acp-end", closing, limit)
        records = [replace(actor.record, state="closed") for actor in actors]

        def keep(conn: Connection) -> None:
            for record in records:
                acp_sessions.keep(conn, record)

        with suppress(StoreUnwritable):
            # After a restart they are closed anyway.
            self._parts.store.submit_lazy(keep)


def _record(parts: AcpParts, origin: Origin, decision: Decision) -> AcpSession:
    config, agent = parts.config(), decision.agent
    backend = launchable(config, agent)
    address = origin.address
    return AcpSession(
        f"acp:{agent}:{origin.session}",
        str(origin.session),
        agent,
        backend.name,
        decision.activation_origin,
        origin.entry,
        directory_of(config, agent, backend, parts.home),
        participant=origin.sender,
        channel=address.channel if address else None,
        account=address.account if address else None,
        conversation=address.conversation if address else None,
        thread=address.thread if address else None,
        last_activity_ms=parts.clock.wall_ms(),
    )


def _while_waiting(fault: Fault, agent: str) -> ProviderFault:
    """The fault of a turn whose session was busy with another one."""
    if isinstance(fault, Interrupted):
        return ProviderFault.of("acp.stopped", "interrupted", agent=agent)
    return ProviderFault.of("acp.busy", "timed_out", agent=agent)


def _completion(said: Said, agent: str, config: Config) -> Completion:
    """The answer in what an agent said. Raises ProviderFault."""
    if said.cancelled == "timed_out":
        seconds = config.acp.turn_timeout_ms / 1000
        raise ProviderFault.of("acp.timed_out", "timed_out", agent=agent, seconds=f"{seconds:g}")
    if said.cancelled or said.stop_reason == "cancelled":
        raise ProviderFault.of("acp.stopped", "interrupted", agent=agent)
    if said.stop_reason == "refusal" and not said.text.strip():
        detail = "it gives no reason"
        raise ProviderFault.of("acp.refused", "request_rejected", agent=agent, backend=agent, detail=detail)
    text = said.text.strip() or NOTHING_SAID_TEXT.format(agent=agent)
    return Completion(
        text,
        agent,
        profile=f"acp:{agent}",
        truncated=said.is_cut or said.stop_reason in ("max_tokens", "max_turn_requests"),
    )
