"""Reads chat completions answers, whole or streamed, in the variants that servers of this shape send. No socket."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from loong_gateway.providers.contract import Completion, ToolCall, Usage
from loong_gateway.providers.errors import AttemptFailed, Failure, classify_answer, shape_failure
from loong_gateway.providers.sse import SseDecoder, SseEvent, SseOversize

__all__ = ["ChatStream", "parse_json", "read_completion", "read_usage"]

END_MARK = "[DONE]"
MAX_TOOL_CALLS = 128
# What any program reads as a whole number.
MOST_TOKENS = (1 << 53) - 1
_USAGE_NAMES = (
    ("prompt_tokens", "input_tokens", "prompt_eval_count"),
    ("completion_tokens", "output_tokens", "eval_count"),
    ("total_tokens",),
)


def read_completion(body: bytes, *, model: str, hide: Iterable[str]) -> Completion:
    """The completion in a whole answer of status 200. Raises AttemptFailed."""
    document = _parse_object(body)
    _raise_error_member(document, body, hide)
    choice = _first_choice(document)
    if choice is None:
        raise AttemptFailed(shape_failure("it holds no choices"))
    message = choice.get("message")
    message = message if isinstance(message, dict) else {}
    text = _text_of(message.get("content")) or _text_of(message.get("refusal"))
    finish = choice.get("finish_reason")
    calls = _ToolCalls()
    calls.take(message.get("tool_calls"))
    _check_end(text, finish, calls.whole())
    named = document.get("model")
    return Completion(
        text,
        named if isinstance(named, str) and named else model,
        read_usage(document.get("usage")),
        truncated=finish == "length",
        tool_calls=calls.whole(),
    )


class ChatStream:
    """Assembles one streamed answer. Not thread-safe. `done` is True once the end marker was seen."""

    def __init__(self, *, model: str, hide: Iterable[str]) -> None:
        self.done = False
        self._model = model
        self._hide = tuple(hide)
        self._decoder = SseDecoder()
        self._pieces: list[str] = []
        self._refusal: list[str] = []
        self._calls = _ToolCalls()
        self._usage: Usage | None = None
        self._finish: object = None

    @property
    def started(self) -> bool:
        """True once there was text."""
        return bool(self._pieces)

    @property
    def finished(self) -> bool:
        """True once the model said why it stopped."""
        return self._finish is not None

    def feed(self, chunk: bytes) -> list[str]:
        """Take bytes of the body; returns the pieces of text in them. Raises AttemptFailed."""
        try:
            return self._take(self._decoder.feed(chunk))
        except SseOversize as error:
            raise AttemptFailed(shape_failure(str(error), decode=True)) from None

    def finish(self) -> tuple[list[str], Completion]:
        """The body has ended, or `done` is True; returns the last pieces and the whole. Raises AttemptFailed."""
        last = [] if self.done else self._take(self._decoder.finish())
        # Without the end marker only a finish reason tells an answer from a connection that broke.
        if not self.done and self._finish is None:
            raise AttemptFailed(_broken("the stream ended early", started=self.started))
        text = "".join(self._pieces) or "".join(self._refusal)
        calls = self._calls.whole()
        _check_end(text, self._finish, calls)
        return last, Completion(
            text, self._model, self._usage, truncated=self._finish == "length", tool_calls=calls
        )

    def _take(self, events: list[SseEvent]) -> list[str]:
        pieces: list[str] = []
        for event in events:
            if self.done:
                break
            if event.data.strip() == END_MARK:
                self.done = True
                break
            document = _parse_object(event.data.encode("utf-8", "replace"))
            if event.name == "error" and "error" not in document:
                document = {"error": document}
            _raise_error_member(document, event.data.encode("utf-8", "replace"), self._hide)
            pieces += self._take_chunk(document)
        self._pieces += pieces
        return pieces

    def _take_chunk(self, document: dict[str, Any]) -> list[str]:
        usage = read_usage(document.get("usage"))
        # Some servers count in every chunk; the last count is the whole.
        self._usage = usage or self._usage
        named = document.get("model")
        if isinstance(named, str) and named:
            self._model = named
        choice = _first_choice(document)
        if choice is None:
            return []
        if choice.get("finish_reason") is not None:
            self._finish = choice["finish_reason"]
        delta = choice.get("delta")
        if not isinstance(delta, dict):
            return []
        self._calls.take(delta.get("tool_calls"))
        refusal = _text_of(delta.get("refusal"))
        if refusal:
            self._refusal.append(refusal)
        text = _text_of(delta.get("content"))
        return [text] if text else []


class _ToolCalls:
    """Puts calls of tools together from whole ones or from fragments that are told apart by their index."""

    def __init__(self) -> None:
        self._parts: dict[int, tuple[str, list[str], list[str]]] = {}

    def take(self, value: object) -> None:
        """Take the calls of a message or the fragments of a delta; what is none of them is left out."""
        for place, part in enumerate(value if isinstance(value, list) else ()):
            function = part.get("function") if isinstance(part, dict) else None
            if not isinstance(function, dict):
                continue
            index = part.get("index")
            # A fragment without an index is a whole call in some servers' streams.
            key = (
                index if isinstance(index, int) and not isinstance(index, bool) else len(self._parts) or place
            )
            if key not in self._parts and len(self._parts) >= MAX_TOOL_CALLS:
                raise AttemptFailed(shape_failure("it asks for too many calls of tools"))
            named, names, arguments = self._parts.setdefault(key, ("", [], []))
            if isinstance(part.get("id"), str):
                self._parts[key] = (named or part["id"], names, arguments)
            for texts, name in ((names, "name"), (arguments, "arguments")):
                if isinstance(function.get(name), str):
                    texts.append(function[name])

    def whole(self) -> tuple[ToolCall, ...]:
        """The calls that name a function, in order."""
        return tuple(
            ToolCall(named or f"call_{key}", "".join(names), "".join(arguments))
            for key, (named, names, arguments) in sorted(self._parts.items())
            if "".join(names)
        )


def read_usage(value: object) -> Usage | None:
    """Token counts under any of the names in use; None when there are none. Nonsense is left out."""
    if not isinstance(value, dict):
        return None
    counts = [
        next((value[name] for name in names if _is_count(value.get(name))), None) for names in _USAGE_NAMES
    ]
    if counts[2] is None and counts[0] is not None and counts[1] is not None:
        counts[2] = counts[0] + counts[1]
    return None if counts == [None, None, None] else Usage(*counts)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_TOKENS


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


def _raise_error_member(document: dict[str, Any], body: bytes, hide: Iterable[str]) -> None:
    """A status of 200 with an error inside is an error; its own code tells which, else it is the server's."""
    error = document.get("error")
    if not error:
        return
    code = error.get("code") if isinstance(error, dict) else None
    status = code if isinstance(code, int) and 400 <= code < 600 else 500
    raise AttemptFailed(classify_answer(status, {}, body, hide=hide))


def _first_choice(document: dict[str, Any]) -> dict[str, Any] | None:
    choices = document.get("choices")
    if not isinstance(choices, list):
        return None
    return next((c for c in choices if isinstance(c, dict) and c.get("index", 0) in (0, None)), None)


def _text_of(content: object) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        texts = [part.get("text") for part in content if isinstance(part, dict)]
        return "".join(text for text in texts if isinstance(text, str))
    return ""


def _check_end(text: str, finish: object, calls: tuple[ToolCall, ...]) -> None:
    if finish == "content_filter":
        raise AttemptFailed(Failure("request_rejected", "provider.content_filter"))
    if not text.strip() and not calls:
        reason = "the reply is empty"
        if finish == "length":
            reason = "the token limit was used up before the reply began"
        raise AttemptFailed(shape_failure(reason))


def _broken(detail: str, *, started: bool) -> Failure:
    if started:
        return Failure("transport_failure", "provider.broken_stream", detail)
    return Failure("transport_failure", "provider.transport", detail, retry="once", next_model=True)
