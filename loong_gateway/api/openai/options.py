"""What a client wants of the answer, read and checked. The ranges are those of the OpenAI API.

https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from loong_gateway.api.fields import BadFields, object_list, optional_text
from loong_gateway.providers.contract import CallOptions, Function

__all__ = ["chat_options", "refuse", "responses_options", "whole_number"]

MOST_TOOLS = 128
MOST_TOKENS = 10_000_000
LONGEST_STOP = 512
MOST_STOPS = 4
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh")
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_FORMATS = ("text", "json_object", "json_schema")

Document = Mapping[str, object]


def chat_options(document: Document) -> CallOptions:
    """The options of chat completions. Raises BadFields."""
    refuse(document, "functions", "function_call", "audio", "prediction", "web_search_options", "logit_bias")
    if document.get("logprobs") or document.get("top_logprobs"):
        raise BadFields("logprobs: not supported here")
    whole_number(document, "n", 1, 1)
    if document.get("modalities") not in (None, ["text"]):
        raise BadFields("modalities: only text is supported here")
    functions = tuple(_function(tool.get("function"), f"tools[{n}]") for n, tool in _tools(document))
    most = whole_number(document, "max_completion_tokens", 1, MOST_TOKENS)
    return CallOptions(
        temperature=_number(document, "temperature", 0, 2),
        top_p=_number(document, "top_p", 0, 1),
        max_tokens=whole_number(document, "max_tokens", 1, MOST_TOKENS) if most is None else most,
        stop=_stop(document),
        seed=whole_number(document, "seed", -(1 << 63), (1 << 63) - 1),
        presence_penalty=_number(document, "presence_penalty", -2, 2),
        frequency_penalty=_number(document, "frequency_penalty", -2, 2),
        reasoning_effort=_effort(document, "reasoning_effort"),
        tools=functions,
        tool_choice=_choice(document, functions, nested=True),
        parallel_tool_calls=_flag(document, "parallel_tool_calls"),
        response_format=_format(document.get("response_format"), "response_format"),
    )


def responses_options(document: Document) -> CallOptions:
    """The options of responses, https://platform.openai.com/docs/api-reference/responses/create. Raises BadFields."""
    refuse(document, "background", "conversation", "prompt", "top_logprobs", "include")
    functions = tuple(_function(tool, f"tools[{n}]") for n, tool in _tools(document))
    reasoning = _object(document, "reasoning")
    return CallOptions(
        temperature=_number(document, "temperature", 0, 2),
        top_p=_number(document, "top_p", 0, 1),
        max_tokens=whole_number(document, "max_output_tokens", 1, MOST_TOKENS),
        reasoning_effort=_effort(reasoning, "effort"),
        tools=functions,
        tool_choice=_choice(document, functions, nested=False),
        parallel_tool_calls=_flag(document, "parallel_tool_calls"),
        response_format=_text_format(_object(document, "text").get("format")),
    )


def refuse(document: Document, *names: str) -> None:
    """Refuse members that would change the answer and are not understood here. Raises BadFields."""
    for name in names:
        if document.get(name):
            raise BadFields(f"{name}: not supported here")


def whole_number(document: Document, name: str, low: int, high: int) -> int | None:
    """An integer within its bounds, None when it is not there. Raises BadFields."""
    value = document.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        words = f"must be {low}" if low == high else f"must be an integer from {low} to {high}"
        raise BadFields(f"{name}: {words}")
    return value


def _number(document: Document, name: str, low: float, high: float) -> float | None:
    value = document.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise BadFields(f"{name}: must be a number from {low:g} to {high:g}")
    return value


def _flag(document: Document, name: str) -> bool | None:
    value = document.get(name)
    if value is not None and not isinstance(value, bool):
        raise BadFields(f"{name}: must be true or false")
    return value


def _object(document: Document, name: str) -> Document:
    value = document.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadFields(f"{name}: must be an object")
    return value


def _stop(document: Document) -> tuple[str, ...]:
    value = document.get("stop")
    texts = [value] if isinstance(value, str) else value
    if texts is None:
        return ()
    if not isinstance(texts, list) or len(texts) > MOST_STOPS or not all(map(_is_stop, texts)):
        raise BadFields(f"stop: must be a non-empty string or at most {MOST_STOPS} of them")
    return tuple(texts)


def _is_stop(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= LONGEST_STOP


def _effort(document: Document, name: str) -> str | None:
    value = document.get(name)
    if value is not None and value not in EFFORTS:
        raise BadFields(f"{name}: must be one of {', '.join(EFFORTS)}")
    return value if isinstance(value, str) else None


def _tools(document: Document) -> list[tuple[int, Document]]:
    tools = list(enumerate(object_list(document, "tools", most=MOST_TOOLS)))
    for number, tool in tools:
        if tool.get("type") != "function":
            raise BadFields(f"tools[{number}].type: only function is supported here")
    return tools


def _function(value: object, where: str) -> Function:
    if not isinstance(value, dict):
        raise BadFields(f"{where}.function: must be an object")
    name, parameters, strict = value.get("name"), value.get("parameters"), value.get("strict")
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        raise BadFields(f"{where}.name: must be 1 to 64 letters, digits, underscores or hyphens")
    if parameters is not None and not isinstance(parameters, dict):
        raise BadFields(f"{where}.parameters: must be an object")
    if strict is not None and not isinstance(strict, bool):
        raise BadFields(f"{where}.strict: must be true or false")
    description = optional_text(value, "description", longest=65_536) or ""
    return Function(name, description, parameters, strict)


def _choice(document: Document, functions: tuple[Function, ...], *, nested: bool) -> str | None:
    value = document.get("tool_choice")
    if value is None:
        return None
    if not functions:
        # Some clients always send it; without anything to choose it says nothing.
        if value in ("auto", "none"):
            return None
        raise BadFields("tool_choice: is only allowed when tools are given")
    if value in ("auto", "none", "required"):
        return str(value)
    named = value.get("function") if nested and isinstance(value, dict) else value
    name = named.get("name") if isinstance(named, dict) else None
    if (
        not isinstance(value, dict)
        or value.get("type") != "function"
        or name not in [f.name for f in functions]
    ):
        raise BadFields("tool_choice: must be auto, none, required, or name one of the tools")
    return f"function:{name}"


def _format(value: object, where: str) -> Document | None:
    if value is None:
        return None
    if not isinstance(value, dict) or value.get("type") not in _FORMATS:
        raise BadFields(f"{where}: must be an object whose type is one of {', '.join(_FORMATS)}")
    if value["type"] == "json_schema" and not isinstance(value.get("json_schema"), dict):
        raise BadFields(f"{where}.json_schema: must be an object")
    return value


def _text_format(value: object) -> Document | None:
    """The form of an answer as responses write it, in the form of chat completions."""
    if not isinstance(value, dict) or value.get("type") != "json_schema":
        return _format(value, "text.format")
    parts = {
        name: value[name]
        for name in ("name", "description", "schema", "strict")
        if value.get(name) is not None
    }
    return {"type": "json_schema", "json_schema": parts}
