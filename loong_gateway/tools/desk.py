"""The one place where it is decided which tool may be called, and where it is called."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Mapping

from loong_channels.waiting import Deadline, StopToken
from loong_gateway.base.faults import StoreUnwritable
from loong_gateway.config.snapshot import Config
from loong_gateway.control.origin import Origin
from loong_gateway.control.tools import ToolInfo, ToolOutcome, ToolRequest
from loong_gateway.tools.contract import BadArgument, Tool, ToolContext, ToolFailed

__all__ = ["HARD_DENIED", "Tools"]

logger = logging.getLogger("loong.tools")

# Whatever is behind these names acts on the host, on others' sessions or on the gateway itself: never by the port.
HARD_DENIED = frozenset(
    {
        "apply_patch",
        "cron",
        "exec",
        "fs_delete",
        "fs_move",
        "fs_write",
        "gateway",
        "nodes",
        "sessions_send",
        "sessions_spawn",
        "shell",
        "spawn",
    }
)


class Tools:
    """Implements control.ToolDesk. Thread-safe; the tools are fixed, what is allowed is read at each call."""

    def __init__(self, config: Callable[[], Config], tools: Iterable[Tool]) -> None:
        self._config = config
        self._tools = {tool.name: tool for tool in tools if tool.name not in HARD_DENIED}

    def invoke(self, request: ToolRequest) -> ToolOutcome:
        """See control.ToolDesk."""
        tool = self._tools.get(request.name)
        if tool is None or not self._allowed(request.name):
            return ToolOutcome(
                {}, error_code="not_found", error=f"Tool not available: {_shown(request.name)}"
            )
        try:
            origin = Origin(request.entry, f"call:{request.idempotency_key or ''}", request.session)
            context = ToolContext(origin, Deadline(self._config().tools.timeout_s), StopToken())
            result = tool.run(_checked(tool, request.arguments), context)
        except BadArgument as error:
            return ToolOutcome({}, error_code="invalid_request", error=str(error))
        except ToolFailed as error:
            return ToolOutcome({}, error_code="failed", error=str(error))
        except StoreUnwritable:
            return ToolOutcome({}, error_code="failed", error="the store cannot be read now")
        except Exception:
            # A bug in one tool costs one call, and tells nothing about the inside.
            logger.exception("the tool %s failed", tool.name)
            return ToolOutcome({}, error_code="failed", error="tool execution failed")
        return ToolOutcome(result, json.dumps(result, ensure_ascii=False))

    def offered(self, entry: str) -> tuple[ToolInfo, ...]:
        """See control.ToolDesk. Every entry is allowed the same."""
        del entry
        return tuple(
            ToolInfo(name, tool.description, frozenset(tool.arguments))
            for name, tool in sorted(self._tools.items())
            if self._allowed(name)
        )

    def _allowed(self, name: str) -> bool:
        settings = self._config().gateway
        return name in settings.tools_allow and name not in settings.tools_deny and name not in HARD_DENIED


def _shown(name: str) -> str:
    """A name of whatever length and letters, fit for an answer."""
    return "".join(letter if letter.isprintable() else "?" for letter in name[:64])


def _checked(tool: Tool, given: Mapping[str, object]) -> Mapping[str, object]:
    unknown = sorted(set(given) - set(tool.arguments))
    if unknown:
        raise BadArgument(f"args may hold {', '.join(sorted(tool.arguments)) or 'nothing'}")
    arguments = {}
    for name, schema in tool.arguments.items():
        value = given.get(name, schema.get("default"))
        if value is None:
            if name in tool.required:
                raise BadArgument(f"args.{name}: is needed")
        else:
            _check(name, value, schema)
            arguments[name] = value
    return arguments


def _check(name: str, value: object, schema: Mapping[str, object]) -> None:
    kind, lowest, highest = schema["type"], schema.get("minimum"), schema.get("maximum")
    if kind == "string":
        longest = schema.get("maxLength", 512)
        if not isinstance(value, str) or not isinstance(longest, int) or len(value) > longest:
            raise BadArgument(f"args.{name}: must be a string of at most {longest} characters")
    elif kind == "boolean":
        if not isinstance(value, bool):
            raise BadArgument(f"args.{name}: must be true or false")
    elif kind == "array":
        most = schema.get("maxItems", 64)
        if not isinstance(value, list) or not isinstance(most, int) or len(value) > most:
            raise BadArgument(f"args.{name}: must be a list of at most {most} items")
        for item in value:
            _check(f"{name}[]", item, {"type": "string", **_object(schema.get("items"))})
    elif isinstance(value, bool) or not isinstance(value, int):
        raise BadArgument(f"args.{name}: must be a whole number")
    elif isinstance(lowest, int) and isinstance(highest, int) and not lowest <= value <= highest:
        raise BadArgument(f"args.{name}: must be from {lowest} to {highest}")


def _object(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}
