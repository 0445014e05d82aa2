"""One turn: the message, its history, the model, and the reply's rows, committed together. Runs on lane workers."""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from loong_channels.contract import Inbound, Preview
from loong_channels.waiting import Deadline, StopToken
from loong_gateway.base.clock import Clock
from loong_gateway.base.faults import StoreUnwritable
from loong_gateway.base.metrics import Metrics
from loong_gateway.base.notices import Notices
from loong_gateway.config.snapshot import Config
from loong_gateway.control import TurnRequest, TurnResult
from loong_gateway.messaging.chat_commands import HELP_TEXT, ChatCommand, parse_command
from loong_gateway.messaging.conversation import build_call
from loong_gateway.messaging.delivery import Delivery, DeliveryTask
from loong_gateway.messaging.lanes import Later
from loong_gateway.messaging.parts import make_parts
from loong_gateway.messaging.sessions import session_key
from loong_gateway.messaging.surfaces import Surface, Surfaces
from loong_gateway.providers.contract import Completion, Provider, ProviderFault
from loong_gateway.storage import inbox, outbox, transcripts
from loong_gateway.storage.connection import Connection
from loong_gateway.storage.inbox import InboxRow
from loong_gateway.storage.outbox import Part
from loong_gateway.storage.store import Store

__all__ = ["RequestTask", "TurnSources", "TurnTask", "Turns"]

logger = logging.getLogger("loong.turns")

TRANSIENT = frozenset({"rate_limited", "provider_overloaded", "transport_failure"})
RETRY_AFTER_S = (2.0, 8.0, 30.0)
STORE_WAIT_S = 5.0
NO_SURFACE_WAIT_S = 60.0
TOO_OLD_TEXT = (
    "I was away when you wrote, and did not answer what was older than {minutes} minutes. Please ask again."
)


@dataclass(frozen=True)
class Answer:
    """What a message gets. `remembered` answers go into the transcript together with the message."""

    text: str
    remembered: bool = False
    markup: str = "plain"
    extra: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class TurnSources:
    """Where a turn gets what may change between two turns; `provider` raises ProviderFault when there is none."""

    config: Callable[[], Config]
    provider: Callable[[], Provider]
    status_line: Callable[[], str]


class Turns:
    """Runs turns. Thread-safe: many workers use it, each for another lane."""

    def __init__(
        self,
        store: Store,
        delivery: Delivery,
        surfaces: Surfaces,
        *,
        sources: TurnSources,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._store = store
        self._delivery = delivery
        self._surfaces = surfaces
        self._config = sources.config
        self._provider = sources.provider
        self._status_line = sources.status_line
        self._metrics = metrics
        self._clock = clock
        self._told_old = Notices(clock)

    @property
    def limit_s(self) -> float:
        """How long one turn may take, in seconds."""
        config = self._config()
        profile = config.providers.get(config.active_provider or "")
        return 600.0 if profile is None else profile.turn_timeout_ms / 1000

    def run_message(self, seq: int, stop: StopToken) -> Later | None:
        """Answer one row of the inbox. Blocks until the reply's rows are on disk; the reply is sent by what follows."""
        row: InboxRow | None = None
        try:
            row = self._store.read(lambda conn: inbox.load(conn, seq))
            if row is None:
                return None
            return self._run_row(row, stop)
        except StoreUnwritable:
            return Later(TurnTask(self, seq), STORE_WAIT_S)
        except Exception:
            # A bug must neither lose the message nor stop its lane: it counts as a failed attempt.
            logger.exception("the turn of message %d failed unexpectedly", seq)
            if row is None:
                return None
            return self._failed_attempt(row, ProviderFault("internal", "internal error"), transient=True)

    def _run_row(self, row: InboxRow, stop: StopToken) -> Later | None:
        inbound = row.inbound
        surface = self._surfaces.surface(inbound.address.channel, inbound.address.account)
        if surface is None:
            return Later(TurnTask(self, row.seq), NO_SURFACE_WAIT_S, _gate(inbound))
        if self._too_old(inbound):
            return self._pass_over(row)
        self._store.submit_lazy(functools.partial(inbox.claim, seq=row.seq))
        command = parse_command(inbound.text)
        session = surface.session(inbound)
        if command is not None:
            return self._commit(row, session, Answer(self._obey(command, session)))
        surface.acknowledge(inbound)
        preview = surface.preview(inbound)
        try:
            with surface.typing(inbound.address):
                completion = self._complete(session, inbound.text, stop, preview)
        except ProviderFault as fault:
            if preview is not None:
                preview.abandon()
            return self._provider_failed(row, surface, fault, stop)
        extra = {} if preview is None else dict(preview.finish())
        return self._commit(
            row, session, Answer(completion.text, remembered=True, markup="markdown", extra=extra)
        )

    def _complete(self, session: str, text: str, stop: StopToken, preview: Preview | None) -> Completion:
        config = self._config()
        window = config.memory.sliding_window
        history = self._store.read(
            lambda conn: transcripts.window(conn, transcripts.active_session(conn, session), window)
        )
        provider = self._provider()
        grown: list[str] = []

        def show(piece: str) -> None:
            grown.append(piece)
            assert preview is not None
            preview.update("".join(grown))

        return provider.complete(
            build_call(config, history, text),
            deadline=Deadline(self.limit_s),
            stop=stop,
            on_text=None if preview is None else show,
        )

    def _obey(self, command: ChatCommand, session: str) -> str:
        if command.name == "help":
            return HELP_TEXT
        if command.name == "status":
            return self._status_line()
        if command.name == "stop":
            return "Stopped."
        now_ms = self._clock.wall_ms()
        new = self._store.write(lambda conn: transcripts.start_new(conn, session, now_ms))
        return f"Started a new session for this conversation. Session ID: {new}"

    def _commit(
        self, row: InboxRow, session: str, answer: Answer, *, state: str = "done", error: str = ""
    ) -> Later | None:
        """Store the outcome of a message in one transaction: its row, the transcript and the reply's parts."""
        inbound = row.inbound
        now_ms = self._clock.wall_ms()
        parts = self._parts(row, answer, now_ms)
        at_once = bool(parts) and self._delivery.can_send_now(inbound.address)

        def outcome(conn: Connection) -> bool:
            if not inbox.settle(conn, row.seq, state, error=error):
                return False
            if answer.remembered:
                active = transcripts.active_session(conn, session)
                transcripts.append(conn, active, "user", inbound.text, now_ms)
                transcripts.append(conn, active, "assistant", answer.text, now_ms)
            outbox.add(conn, parts, now_ms=now_ms, first_sending=at_once)
            return True

        if not self._store.write(outcome):
            logger.warning("message %d was settled elsewhere; this answer is not sent", row.seq)
            return None
        self._metrics.add(f"turns:{inbound.address.channel}={inbound.address.account}")
        return Later(DeliveryTask(self._delivery, parts[0].group), 0.0) if parts else None

    def _parts(self, row: InboxRow, answer: Answer, now_ms: int) -> list[Part]:
        inbound = row.inbound
        surface = self._surfaces.surface(inbound.address.channel, inbound.address.account)
        if surface is None:
            return []
        return make_parts(
            surface.spec,
            inbound.address,
            answer.text,
            group=f"reply-{row.seq}",
            expires_ms=now_ms + self._config().delivery.reply_ttl_s * 1000,
            inbox_seq=row.seq,
            reply_to=inbound.message_id,
            markup=answer.markup,
            extra=inbound.extra,
            first_extra=answer.extra,
        )

    def _too_old(self, inbound: Inbound) -> bool:
        settings = self._config().delivery
        if settings.max_inbound_age_policy == "answer" or inbound.sent_ms is None:
            return False
        # Measured from when the platform handed it over: what waited here, in our own queue, is answered however late.
        return inbound.received_ms - inbound.sent_ms > settings.max_inbound_age_s * 1000

    def _pass_over(self, row: InboxRow) -> Later | None:
        settings = self._config().delivery
        address = row.inbound.address
        self._metrics.add(f"skipped_old:{address.channel}={address.account}")
        told = settings.max_inbound_age_policy == "notice" and self._told_old.due(address.lane)
        text = TOO_OLD_TEXT.format(minutes=settings.max_inbound_age_s // 60) if told else ""
        return self._commit(row, "", Answer(text), state="skipped_old")

    def _provider_failed(
        self, row: InboxRow, surface: Surface, fault: ProviderFault, stop: StopToken
    ) -> Later | None:
        address = row.inbound.address
        if stop.is_set() and stop.reason == "stopping":
            self._store.write(lambda conn: inbox.give_back(conn, row.seq, count=False))
            return None
        if stop.is_set() and stop.reason == "user":
            return self._commit(row, "", Answer(""))
        self._metrics.add(f"turns_failed:{fault.kind}:{address.channel}={address.account}")
        logger.warning("turn of message %d in %s failed: %s: %s", row.seq, address.lane, fault.kind, fault)
        return self._failed_attempt(row, fault, transient=fault.kind in TRANSIENT, surface=surface)

    def _failed_attempt(
        self, row: InboxRow, fault: ProviderFault, *, transient: bool, surface: Surface | None = None
    ) -> Later | None:
        settings = self._config().delivery
        text = f"{fault.kind}: {fault}"
        if transient and row.attempts + 1 < settings.max_attempts:
            wait_s = fault.retry_after_s or RETRY_AFTER_S[min(row.attempts, len(RETRY_AFTER_S) - 1)]
            self._store.write(lambda conn: inbox.give_back(conn, row.seq, count=True, error=text))
            return Later(TurnTask(self, row.seq), wait_s)
        shown = settings.failure_text
        if surface is not None and surface.shows_errors:
            shown = f"{fault}. {fault.fix}" if fault.fix else str(fault)
        return self._commit(row, "", Answer(shown), state="failed", error=text)

    def notice_of_failure(self, row: InboxRow) -> DeliveryTask | None:
        """Store the one notice for a message that was given up at start; its row is failed already."""
        parts = self._parts(row, Answer(self._config().delivery.failure_text), self._clock.wall_ms())
        if not parts:
            return None
        now_ms = self._clock.wall_ms()
        self._store.write(lambda conn: outbox.add(conn, parts, now_ms=now_ms, first_sending=False))
        return DeliveryTask(self._delivery, parts[0].group)

    def abandon(self, seq: int) -> None:
        """Give up a message whose turn could not be stopped."""
        self._store.submit(
            lambda conn: inbox.settle(conn, seq, "failed", error="timed_out: the turn did not end")
        )
        self._metrics.add("turns_abandoned")

    def run_request(self, request: TurnRequest, stop: StopToken) -> TurnResult:
        """Answer a question that came over the port; nothing of it is kept if it fails. Blocks."""
        session = session_key(request.session)
        command = parse_command(request.text)
        try:
            if command is not None:
                return TurnResult(self._obey(command, session))
            completion = self._complete(session, request.text, stop, None)
            now_ms = self._clock.wall_ms()

            def remember(conn: Connection) -> None:
                active = transcripts.active_session(conn, session)
                transcripts.append(conn, active, "user", request.text, now_ms)
                transcripts.append(conn, active, "assistant", completion.text, now_ms)

            self._store.write(remember)
        except ProviderFault as fault:
            return TurnResult("", error=str(fault), error_code=fault.kind)
        except StoreUnwritable as fault:
            return TurnResult("", error=str(fault), error_code="store_unwritable")
        return TurnResult(completion.text, usage=_usage(completion))


class TurnTask:
    """A lane's handle on one row of the inbox."""

    def __init__(self, turns: Turns, seq: int) -> None:
        self._turns = turns
        self.seq = seq

    @property
    def limit_s(self) -> float:
        """The turn's own limit."""
        return self._turns.limit_s

    def run(self, stop: StopToken) -> Later | None:
        """Answer the message."""
        return self._turns.run_message(self.seq, stop)

    def abandoned(self) -> None:
        """Mark the message as failed, so that it does not block its conversation again."""
        self._turns.abandon(self.seq)


class RequestTask:
    """A lane's handle on a question from the port, and the place where its asker waits."""

    def __init__(self, turns: Turns, request: TurnRequest) -> None:
        self._turns = turns
        self._request = request
        self._done = threading.Event()
        self._result = TurnResult("", error="the turn did not end in time", error_code="timed_out")
        self.limit_s = request.timeout_s

    def run(self, stop: StopToken) -> None:
        """Answer the question."""
        try:
            self._result = self._turns.run_request(self._request, stop)
        finally:
            self._done.set()

    def abandoned(self) -> None:
        """Tell the asker."""
        self._done.set()

    def refuse(self, reason: str) -> None:
        """Tell the asker that there will be no answer."""
        if not self._done.is_set():
            self._result = TurnResult("", error=reason, error_code="unavailable")
            self._done.set()

    def wait(self, deadline: Deadline) -> TurnResult:
        """Block until there is a result or the deadline has passed."""
        self._done.wait(deadline.remaining())
        return self._result


def _gate(inbound: Inbound) -> str:
    return f"{inbound.address.channel}={inbound.address.account}"


def _usage(completion: Completion) -> dict[str, int] | None:
    usage = completion.usage
    if usage is None:
        return None
    named = {"input": usage.input, "output": usage.output, "total": usage.total}
    return {name: count for name, count in named.items() if count is not None}
