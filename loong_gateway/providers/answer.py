"""What all protocols share in reading: a draft that grows into a completion, and the reader of a stream. No socket."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Callable, Protocol

from loong_gateway.providers.contract import Completion, ToolCall, Usage
from loong_gateway.providers.errors import AttemptFailed, Failure, classify_answer, shape_failure
from loong_gateway.providers.sse import SseDecoder, SseEvent

__all__ = [
    "AnswerStream",
    "Decoder",
    "Draft",
    "ToolCalls",
    "count_of",
    "parse_json",
    "read_usage",
    "read_whole",
]

END_MARK = "[DONE]"
MAX_TOOL_CALLS = 128
# What any program reads as a whole number.
MOST_TOKENS = (1 << 53) - 1
_USAGE_NAMES = (
    ("prompt_tokens", "input_tokens", "prompt_eval_count"),
    ("completion_tokens", "output_tokens", "eval_count"),
    ("total_tokens",),
)
# Where the parts of the counts stand: the members to go through and the name in the last one.
_CACHED = (("prompt_tokens_details", "input_tokens_details"), "cached_tokens")
_REASONING = (("completion_tokens_details", "output_tokens_details"), "reasoning_tokens")
# An error inside an answer of status 200, by its type: the status that the service would have given it.
_STATUSES = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "validationexception": 400,
    "throttlingexception": 429,
}


class ToolCalls:
    """Puts calls of tools together from whole ones or from fragments. `key` tells the calls apart."""

    def __init__(self) -> None:
        self._parts: dict[int, tuple[str, list[str], list[str]]] = {}

    def add(
        self, key: int | None, *, named: object = None, name: object = None, arguments: object = None
    ) -> None:
        """Take a call or a piece of one; `key` None starts a new one with an id or a name, else goes on with the last.

        Raises AttemptFailed when there are too many.
        """
        if key is None:
            key = max(self._parts, default=-1)
            if key < 0 or (isinstance(named, str) and named) or (isinstance(name, str) and name):
                key += 1
        if key not in self._parts and len(self._parts) >= MAX_TOOL_CALLS:
            raise AttemptFailed(shape_failure("it asks for too many calls of tools"))
        known, names, texts = self._parts.setdefault(key, ("", [], []))
        if isinstance(named, str):
            self._parts[key] = (known or named, names, texts)
        if isinstance(name, str):
            names.append(name)
        if isinstance(arguments, str):
            texts.append(arguments)

    def whole(self) -> tuple[ToolCall, ...]:
        """The calls that name a function, in order."""
        return tuple(
            ToolCall(named or f"call_{key}", "".join(names), "".join(texts))
            for key, (named, names, texts) in sorted(self._parts.items())
            if "".join(names)
        )


class Draft:
    """What has come of an answer so far. Not thread-safe.

    `finish` is why the model stopped, None before: "length" and "content_filter" matter, all others are equal.
    `refusal` is what the model said in place of an answer. `counted` are counts of tokens of which `usage` is made
    where they come in parts. `done` says that nothing can follow.
    """

    def __init__(self, model: str, hide: Iterable[str]) -> None:
        self.model = model
        self._hide = tuple(hide)
        self.text: list[str] = []
        self.refusal: list[str] = []
        self.calls = ToolCalls()
        self.counted: dict[str, Any] = {}
        self.usage: Usage | None = None
        self.finish: str | None = None
        self.done = False

    def named(self, model: object) -> None:
        """Note the name under which the service answers, where it says one."""
        if isinstance(model, str) and model:
            self.model = model

    def say(self, text: object) -> None:
        """Add to the text; what is none is left out."""
        if isinstance(text, str) and text:
            self.text.append(text)

    def check_error(self, document: dict[str, Any]) -> None:
        """A status of 200 with an error inside is an error; its own code tells which, else it is the server's.

        Raises AttemptFailed.
        """
        error = document.get("error")
        if not error:
            return
        code = error.get("code") if isinstance(error, dict) else None
        name = (code or error.get("type")) if isinstance(error, dict) else None
        status = _STATUSES.get(str(name).lower(), 500)
        if isinstance(code, int) and 400 <= code < 600:
            status = code
        body = json.dumps(document).encode()
        raise AttemptFailed(classify_answer(status, {}, body, hide=self._hide))

    def completion(self) -> Completion:
        """The answer. Raises AttemptFailed when it was filtered or nothing is in it."""
        text = "".join(self.text) or "".join(self.refusal)
        calls = self.calls.whole()
        if self.finish == "content_filter":
            raise AttemptFailed(Failure("request_rejected", "provider.content_filter"))
        if not text.strip() and not calls:
            reason = "the reply is empty"
            if self.finish == "length":
                reason = "the token limit was used up before the reply began"
            raise AttemptFailed(shape_failure(reason))
        return Completion(text, self.model, self.usage, truncated=self.finish == "length", tool_calls=calls)


class Decoder(Protocol):
    """Bytes in, events out. Raises ValueError for broken bytes and for more than any model would write."""

    def feed(self, chunk: bytes) -> list[SseEvent]:
        """Take the next bytes; returns the events they complete."""

    def finish(self) -> list[SseEvent]:
        """The stream has ended; returns what was still open."""


class AnswerStream:
    """Assembles one streamed answer. Not thread-safe. `take` adds one event, a JSON object, to the draft.

    `mark_ends`: the end mark alone makes an answer whole, without a reason why the model stopped.
    """

    def __init__(
        self,
        take: Callable[[Draft, dict[str, Any]], None],
        *,
        model: str,
        hide: Iterable[str],
        decoder: Decoder | None = None,
        mark_ends: bool = False,
    ) -> None:
        self._take_one = take
        self._decoder = decoder or SseDecoder()
        self._mark_ends = mark_ends
        self._draft = Draft(model, hide)

    @property
    def done(self) -> bool:
        """True once the stream said that nothing follows."""
        return self._draft.done

    @property
    def finished(self) -> bool:
        """True once the model said why it stopped."""
        return self._draft.finish is not None

    def feed(self, chunk: bytes) -> list[str]:
        """Take bytes of the body; returns the pieces of text in them. Raises AttemptFailed."""
        try:
            events = self._decoder.feed(chunk)
        except ValueError as error:
            raise AttemptFailed(shape_failure(str(error), decode=True)) from None
        return self._take(events)

    def finish(self) -> tuple[list[str], Completion]:
        """The body has ended, or `done` is True; returns the last pieces and the whole. Raises AttemptFailed."""
        draft = self._draft
        last = [] if draft.done else self._take(self._decoder.finish())
        # Without the end marker only a finish reason tells an answer from a connection that broke.
        if draft.finish is None and not (draft.done and self._mark_ends):
            raise AttemptFailed(_broken("the stream ended early", started=bool(draft.text)))
        return last, draft.completion()

    def _take(self, events: list[SseEvent]) -> list[str]:
        draft = self._draft
        before = len(draft.text)
        for event in events:
            if draft.done:
                break
            if event.data.strip() == END_MARK:
                draft.done = True
                break
            document = _parse_object(event.data.encode("utf-8", "replace"))
            if "error" in (event.name, document.get("type")) and "error" not in document:
                document = {"error": document}
            draft.check_error(document)
            self._take_one(draft, document)
        return draft.text[before:]


def read_whole(
    body: bytes, take: Callable[[Draft, dict[str, Any]], None], *, model: str, hide: Iterable[str]
) -> Completion:
    """The completion in a whole answer of status 200. Raises AttemptFailed."""
    document = _parse_object(body)
    draft = Draft(model, hide)
    draft.check_error(document)
    take(draft, document)
    return draft.completion()


def read_usage(value: object) -> Usage | None:
    """Token counts under any of the names in use; None when there are none. Nonsense is left out."""
    if not isinstance(value, dict):
        return None
    asked, said, total = (_first(value, names) for names in _USAGE_NAMES)
    if total is None and asked is not None and said is not None:
        total = asked + said
    if asked is said is total is None:
        return None
    return Usage(asked, said, total, _detail(value, *_CACHED), _detail(value, *_REASONING))


def _first(usage: dict[str, Any], names: tuple[str, ...]) -> int | None:
    for name in names:
        count = count_of(usage, name)
        if count is not None:
            return count
    return None


def _detail(usage: dict[str, Any], places: tuple[str, ...], name: str) -> int | None:
    for place in places:
        count = count_of(usage[place], name) if place in usage else None
        if count is not None:
            return count
    return None


def count_of(value: object, name: str) -> int | None:
    """A count of tokens in an object, None where there is none that makes sense."""
    count = value.get(name) if isinstance(value, dict) else None
    good = isinstance(count, int) and not isinstance(count, bool) and 0 <= count <= MOST_TOKENS
    return count if good else None


def parse_json(body: bytes) -> Any:
    """The JSON value in a body. Raises AttemptFailed."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise AttemptFailed(shape_failure("the answer is not JSON", decode=True)) from None


def _parse_object(body: bytes) -> dict[str, Any]:
    document = parse_json(body)
    if not isinstance(document, dict):
        raise AttemptFailed(shape_failure("the answer is not a JSON object"))
    return document


def _broken(detail: str, *, started: bool) -> Failure:
    if started:
        return Failure("transport_failure", "provider.broken_stream", detail)
    return Failure("transport_failure", "provider.transport", detail, retry="once", next_model=True)
