"""Calls of the open platform: one request in, an object or a fault out.

https://open.feishu.cn/document/server-docs/api-call-guide/calling-process/overview
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any, Callable
from urllib.parse import quote, urlencode

from loong_channels.faults import BadAnswer, BadCredentials, Fault, Overloaded, Refused, copied
from loong_channels.files import Form
from loong_channels.net import Call, HttpAnswer, HttpClient
from loong_channels.waiting import Deadline, StopToken

from .answers import TokenRefused, envelope, interpret
from .endpoint import Endpoint, read_endpoint
from .identity import BotIdentity
from .tokens import TokenCache

__all__ = ["BASE_URLS", "Api", "path_of"]

BASE_URLS = {"feishu": "https://open.feishu.cn", "lark": "https://open.larksuite.com"}

_JSON = "application/json; charset=utf-8"
_TOKEN_S = 15.0
_ENDPOINT_S = 15.0
_MAX_TOKEN_S = 7200.0
# Every look at the bot counts against the app's monthly quota.
_IDENTITY_S = 600.0
_NO_IDENTITY_S = 60.0


def path_of(*parts: str) -> str:
    """A path below /open-apis whose parts are percent-encoded, each for itself."""
    return "/open-apis/" + "/".join(quote(part, safe="") for part in parts)


class Api:
    """The calls of one app over one HTTP client. Thread-safe; `_guard` protects what is known of the bot.

    `base_url` holds scheme, host and port. `clock` returns monotonic seconds.
    """

    def __init__(
        self,
        client: HttpClient,
        base_url: str,
        app_id: str,
        app_secret: str,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._root = base_url.rstrip("/")
        self._app_id = app_id
        self._app_secret = app_secret
        self._clock = clock
        self._tokens = TokenCache(self._fetch_token, clock)
        self._guard = threading.Lock()
        self._bot: BotIdentity | None = None
        self._no_bot: Fault | None = None
        self._bot_until = 0.0

    def call(
        self,
        what: str,
        method: str,
        path: str,
        *,
        deadline: Deadline,
        stop: StopToken | None = None,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, object] | Form | None = None,
    ) -> Mapping[str, Any]:
        """Carry out one call under the tenant token and return the answer's object, `data` and all.

        `what` names the call in messages. A token that the platform has revoked is replaced, once. Blocks; raises
        faults.
        """
        for last in (False, True):
            token = self._tokens.get(deadline, stop)
            call = self._authorised(token, method, path, deadline, stop, query=query, body=body)
            answer = self._client.request(call)
            try:
                return self._interpret(what, answer, token)
            except TokenRefused:
                self._tokens.drop(token)
                if last:
                    raise
        raise AssertionError("the last try returns or raises")

    def data(self, what: str, method: str, path: str, **how: Any) -> Mapping[str, Any]:
        """As `call`, but returns the object under `data`; an empty one where there is none."""
        data = self.call(what, method, path, **how).get("data")
        return data if isinstance(data, dict) else {}

    def download(
        self,
        what: str,
        path: str,
        *,
        query: Mapping[str, str],
        max_bytes: int,
        deadline: Deadline,
        stop: StopToken | None = None,
    ) -> HttpAnswer:
        """Fetch something that is no object. Blocks; raises faults, Refused (too_large) beyond `max_bytes`."""
        for last in (False, True):
            token = self._tokens.get(deadline, stop)
            call = self._authorised(token, "GET", path, deadline, stop, query=query, body=None)
            with self._client.stream(call) as stream:
                answer = HttpAnswer(stream.status, stream.headers, stream.read_file(max_bytes))
            if answer.status == 200 and not _is_envelope(answer):
                return answer
            try:
                self._interpret(what, answer, token)
            except TokenRefused:
                self._tokens.drop(token)
                if last:
                    raise
            else:
                raise BadAnswer(f"{what}: an answer without the file")
        raise AssertionError("the last try returns or raises")

    def bot(self, *, deadline: Deadline, stop: StopToken | None = None) -> BotIdentity:
        """Who the app's bot is. What was learned is kept for ten minutes, a refusal for one.

        https://open.feishu.cn/document/client-docs/bot-v3/obtain-bot-info - `bot` stands beside `code`.
        Blocks; raises faults.
        """
        with self._guard:
            if self._clock() < self._bot_until:
                if self._bot is not None:
                    return self._bot
                if self._no_bot is not None:
                    raise copied(self._no_bot)
        return self._ask_bot(deadline, stop)

    def probe(self, *, deadline: Deadline) -> BotIdentity:
        """As `bot`, but the platform is asked in any case, for the token as well. Blocks; raises faults."""
        self._tokens.renew(deadline, None)
        return self._ask_bot(deadline, None)

    def _ask_bot(self, deadline: Deadline, stop: StopToken | None) -> BotIdentity:
        try:
            body = self.call("bot info", "GET", path_of("bot", "v3", "info"), deadline=deadline, stop=stop)
        except (Refused, BadCredentials) as fault:
            self._remember_bot(None, fault, _NO_IDENTITY_S)
            raise
        found = body.get("bot")
        if not isinstance(found, dict):
            raise BadAnswer("bot info: the answer names no bot")
        bot = BotIdentity(str(found.get("open_id") or ""), str(found.get("app_name") or ""))
        self._remember_bot(bot, None, _IDENTITY_S)
        return bot

    def endpoint(self, deadline: Deadline, stop: StopToken | None = None) -> Endpoint:
        """Where the next long connection goes; good for one. Blocks for at most 15 s; raises faults."""
        call = Call(
            "POST",
            f"{self._root}/callback/ws/endpoint",
            deadline.within(_ENDPOINT_S),
            headers={"locale": "zh"},
            json={"AppID": self._app_id, "AppSecret": self._app_secret},
            stop=stop,
        )
        answer = self._client.request(call)
        body = envelope(answer)
        if body is None or (body["code"] == 0 and answer.status != 200):
            interpret("the endpoint request", answer, self._secrets())
            raise Overloaded(f"the endpoint request: HTTP {answer.status}")
        return read_endpoint({**body, "msg": _without(body.get("msg"), self._secrets())})

    def interrupt(self) -> None:
        """End everything that is under way, for good."""
        self._client.interrupt()

    def _authorised(
        self,
        token: str,
        method: str,
        path: str,
        deadline: Deadline,
        stop: StopToken | None,
        *,
        query: Mapping[str, str] | None,
        body: Mapping[str, object] | Form | None,
    ) -> Call:
        url = f"{self._root}{path}?{urlencode(query)}" if query else f"{self._root}{path}"
        headers = {"Authorization": f"Bearer {token}"}
        if isinstance(body, Form):
            headers["Content-Type"] = body.content_type
            return Call(method, url, deadline, headers=headers, body=body.body, stop=stop)
        if body is not None:
            headers["Content-Type"] = _JSON
        return Call(method, url, deadline, headers=headers, json=body, stop=stop)

    def _interpret(self, what: str, answer: HttpAnswer, token: str) -> Mapping[str, Any]:
        return interpret(what, answer, (*self._secrets(), token))

    def _secrets(self) -> tuple[str, ...]:
        return (self._app_secret, *self._tokens.known())

    def _fetch_token(self, deadline: Deadline, stop: StopToken | None) -> tuple[str, float]:
        """https://open.feishu.cn/document/server-docs/authentication-management/access-token/
        tenant_access_token_internal - the token stands beside `code`; `expire` is what is left of it, in seconds."""
        call = Call(
            "POST",
            self._root + path_of("auth", "v3", "tenant_access_token", "internal"),
            deadline.within(_TOKEN_S),
            json={"app_id": self._app_id, "app_secret": self._app_secret},
            stop=stop,
        )
        body = interpret("token", self._client.request(call), (self._app_secret,))
        token, expire = body.get("tenant_access_token"), body.get("expire")
        if not isinstance(token, str) or not token or not token.isascii() or not token.isprintable():
            raise BadAnswer("token: the answer holds none")
        if isinstance(expire, bool) or not isinstance(expire, int) or expire <= 0:
            raise BadAnswer("token: the answer does not say how long it is good for")
        return token, min(float(expire), _MAX_TOKEN_S)

    def _remember_bot(self, bot: BotIdentity | None, fault: Fault | None, seconds: float) -> None:
        with self._guard:
            self._bot, self._no_bot = bot, fault
            self._bot_until = self._clock() + seconds


def _is_envelope(answer: HttpAnswer) -> bool:
    """Whether an answer is the platform's own object and not a file that happens to be JSON."""
    return "content-disposition" not in answer.headers and envelope(answer) is not None


def _without(text: object, hide: tuple[str, ...]) -> str:
    words = text if isinstance(text, str) else ""
    for value in hide:
        words = words.replace(value, "***")
    return words
