"""Hooks: a program elsewhere starts a run, or tells the main session something, with a token of its own."""

from __future__ import annotations

import hashlib
import math
import uuid
from collections.abc import Mapping
from typing import Callable

from loong_channels.waiting import StopToken
from loong_gateway.base.clock import wall_ms
from loong_gateway.base.faults import CommandError, StoreUnwritable
from loong_gateway.config.selectors import account_for
from loong_gateway.config.snapshot import Config, HookSettings
from loong_gateway.control import ControlPlane
from loong_gateway.control.runs import ReplyTarget, RunRefused, RunRequest
from loong_gateway.providers.contract import CallOptions

from .answers import Answer, error_answer, json_answer
from .auth import Auth, bearer
from .fields import (
    BadFields,
    bounded_number,
    json_object,
    optional_text,
    required_text,
)
from .http_request import RequestHead
from .peers import Peer
from .query import names_credential
from .router import ANY_METHOD, Request, Route
from .tools_routes import AGENTS
from .wakes import WAKE_MODES, wake

__all__ = ["hook_auth", "hook_routes"]

BODY_BYTES = 256 * 1024
LONGEST_TEXT = BODY_BYTES
FAILURES = 20
WINDOW_S = 60.0
# How long a repeated key surely means the same run; it may be up to twice that.
SAME_RUN_MS = 300_000
LONGEST_RUN_S = 3600.0
LONGEST_KEY = 256
MAIN = "main"
RETRY_S = "5"
TOKEN_FIELDS = ("x-loong-token", "x-openclaw-token")
IN_THE_QUERY = (
    "Hook token must be provided via Authorization: Bearer <token> or X-Loong-Token header "
    "(query parameters are not allowed)."
)
THINKING = ("off", "minimal", "low", "medium", "high", "xhigh")


def hook_auth(token: str) -> Auth:
    """The judge of hook tokens: 20 wrong ones of a peer within a minute shut it out for a minute, this host as well."""
    return Auth(
        secret=token,
        control_token="",
        attempts=FAILURES,
        window_s=WINDOW_S,
        lockout_s=WINDOW_S,
        exempt_loopback=False,
    )


def hook_routes(
    control: ControlPlane,
    settings: HookSettings,
    auth: Auth,
    *,
    now_ms: Callable[[], int] = wall_ms,
) -> list[Route]:
    """Everything below `settings.path`. `auth` is that of `hook_auth`; `now_ms` is the wall clock."""
    hooks = _Hooks(control, now_ms)
    served = {"wake": hooks.wake, "agent": hooks.agent}

    def authorize(head: RequestHead, peer: Peer, stop: StopToken) -> Answer | None:
        if names_credential(head.query):
            return _text(400, IN_THE_QUERY)
        if head.method != "POST":
            return _text(405, "Method Not Allowed", Allow="POST")
        verdict = auth.judge(_credential(head), peer, stop=stop)
        if verdict.outcome == "locked":
            return _text(429, "Too Many Requests", Retry_After=str(max(1, math.ceil(verdict.retry_after_s))))
        if verdict.outcome != "ok":
            return _text(401, "Unauthorized", WWW_Authenticate="Bearer")
        return None if head.path[len(settings.path) + 1 :] in served else _text(404, "Not Found")

    def serve(request: Request) -> Answer:
        try:
            return served[request.tail](json_object(request.body), request.head)
        except BadFields as error:
            return _failed(400, str(error))
        except RunRefused as error:
            return _failed(400 if error.code == "unknown_profile" else 503, str(error))
        except StoreUnwritable:
            return _failed(503, "the gateway cannot write its store; nothing was taken, try again later")

    return [
        Route(
            ANY_METHOD,
            settings.path,
            serve,
            access="own",
            shape="text",
            body_bytes=BODY_BYTES,
            is_prefix=True,
            authorize=authorize,
        )
    ]


class _Hooks:
    """Each method answers one hook once what it asks for is on disk."""

    def __init__(self, control: ControlPlane, now_ms: Callable[[], int]) -> None:
        self._control = control
        self._now_ms = now_ms

    def wake(self, document: Mapping[str, object], _head: RequestHead) -> Answer:
        text = _required(document, "text")
        mode = _choice(document, "mode", WAKE_MODES)
        _check_agent(document)
        session = self._named_session(document) or self._session(MAIN)
        run_id = wake(self._control, mode, text, session, origin="hook")
        if run_id is None:
            return json_answer(200, {"ok": True, "mode": mode, "eventOutcome": "kept"})
        return json_answer(200, {"ok": True, "mode": mode, "eventOutcome": "started", "runId": run_id})

    def agent(self, document: Mapping[str, object], head: RequestHead) -> Answer:
        config = self._control.config()
        message = _required(document, "message")
        _check_agent(document)
        _choice(document, "wakeMode", WAKE_MODES)
        session = self._run_session(document)
        profile, model = _model(config, optional_text(document, "model"))
        thinking = optional_text(document, "thinking")
        if thinking is not None and thinking not in THINKING:
            raise BadFields(f"thinking: must be one of {', '.join(THINKING)}")
        deliver = _target(config, document)
        timeout_s = bounded_number(
            document, "timeoutSeconds", default=config.turn_timeout_s, minimum=1, maximum=LONGEST_RUN_S
        )
        run_id, is_known = self._run_id(document, head)
        if not is_known:
            self._control.runs.start(
                RunRequest(
                    run_id,
                    message,
                    session=session,
                    profile=profile,
                    model=model,
                    options=CallOptions(reasoning_effort="none" if thinking == "off" else thinking),
                    timeout_s=timeout_s,
                    durable=True,
                    deliver=deliver,
                    label=optional_text(document, "name") or "hook",
                    origin="hook",
                )
            )
        return json_answer(200, {"ok": True, "runId": run_id})

    def _run_session(self, document: Mapping[str, object]) -> str | None:
        mode = _choice(document, "sessionMode", ("isolated", "persistent"), default="")
        named = self._named_session(document)
        if mode == "isolated":
            if named is not None:
                raise BadFields("sessionKey: an isolated run has no session")
            return None
        if named is not None:
            return named
        usual = self._control.config().hooks.default_session_key
        if usual is None:
            return self._session(MAIN) if mode == "persistent" else None
        return self._session(usual)

    def _named_session(self, document: Mapping[str, object]) -> str | None:
        given = optional_text(document, "sessionKey")
        if not given:
            return None
        if not self._control.config().hooks.allow_request_session_key:
            raise BadFields("sessionKey: is not accepted here; hooks.allowRequestSessionKey allows it")
        return self._session(given)

    def _session(self, given: str) -> str:
        key = self._control.sessions.resolve(given)
        if key is None:
            raise BadFields("sessionKey: is of another agent")
        return key

    def _run_id(self, document: Mapping[str, object], head: RequestHead) -> tuple[str, bool]:
        """The id for a new run, or that of the run which this key has started before, and which of the two it is.

        Ids are made of the key and the time, so that a key is known again after a restart, without a table.
        """
        key = optional_text(document, "idempotencyKey", longest=LONGEST_KEY) or head.get("idempotency-key")
        if not key:
            return str(uuid.uuid4()), False
        if len(key) > LONGEST_KEY:
            raise BadFields(f"Idempotency-Key: must have at most {LONGEST_KEY} characters")
        window = self._now_ms() // SAME_RUN_MS
        before, now = (_id_of(key, number) for number in (window - 1, window))
        forget = self._control.runs.watch(before, lambda _: None)
        if forget is None:
            # A second request with this key at the same moment is told apart by whoever admits runs.
            return now, False
        forget()
        return before, True


def _id_of(key: str, window: int) -> str:
    return str(uuid.UUID(bytes=hashlib.sha256(f"{window}:{key}".encode()).digest()[:16], version=4))


def _credential(head: RequestHead) -> bytes | None:
    """The token, from whichever field has it; None when there is none, or when two fields disagree."""
    given = {bearer(head.get("authorization"))}
    given |= {value.encode("latin-1") for name, value in head.fields if name in TOKEN_FIELDS}
    given.discard(None)
    return given.pop() if len(given) == 1 else None


def _required(document: Mapping[str, object], name: str) -> str:
    if not document.get(name):
        raise BadFields(f"{name} required")
    return required_text(document, name, longest=LONGEST_TEXT)


def _choice(
    document: Mapping[str, object], name: str, choices: tuple[str, ...], *, default: str = "now"
) -> str:
    value = optional_text(document, name)
    if value is not None and value not in choices:
        raise BadFields(f"{name}: must be one of {', '.join(choices)}")
    return value or default


def _check_agent(document: Mapping[str, object]) -> None:
    if optional_text(document, "agentId") not in AGENTS:
        raise BadFields("agentId: there is one agent, main")


def _model(config: Config, given: str | None) -> tuple[str | None, str | None]:
    """(profile, model) of `MODEL` or `PROFILE:MODEL`."""
    profile, colon, model = (given or "").partition(":")
    if colon and model and profile in config.providers:
        return profile, model
    return None, given or None


def _target(config: Config, document: Mapping[str, object]) -> ReplyTarget | None:
    channel, to = optional_text(document, "channel"), optional_text(document, "to")
    account = optional_text(document, "accountId")
    deliver = document.get("deliver")
    if deliver is not None and not isinstance(deliver, bool):
        raise BadFields("deliver: must be true or false")
    if not channel and not to:
        if deliver:
            raise BadFields("deliver: needs channel and to")
        return None
    if not channel or not to:
        raise BadFields("channel and to: one is of no use without the other")
    try:
        found = account_for(config, channel, account)
    except CommandError as error:
        # Whose message names files of this host, which is nothing for who calls a hook.
        raise BadFields("channel: this gateway has no such account") from error
    return None if deliver is False else ReplyTarget(found.channel, found.id, to)


def _text(status: int, message: str, **fields: str) -> Answer:
    plain = error_answer(status, "", message, shape="text")
    named = tuple((name.replace("_", "-"), value) for name, value in fields.items())
    return Answer(status, plain.body, plain.content_type, named)


def _failed(status: int, message: str) -> Answer:
    answer = json_answer(status, {"ok": False, "error": message})
    return Answer(status, answer.body, headers=(("Retry-After", RETRY_S),)) if status == 503 else answer
