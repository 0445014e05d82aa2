"""A strict server of the OpenAI chat-completions shape on 127.0.0.1.

    python -m tests.fakes.model --port 0 --delay-ms 200      prints "READY <port>"

https://platform.openai.com/docs/api-reference/chat
"""

from __future__ import annotations

import argparse
import base64
import json
import re
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Callable

from .double import Double
from .faults import HTML_502, Fault, suffer_answer, suffer_before
from .http_server import Call, PeerGone
from .process import serve_until_ended

KEY = "sk-test-0123456789abcdef"
FIELDS = frozenset(
    "model messages stream stream_options temperature top_p n stop max_tokens max_completion_tokens tools tool_choice "
    "parallel_tool_calls presence_penalty frequency_penalty logit_bias logprobs top_logprobs response_format seed user "
    "service_tier store metadata reasoning_effort modalities prediction audio verbosity".split()
)
EMBEDDING_FIELDS = frozenset("model input encoding_format dimensions user".split())
EMBEDDING_SIZE = 8
ARK_FIELDS = FIELDS | {"thinking"}
ROLES = frozenset(["system", "developer", "user", "assistant", "tool"])
DATA_URL = re.compile(r"data:(image/(?:png|jpeg|gif|webp));base64,([A-Za-z0-9+/]+=*)")
MAGIC = {"image/png": b"\x89PNG", "image/jpeg": b"\xff\xd8\xff", "image/gif": b"GIF8", "image/webp": b"RIFF"}
ARK_LISTING = {
    "object": "list",
    "data": [
        {
            "id": "doubao-embedding-250615",
            "object": "model",
            "created": 1790000000,
            "name": "doubao-embedding",
            "domain": "Embedding",
            "task_type": ["TextEmbedding"],
            "modalities": {"input_modalities": ["text"], "output_modalities": ["embedding"]},
        },
        {
            "id": "doubao-seed-1-6-250615",
            "object": "model",
            "created": 1750000000,
            "name": "doubao-seed-1-6",
            "version": "250615",
            "domain": "LLM",
            "status": "",
            "task_type": ["VisualQuestionAnswering", "TextGeneration"],
            "modalities": {"input_modalities": ["text"], "output_modalities": ["text"]},
            "features": {"tools": {"function_calling": True}},
            "token_limits": {"context_window": 262144, "max_output_token_length": 65536},
        },
        {
            "id": "doubao-pro-4k-240515",
            "object": "model",
            "created": 1715700000,
            "name": "doubao-pro-4k",
            "domain": "LLM",
            "status": "Shutdown",
            "task_type": ["TextGeneration"],
        },
    ],
}


class Refused(Exception):
    """A request that is answered with an error object."""

    def __init__(self, status: int, message: str, code: str | None = None):
        super().__init__(message)
        self.status = status
        self.code = code


@dataclass
class ModelCall:
    """One chat completion that was asked for. Times are of time.monotonic(); `status` 0 until it is answered."""

    at: float
    question: str
    body: dict[str, Any] = field(repr=False)
    key: str = field(default="", repr=False)
    status: int = 0
    ended: float = 0.0
    fault: str = ""
    abandoned: bool = False
    answer: str = ""


def echo(messages: Sequence[dict[str, Any]]) -> str:
    """The default model: "re: " and the last user message."""
    return f"re: {last_question(messages)}"


def last_question(messages: Sequence[dict[str, Any]]) -> str:
    """The text of the last user message."""
    for message in reversed(messages):
        if message["role"] == "user":
            content = message["content"]
            if isinstance(content, str):
                return content
            return "".join(part.get("text", "") for part in content)
    return ""


def good_picture(mime: object, data: object) -> bool:
    """Whether base64 text holds a picture of that type, of those that models see."""
    try:
        content = base64.b64decode(str(data), validate=True)
    except ValueError:
        return False
    return str(mime) in MAGIC and content.startswith(MAGIC[str(mime)])


def good_data_url(url: object) -> bool:
    """As good_picture, for an address that holds the picture."""
    match = DATA_URL.fullmatch(str(url))
    return match is not None and good_picture(match[1], match[2])


def check_parts(parts: list[object], where: str, *, may_be_images: bool) -> None:
    """The parts of a content, when a strict server takes them. Raises Refused."""
    for number, part in enumerate(parts):
        kind = part.get("type") if isinstance(part, dict) else None
        if (
            kind == "text"
            and isinstance(part.get("text"), str)
            and part["text"]
            and set(part) == {"type", "text"}
        ):
            continue
        if kind != "image_url":
            raise Refused(400, f"Invalid value for '{where}.content[{number}].type'", "invalid_value")
        if not may_be_images:
            raise Refused(400, "Invalid content type. image_url is only supported by certain models.")
        url = part["image_url"].get("url", "") if isinstance(part.get("image_url"), dict) else ""
        if not good_data_url(url):
            raise Refused(400, "You uploaded an unsupported image.", "invalid_image_format")


def check(
    body: object, models: Sequence[str], fields: frozenset[str], *, sees: bool = True
) -> dict[str, Any]:
    """The request, when a strict server takes it; one whose model `sees` takes pictures. Raises Refused."""
    if not isinstance(body, dict):
        raise Refused(400, "We could not parse the JSON body of your request.")
    unknown = sorted(set(body) - fields)
    if unknown:
        raise Refused(400, f"Unrecognized request argument supplied: {unknown[0]}", "unknown_parameter")
    for name in sorted(body):
        if body[name] is None:
            raise Refused(400, f"Invalid type for '{name}': null", "invalid_type")
    if not isinstance(body.get("model"), str) or not body["model"]:
        raise Refused(400, "you must provide a model parameter")
    if body["model"] not in models:
        raise Refused(404, f"The model `{body['model']}` does not exist", "model_not_found")
    if "stream_options" in body and body.get("stream") is not True:
        raise Refused(400, "The 'stream_options' parameter is only allowed when 'stream' is enabled.")
    if body.get("tools") == []:
        raise Refused(400, "Invalid 'tools': empty array.", "empty_array")
    if "tool_choice" in body and "tools" not in body:
        raise Refused(400, "'tool_choice' is only allowed when 'tools' are specified.")
    if "max_tokens" in body and "max_completion_tokens" in body:
        raise Refused(
            400, "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported."
        )
    if "temperature" in body and not (
        isinstance(body["temperature"], (int, float)) and 0 <= body["temperature"] <= 2
    ):
        raise Refused(400, "Invalid 'temperature'")
    check_messages(body.get("messages"), sees=sees)
    return body


def check_messages(messages: object, *, sees: bool) -> None:
    """Roles, contents, and every tool call answered. Raises Refused."""
    if not isinstance(messages, list) or not messages:
        raise Refused(400, "Invalid 'messages': empty array.", "empty_array")
    open_calls: set[str] = set()
    for number, message in enumerate(messages):
        where = f"messages[{number}]"
        if not isinstance(message, dict) or message.get("role") not in ROLES:
            raise Refused(400, f"Invalid value for '{where}.role'", "invalid_value")
        unknown = set(message) - {"role", "content", "name", "tool_calls", "tool_call_id", "refusal"}
        if unknown:
            raise Refused(400, f"Unknown field '{where}.{sorted(unknown)[0]}'", "unknown_parameter")
        if message["role"] == "tool":
            if message.get("tool_call_id") not in open_calls:
                raise Refused(400, f"'{where}': role 'tool' must follow a message with 'tool_calls'")
            open_calls.discard(message["tool_call_id"])
            continue
        if open_calls:
            raise Refused(400, "An assistant message with 'tool_calls' must be followed by tool messages")
        calls = message.get("tool_calls") or []
        open_calls = {one["id"] for one in calls}
        content = message.get("content")
        good = isinstance(content, str) or (isinstance(content, list) and content and not open_calls)
        if not good and not (content is None and calls):
            raise Refused(400, f"Invalid value for '{where}.content': expected a string", "invalid_type")
        if isinstance(content, list):
            check_parts(content, where, may_be_images=sees and message["role"] == "user")
    if open_calls:
        raise Refused(400, "An assistant message with 'tool_calls' must be followed by tool messages")


def check_embeddings(body: object, models: Sequence[str]) -> dict[str, Any]:
    """The request for embeddings, when a strict server takes it. Raises Refused.

    https://platform.openai.com/docs/api-reference/embeddings
    """
    if not isinstance(body, dict):
        raise Refused(400, "We could not parse the JSON body of your request.")
    unknown = sorted(set(body) - EMBEDDING_FIELDS)
    if unknown or None in body.values():
        raise Refused(400, f"Unrecognized request argument supplied: {unknown}", "unknown_parameter")
    if body.get("model") not in models:
        raise Refused(404, f"The model `{body.get('model')}` does not exist", "model_not_found")
    given = body.get("input")
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not 0 < len(texts) <= 2048:
        raise Refused(400, "'$.input' is invalid.")
    if not all(isinstance(text, str) and text for text in texts):
        raise Refused(400, "'$.input' is invalid.")
    if body.get("encoding_format", "float") not in ("float", "base64"):
        raise Refused(400, "Invalid 'encoding_format'", "invalid_value")
    size = body.get("dimensions", EMBEDDING_SIZE)
    if not isinstance(size, int) or not 0 < size <= EMBEDDING_SIZE:
        raise Refused(400, "Invalid 'dimensions'", "invalid_value")
    return {**body, "input": texts, "dimensions": size}


def vector_of(text: str, size: int) -> list[float]:
    """What the fake makes of a text: the same every time, exact in single precision."""
    return [(len(text) + place) / 8 for place in range(size)]


def wanted_calls(body: dict[str, Any]) -> list[dict[str, Any]]:
    """The function that the request obliges the model to call, with the question as its argument.

    Or those of the next round that the question lists: a line `call NAME ARGUMENTS` each, `also NAME ARGUMENTS` for
    one more in the same round.
    """
    choice, tools = body.get("tool_choice"), body.get("tools") or []
    if tools and choice in (None, "auto"):
        return listed_calls(body["messages"])
    if isinstance(choice, dict):
        name = choice["function"]["name"]
    elif choice == "required" and tools:
        name = tools[0]["function"]["name"]
    else:
        return []
    if name not in [tool["function"]["name"] for tool in tools]:
        raise Refused(400, f"Tool choice '{name}' is not one of the tools.")
    return [called(0, name, json.dumps({"question": last_question(body["messages"])}))]


def listed_calls(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those of the last question that have no result yet, up to the end of their round."""
    done = 0
    for message in reversed(messages):
        if message["role"] == "user":
            break
        done += message["role"] == "tool"
    lines = [line for line in last_question(messages).splitlines() if line[:5] in ("call ", "also ")]
    found: list[dict[str, Any]] = []
    for number, line in enumerate(lines[done:], start=done):
        if found and line[:5] == "call ":
            break
        _, name, arguments = (*line.split(None, 2), "{}")[:3]
        found.append(called(number, name, arguments))
    return found


def called(number: int, name: str, arguments: str) -> dict[str, Any]:
    """A call as the service writes it."""
    return {"id": f"call_{number}", "type": "function", "function": {"name": name, "arguments": arguments}}


class FakeModel(Double):
    """The server. `calls` is complete and in order; `max_running` the most calls that ran at once.

    `usage_style`: "own" (a last chunk without choices), "finish" (on the finishing chunk), "every" or "none".
    """

    stream_type = "text/event-stream"
    # How many events come before the first piece of text.
    opening = 1
    CONTROLS = frozenset("fault release clear_faults state set_delay reset_record wait_calls".split())

    def __init__(
        self,
        *,
        port: int = 0,
        key: str | None = KEY,
        models: Sequence[str] = ("test-model", "other-model"),
        embedders: Sequence[str] = ("text-embedder",),
        prefix: str = "/v1",
        delay_s: float = 0.0,
        answer: Callable[[Sequence[dict[str, Any]]], str] = echo,
        usage_style: str = "own",
        line_end: str = "\n",
        piece_chars: int = 12,
        ark: bool = False,
        sees: bool = True,
    ) -> None:
        self.key = key
        self.models = list(models)
        self.embedders = list(embedders)
        self.prefix = prefix
        self.delay_s = delay_s
        self.answer = answer
        self.answers: list[str] = []
        self.usage_style = usage_style
        self.line_end = line_end
        self.piece_chars = piece_chars
        self.piece_delay_s = 0.0
        self.ark = ark
        self.sees = sees
        self.listing: object = None
        # What happens to the next requests in place of an answer, whatever they ask.
        self.scripts: list[Callable[[Call], None]] = []
        self.calls: list[ModelCall] = []
        self.listings = 0
        self.refused: list[str] = []
        self.running = 0
        self.max_running = 0
        # Called with each completion and "arrived" (nothing answered yet).
        self.on_request: Callable[[ModelCall, str], None] | None = None
        super().__init__(port)

    @property
    def base_url(self) -> str:
        """The API root, as a provider of kind "custom" wants it."""
        return f"{self.origin}{self.prefix}"

    def wait_calls(self, count: int, timeout: float = 10.0) -> int:
        """Wait until that many completions were asked for; how many there are."""
        return self.wait_for(lambda: len(self.calls) >= count and len(self.calls), timeout) or 0

    def questions(self) -> list[str]:
        """The last user message of each call."""
        with self._lock:
            return [call.question for call in self.calls]

    def fault(self, kind: str, method: str = "chat", **details: object) -> Fault:
        """The next call suffers; `where={"question~": "m7"}` picks it by its text.

        `method` is chat, models or embeddings.
        """
        return self.faults.order(method, kind, **details)

    def set_delay(self, seconds: float) -> None:
        """Every answer takes so long from now on."""
        self.delay_s = seconds

    def reset_record(self) -> None:
        """Forget the recorded calls."""
        with self._lock:
            self.calls.clear()
            self.refused.clear()
            self.max_running = self.running

    def state(self) -> dict[str, object]:
        """Everything recorded, as JSON values, for a controlling process."""
        with self._lock:
            return {
                "calls": len(self.calls),
                "questions": [call.question for call in self.calls],
                "running": self.running,
                "max_running": self.max_running,
                "refused": list(self.refused),
                "connections": self.server.connections,
                "crashes": list(self.server.crashes),
            }

    def _story(self) -> str:
        last = [(call.question, call.status, call.fault) for call in self.calls[-8:]]
        return f"{len(self.calls)} calls, last {last}"

    # --- the server

    def _serve(self, call: Call) -> None:
        if self.scripts:
            self.scripts.pop(0)(call)
            return
        try:
            answer = self._routes().get((call.method, call.path)) or self._route(call)
            if answer is None:
                call.reply(404, b"404 page not found", "text/plain")
                self.refused.append(f"{call.method} {call.path}: 404")
                return
            self._check_key(call)
            answer(call)
        except Refused as refused:
            self.refused.append(str(refused))
            self._refuse(call, refused.status, str(refused), refused.code)

    def _routes(self) -> dict[tuple[str, str], Callable[[Call], None]]:
        return {
            ("POST", f"{self.prefix}/chat/completions"): self._chat,
            ("POST", f"{self.prefix}/embeddings"): self._embed,
            ("GET", f"{self.prefix}/models"): self._list,
        }

    def _route(self, call: Call) -> Callable[[Call], None] | None:
        """What answers an address that is not in the table."""
        return None

    def _refuse(
        self,
        call: Call,
        status: int,
        message: str,
        code: str | None,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        """Answer with an error as the service writes it."""
        body = {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}
        call.reply(status, json.dumps(body).encode(), headers=headers)

    def _check_key(self, call: Call) -> None:
        given = call.headers.get("authorization", "")
        if self.key is not None and given != f"Bearer {self.key}":
            raise Refused(401, "Incorrect API key provided.", "invalid_api_key")

    def _list(self, call: Call) -> None:
        with self._lock:
            self.listings += 1
        fault = self.faults.take("models", {})
        if suffer_before(fault, call):
            return
        if fault is not None and fault.kind in ("status", "too_many"):
            self._refuse_by_order(call, fault)
            return
        listing = self.listing or (ARK_LISTING if self.ark else self._plain_listing())
        suffer_answer(fault, call, 200, json.dumps(listing).encode())

    def _embed(self, call: Call) -> None:
        try:
            body = check_embeddings(json.loads(call.body), self.embedders)
        except ValueError:
            raise Refused(400, "We could not parse the JSON body of your request.") from None
        fault = self.faults.take("embeddings", {"model": body["model"]})
        if suffer_before(fault, call):
            return
        if fault is not None and fault.kind in ("status", "too_many"):
            self._refuse_by_order(call, fault)
            return
        rows = []
        for index, text in enumerate(body["input"]):
            vector: object = vector_of(text, body["dimensions"])
            if body.get("encoding_format") == "base64":
                packed = struct.pack(f"<{body['dimensions']}f", *vector_of(text, body["dimensions"]))
                vector = base64.b64encode(packed).decode()
            rows.append({"object": "embedding", "index": index, "embedding": vector})
        tokens = sum(len(text) // 4 + 1 for text in body["input"])
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        answer = {"object": "list", "data": rows, "model": body["model"], "usage": usage}
        suffer_answer(fault, call, 200, json.dumps(answer).encode())

    def _plain_listing(self) -> dict[str, object]:
        data = [
            {"id": name, "object": "model", "created": 1700000000 + n, "owned_by": "tests"}
            for n, name in enumerate(self.models)
        ]
        return {"object": "list", "data": data}

    def _chat(self, call: Call) -> None:
        if call.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            raise Refused(400, "Unsupported content type")
        try:
            body = json.loads(call.body)
        except ValueError:
            raise Refused(400, "We could not parse the JSON body of your request.") from None
        body = self._checked(call, body)
        record = ModelCall(time.monotonic(), self._question(body), body, self.key or "")
        with self._lock:
            self.calls.append(record)
            self.running += 1
            self.max_running = max(self.max_running, self.running)
            self._note_change()
        if self.on_request is not None:
            self.on_request(record, "arrived")
        fault = self.faults.take("chat", {"question": record.question, "model": body["model"]})
        record.fault = fault.kind if fault is not None else ""
        try:
            self._answer(call, record, fault)
        except PeerGone:
            record.abandoned = True
            raise
        finally:
            with self._lock:
                self.running -= 1
                record.ended = time.monotonic()
                self._note_change()

    def _checked(self, call: Call, body: object) -> dict[str, Any]:
        """The question, when a strict server takes it. Raises Refused."""
        models = self.models
        if self.ark:
            models = models + [str(row["id"]) for row in ARK_LISTING["data"]]  # type: ignore[call-overload]
        return check(body, models, ARK_FIELDS if self.ark else FIELDS, sees=self.sees)

    def _question(self, body: dict[str, Any]) -> str:
        """The last text of the user."""
        return last_question(body["messages"])

    def _made(self, record: ModelCall) -> str:
        """What the model says."""
        return self.answer(record.body["messages"])

    def _answer(self, call: Call, record: ModelCall, fault: Fault | None) -> None:
        if suffer_before(fault, call):
            return
        if self.delay_s:
            call.pause(self.delay_s)
        kind = fault.kind if fault is not None else ""
        if fault is not None and kind in ("status", "too_many"):
            record.status = self._refuse_by_order(call, fault)
            return
        record.status = 200
        if kind == "html_200":
            call.reply(200, HTML_502, "text/html")
            return
        if kind == "error_200":
            call.reply(200, json.dumps({"error": self._failure("upstream is unhappy")}).encode())
            return
        with self._lock:
            record.answer = self.answers.pop(0) if self.answers else self._made(record)
        if record.body.get("stream") is True:
            self._stream(call, record, fault)
        else:
            body = self._whole(record, kind)
            suffer_answer(fault, call, 200, json.dumps(body).encode(), (("x-request-id", "req_1"),))

    def _refuse_by_order(self, call: Call, fault: Fault) -> int:
        if fault.kind == "too_many":
            status, code, message = 429, "rate_limit_exceeded", "Rate limit reached"
            headers: tuple[tuple[str, str], ...] = (("Retry-After", f"{fault.retry_after:g}"),)
        else:
            status, code, headers = fault.status, str(fault.parameters.get("code", "")) or None, ()
            message = fault.description or "The server had an error while processing your request."
        self._refuse(call, status, message, code, (*headers, *fault.headers))
        return status

    def _failure(self, message: str) -> dict[str, object]:
        """The error that the service writes into an answer of status 200."""
        return {"message": message, "type": "server_error", "code": None}

    @staticmethod
    def _usage(record: ModelCall) -> dict[str, int]:
        asked, said = len(record.question) // 4 + 1, len(record.answer) // 4 + 1
        return {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}

    def _whole(self, record: ModelCall, kind: str) -> dict[str, object]:
        content: str | None = None if kind == "null_content" else record.answer
        reason = kind if kind in ("length", "content_filter") else "stop"
        message = {"role": "assistant", "content": content}
        calls = wanted_calls(record.body)
        if calls:
            message, reason = {"role": "assistant", "content": None, "tool_calls": calls}, "tool_calls"
        choices = [{"index": 0, "message": message, "finish_reason": reason}]
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": record.body["model"],
            "choices": [] if kind == "empty_choices" else choices,
            "usage": self._usage(record),
        }

    def _events(self, record: ModelCall, kind: str) -> list[dict[str, object]]:
        base = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": int(time.time())}
        base["model"] = record.body["model"]
        options = record.body.get("stream_options") or {}
        style = self.usage_style if options.get("include_usage") else "none"

        def event(delta: dict[str, object], reason: str | None = None) -> dict[str, object]:
            made: dict[str, object] = {
                **base,
                "choices": [{"index": 0, "delta": delta, "finish_reason": reason}],
            }
            if style == "every" or (style == "finish" and reason):
                made["usage"] = self._usage(record)
            elif style == "own":
                made["usage"] = None
            return made

        size = self.piece_chars
        pieces = [record.answer[start : start + size] for start in range(0, len(record.answer), size)]
        reason = kind if kind in ("length", "content_filter") else "stop"
        if kind == "empty_choices":
            return [{**base, "choices": []}]
        events = [event({"role": "assistant", "content": ""})]
        calls = wanted_calls(record.body)
        if calls:
            parts = [part for number, one in enumerate(calls) for part in self._fragments(number, one)]
            events += [event({"tool_calls": [part]}) for part in parts]
            reason = "tool_calls"
        elif kind != "null_content":
            events += [event({"content": piece}) for piece in pieces]
        events.append(event({}, reason))
        if style == "own":
            events.append({**base, "choices": [], "usage": self._usage(record)})
        return events

    def _fragments(self, number: int, called: dict[str, Any]) -> list[dict[str, Any]]:
        """A call as it grows: its name first, then its arguments in pieces."""
        function, size = called["function"], self.piece_chars
        opened = {"index": number, **called, "function": {"name": function["name"], "arguments": ""}}
        text = function["arguments"]
        pieces = [text[start : start + size] for start in range(0, len(text), size)]
        return [opened, *({"index": number, "function": {"arguments": piece}} for piece in pieces)]

    def _stream(self, call: Call, record: ModelCall, fault: Fault | None) -> None:
        kind = fault.kind if fault is not None else ""
        if kind in ("lost", "null", "empty", "hold", "drip_head"):
            suffer_answer(fault, call, 200, b"")
            return
        lines = [self._line(event) for event in self._events(record, kind)]
        ending = self._ending()
        if kind == "truncated" and fault is not None:
            lines = [*lines[:1], lines[1][: len(lines[1]) // 2]]
        elif kind == "broken_stream" and fault is not None:
            lines = lines[: self.opening + fault.pieces]
        elif kind == "error_in_stream" and fault is not None:
            lines = [*lines[: self.opening + fault.pieces], self._error_line("The server is overloaded")]
        elif kind != "no_done":
            lines.append(ending)
        call.send(call.head(200, self.stream_type, headers=(("Cache-Control", "no-cache"),)))
        if kind == "drip" and fault is not None:
            for byte in b"".join(lines):
                call.chunk(bytes([byte]))
                call.pause(fault.seconds or 0.05)
        elif self.piece_delay_s:
            for line in lines:
                call.chunk(line)
                call.pause(self.piece_delay_s)
        else:
            call.chunk(b"".join(lines))
        if kind in ("broken_stream", "truncated"):
            call.reset()
            return
        call.chunk(b"")

    def _ending(self) -> bytes:
        """The last bytes of a stream that is whole."""
        return f"data: [DONE]{self.line_end * 2}".encode()

    def _error_line(self, message: str) -> bytes:
        return self._line({"error": self._failure(message)})

    def _line(self, event: dict[str, object]) -> bytes:
        return f"data: {json.dumps(event, ensure_ascii=False)}{self.line_end * 2}".encode()


def main() -> None:
    """Run as a program until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--key", default=KEY)
    parser.add_argument("--delay-ms", type=float, default=0)
    parser.add_argument("--prefix", default="/v1")
    args = parser.parse_args()
    fake = FakeModel(port=args.port, key=args.key, delay_s=args.delay_ms / 1000, prefix=args.prefix)
    serve_until_ended(fake.server.port, fake.close)


if __name__ == "__main__":
    main()
