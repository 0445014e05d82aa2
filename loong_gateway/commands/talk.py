"""One conversation of this terminal: through the running gateway, or in this process when none runs."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Callable, Protocol

from loong_channels.waiting import Deadline, StopToken
from loong_gateway.base.faults import CommandError, StoreUnwritable
from loong_gateway.base.metrics import Metrics
from loong_gateway.commands.approval_watch import ApprovalWatch
from loong_gateway.commands.common import Context
from loong_gateway.commands.config_access import load_config, provider_error
from loong_gateway.commands.through_gateway import change
from loong_gateway.commands.turn_stream import stream_turn
from loong_gateway.config.secrets import resolve
from loong_gateway.config.snapshot import Config
from loong_gateway.messaging.chat_commands import NEW_SESSION_TEXT
from loong_gateway.messaging.conversation import Question, build_call
from loong_gateway.messaging.memory import Past, recall, spent_on, summarize
from loong_gateway.messaging.sessions import session_key, session_keys
from loong_gateway.owner.client import ControlClient
from loong_gateway.providers.contract import Provider, ProviderFault
from loong_gateway.providers.profiles_in_use import ProfilesInUse
from loong_gateway.storage import transcripts, usage
from loong_gateway.storage.connection import Connection
from loong_gateway.storage.local import LocalStore
from loong_gateway.storage.usage import Spent

__all__ = ["LATEST", "Reply", "Talk", "open_talk"]

LATEST = "latest"
TURN_MARGIN_S = 10.0
# The gateway gives the model a minute.
COMPACT_S = 90.0
KEEP_S = 1.0
NEW = "/new"

Write = Callable[[str], None]


class Reply:
    """An answer. `usage` counts tokens, None where the provider did not say; `model` is "" when it is not known."""

    def __init__(self, text: str, model: str = "", usage: dict[str, int] | None = None) -> None:
        self.text = text
        self.model = model
        self.usage = usage


class Talk(Protocol):
    """A conversation. Used from one thread.

    `session` is its stored key, and may be set to go on in another one. `model` is "PROFILE" or "PROFILE:MODEL" for who
    is asked instead of the active provider, "" for that one.
    """

    session: str
    model: str

    def ask(self, text: str, on_text: Write | None = None) -> Reply:
        """Answer `text`. `on_text` gets the answer as it grows, where that is possible. Raises CommandError."""

    def start_new(self) -> str:
        """Begin a fresh session; returns a sentence for the person."""

    def history(self) -> list[tuple[str, str]]:
        """(role, text) of what the model would be shown, oldest first; `before` is what a summary tells."""

    def compact(self) -> bool:
        """Have the model squeeze all that was said; False when there was nothing new. Raises CommandError."""

    def describe(self) -> str:
        """One line: who answers, and how."""


def open_talk(context: Context, session: str, *, wants_agent: bool = False) -> Talk:
    """The conversation called `session`: a name, a stored key, another spelling of one, or `latest`.

    An outside agent answers in place of the model when that is wanted; only a running gateway has any.
    """
    config = load_config(context)
    client = ControlClient(context.places)
    if client.available():
        return _OwnerTalk(context, config, client, session, wants_agent=wants_agent)
    if wants_agent:
        raise CommandError("acp.needs_gateway")
    return _LocalTalk(context, config, session)


class _OwnerTalk:
    """Every turn is run by the owner, in the lane of its session."""

    def __init__(
        self, context: Context, config: Config, client: ControlClient, session: str, *, wants_agent: bool
    ) -> None:
        self._context = context
        self._wants_agent = wants_agent
        self._timeout_s = config.turn_timeout_s
        self._memory = config.memory
        self._client = client
        self.session = _resolve(LocalStore(context.places), session)
        self.model = ""

    def ask(self, text: str, on_text: Write | None = None) -> Reply:
        """See Talk."""
        body: dict[str, object] = {
            "session_id": self.session,
            "input": text,
            "timeout_ms": int(self._timeout_s * 1000),
        }
        if self.model:
            body["model"] = self.model
        if self._wants_agent:
            body["acp"] = True
        self._client.check()
        timeout_s = self._timeout_s + TURN_MARGIN_S
        answer: Mapping[str, object]
        with ApprovalWatch(self._context, self.session):
            if on_text is None:
                answer = self._client.post("/v1/turn", body, timeout_s=timeout_s)
            else:
                answer = stream_turn(self._client, body, on_text, timeout_s=timeout_s)
        reply = str(answer.get("output_text") or "")
        usage = answer.get("usage")
        return Reply(reply, usage=usage if isinstance(usage, dict) else None)

    def start_new(self) -> str:
        """See Talk."""
        return self.ask(NEW).text

    def history(self) -> list[tuple[str, str]]:
        """See Talk."""
        found = LocalStore(self._context.places).read(lambda conn: recall(conn, self.session, self._memory))
        return _shown(found)

    def compact(self) -> bool:
        """See Talk."""
        params = {"key": self.session}
        answer = change(self._context, "sessions.compact", params, lambda _: {}, timeout_s=COMPACT_S)
        return isinstance(answer, dict) and answer.get("compacted") is True

    def describe(self) -> str:
        """See Talk."""
        return f"answered by the running gateway{f', model {self.model}' if self.model else ''}"


class _LocalTalk:
    """Every turn is run here; the store is only held for the moments of reading and writing."""

    def __init__(self, context: Context, config: Config, session: str) -> None:
        self._context = context
        self._config = config
        # The person waits for an answer that is already there while this waits for the lock.
        self._store = LocalStore(context.places, lock_s=KEEP_S)
        self._profiles = ProfilesInUse(
            lambda: config,
            environ=context.environ,
            resolve_secret=functools.partial(resolve, environ=context.environ),
            metrics=Metrics(),
        )
        self.session = _resolve(self._store, session)
        self.model = ""

    def ask(self, text: str, on_text: Write | None = None) -> Reply:
        """See Talk."""
        past = self._remembered()
        _, _, model = self.model.partition(":")
        call = build_call(self._config, past.history, Question(text, model=model or None), before=past.before)
        provider = self._open()
        try:
            completion = provider.complete(
                call, deadline=Deadline(self._config.turn_timeout_s), stop=StopToken(), on_text=on_text
            )
        except ProviderFault as fault:
            raise provider_error(self._context, fault) from fault
        self._keep(text, completion.text, spent_on(completion, provider.profile, self.session))
        usage = None if completion.usage is None else completion.usage.counts() or None
        return Reply(completion.text, completion.model, usage)

    def start_new(self) -> str:
        """See Talk."""
        now_ms = self._context.clock.wall_ms()
        session = self._store.write(lambda conn: transcripts.start_new(conn, self.session, now_ms))
        return NEW_SESSION_TEXT.format(session=session)

    def history(self) -> list[tuple[str, str]]:
        """See Talk."""
        found = self._store.read(lambda conn: recall(conn, self.session, self._config.memory))
        return _shown(found)

    def compact(self) -> bool:
        """See Talk."""
        try:
            made = summarize(
                self._store,
                self.session,
                config=self._config,
                provider=self._open(),
                now_ms=self._context.clock.wall_ms(),
                stop=StopToken(),
                whole=True,
            )
        except ProviderFault as fault:
            raise provider_error(self._context, fault) from fault
        return made is not None

    def describe(self) -> str:
        """See Talk."""
        try:
            provider = self._open()
        except CommandError as error:
            return error.message
        model = self.model.partition(":")[2] or provider.model
        return f"answered in this process by {provider.kind}, model {model}; no gateway is running"

    def _open(self) -> Provider:
        try:
            return self._profiles.provider(self.model.partition(":")[0] or None)
        except ProviderFault as fault:
            raise provider_error(self._context, fault) from fault

    def _remembered(self) -> Past:
        try:
            found = self._store.read(lambda conn: recall(conn, self.session, self._config.memory))
        except (CommandError, StoreUnwritable) as error:
            if not self._config.memory.fail_open:
                raise
            # An answer without the past is worth more than none.
            self._context.err(f"warning: what was said before cannot be read: {error}")
            found = None
        return found or Past("", [])

    def _keep(self, question: str, answer: str, spent: Spent) -> None:
        now_ms = self._context.clock.wall_ms()

        def keep(conn: Connection) -> None:
            transcripts.remember(conn, self.session, question, answer, now_ms)
            usage.add(conn, spent, now_ms)

        try:
            self._store.write(keep)
        except (CommandError, StoreUnwritable) as error:
            # The answer is there and must be shown; only the memory of it is lost.
            self._context.err(f"warning: this turn could not be kept: {error}")


def _shown(past: Past | None) -> list[tuple[str, str]]:
    if past is None:
        return []
    return [("before", past.before), *past.history] if past.before else past.history


def _resolve(store: LocalStore, given: str) -> str:
    """The stored key that a person means; a spelling that fits several goes to the one that exists."""
    if given.strip() == LATEST:
        found = store.read(lambda conn: transcripts.routes(conn, 1))
        if not found:
            raise CommandError("talk.no_latest")
        return found[0].route
    keys = session_keys(given)
    if len(keys) == 1:
        return keys[0]
    known = store.read(lambda conn: [key for key in keys if transcripts.is_known(conn, key)])
    return known[0] if known else session_key(given)
