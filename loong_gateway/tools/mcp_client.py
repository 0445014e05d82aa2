"""One server of the Model Context Protocol on its standard streams: its start, its tools, a call.

https://modelcontextprotocol.io/specification/2025-06-18
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from loong_channels.faults import Interrupted
from loong_channels.waiting import Deadline, StopToken
from loong_gateway import VERSION
from loong_gateway.base.stdio_peer import PeerFailed, PeerLimits, PeerProgram, StdioPeer
from loong_gateway.base.threads import ThreadRegistry
from loong_gateway.base.wording import one_line
from loong_gateway.tools.contract import ToolFailed

__all__ = ["McpClient", "RemoteTool"]

logger = logging.getLogger("loong.mcp")

PROTOCOL = "2025-06-18"
KNOWN_PROTOCOLS = (PROTOCOL, "2025-03-26", "2024-11-05")
LIMITS = PeerLimits(waiting_messages=32, waiting_bytes=8 << 20)
MOST_PAGES = 50
MOST_TOOLS = 128
LONGEST_NAME = 64
LONGEST_DESCRIPTION = 2000
LARGEST_SCHEMA_BYTES = 16_384
LONGEST_ERROR = 1000
_ODD = re.compile(r"[^A-Za-z0-9_-]")


@dataclass(frozen=True)
class RemoteTool:
    """A tool as a server offers it. `name` is what it is called here, `remote` what the server calls it."""

    name: str
    remote: str
    description: str
    schema: Mapping[str, object]


class McpClient:
    """A server that answered `initialize`. Thread-safe; `tools` and `skipped` are replaced whole.

    What the server says of itself decides nothing but its tools: `readOnlyHint` and the like are not looked at.
    """

    def __init__(
        self,
        program: PeerProgram,
        threads: ThreadRegistry,
        deadline: Deadline,
        stop: StopToken,
    ) -> None:
        """Start it, greet it, list its tools. Blocks; raises PeerFailed, with which nothing of it is left."""
        self._name = program.name
        self._changed = False
        self.tools: Sequence[RemoteTool] = ()
        self.skipped: Sequence[str] = ()
        self.peer = StdioPeer(
            program, threads, on_request=_answer, on_notice=self._take_notice, limits=LIMITS
        )
        try:
            self.version, capabilities = self._greet(deadline, stop)
            self._offers_tools = "tools" in capabilities
            self.refresh(deadline, stop)
        except PeerFailed as failed:
            self.peer.close(Deadline(1.0))
            seen = self.peer.failure
            words = failed.last_words or (seen.last_words if seen is not None else "")
            raise PeerFailed(failed.kind, failed.message, code=failed.code, last_words=words) from None

    @property
    def is_stale(self) -> bool:
        """Whether the server said that its tools are not those any more."""
        return self._changed

    def refresh(self, deadline: Deadline, stop: StopToken) -> None:
        """List its tools anew, page by page. Blocks; raises PeerFailed, with which those known before stay."""
        self._changed = False
        if not self._offers_tools:
            return
        listed: list[object] = []
        cursor: object = None
        for _ in range(MOST_PAGES):
            params = {} if cursor is None else {"cursor": cursor}
            page = self._ask("tools/list", params, deadline, stop)
            tools = page.get("tools")
            if not isinstance(tools, list):
                raise PeerFailed("invalid", "its list of tools is none")
            listed += tools
            cursor = page.get("nextCursor")
            if not isinstance(cursor, str) or len(listed) > MOST_TOOLS:
                break
        self.tools, self.skipped = _chosen(listed)
        for reason in self.skipped[:10]:
            logger.warning("%s: a tool is left out: %s", self._name, reason)

    def call(
        self, remote: str, arguments: Mapping[str, object], deadline: Deadline, stop: StopToken
    ) -> Mapping[str, object]:
        """Have a tool do its work: {text, structured?}. Blocks; raises ToolFailed, Interrupted.

        A call that is given up is cancelled at the server, too.
        """
        params = {"name": remote, "arguments": dict(arguments)}
        try:
            result = self._ask("tools/call", params, deadline, stop)
        except PeerFailed as failed:
            if failed.kind == "interrupted":
                raise Interrupted("the call of a tool was stopped") from None
            # Its last words are for the operator: they may hold what the server was given in confidence.
            raise ToolFailed(f"the tool server did not do it: {failed.message}") from None
        text = _text(result.get("content"))
        if result.get("isError") is True:
            raise ToolFailed(one_line(text, LONGEST_ERROR) or "the tool failed and does not say why")
        structured = result.get("structuredContent")
        if not isinstance(structured, dict):
            return {"text": text}
        return (
            {"structured": structured}
            if _says_the_same(text, structured)
            else {"text": text, "structured": structured}
        )

    def close(self, deadline: Deadline) -> None:
        """End it. Blocks; idempotent."""
        self.peer.close(deadline)

    def _greet(self, deadline: Deadline, stop: StopToken) -> tuple[str, Mapping[str, object]]:
        params = {
            "protocolVersion": PROTOCOL,
            "capabilities": {},
            "clientInfo": {"name": "loong", "version": VERSION},
        }
        # This one request may not be cancelled.
        answer = self.peer.request("initialize", params, deadline=deadline, stop=stop)
        if not isinstance(answer, dict) or answer.get("protocolVersion") not in KNOWN_PROTOCOLS:
            raise PeerFailed("invalid", "it speaks no version of the protocol that is known here")
        self.peer.notify("notifications/initialized", {})
        capabilities = answer.get("capabilities")
        return str(answer["protocolVersion"]), capabilities if isinstance(capabilities, dict) else {}

    def _ask(
        self, method: str, params: Mapping[str, object], deadline: Deadline, stop: StopToken
    ) -> Mapping[str, object]:
        def cancel(number: int) -> None:
            self.peer.notify("notifications/cancelled", {"requestId": number, "reason": "no longer wanted"})

        result = self.peer.request(method, params, deadline=deadline, stop=stop, on_cancel=cancel)
        if not isinstance(result, dict):
            raise PeerFailed("invalid", "its answer is no object")
        return result

    def _take_notice(self, method: str, params: object) -> None:
        if method == "notifications/tools/list_changed":
            self._changed = True
        elif method == "notifications/message":
            level = params.get("level") if isinstance(params, dict) else None
            logger.debug("%s logged something: %s", self._name, one_line(level, 20))


def _answer(method: str, _params: object) -> object:
    """What a server may ask of us: whether we are there. Roots, sampling and elicitation were never offered to it."""
    if method == "ping":
        return {}
    raise PeerFailed("refused", "not supported", code=-32601)


def _chosen(listed: Sequence[object]) -> tuple[tuple[RemoteTool, ...], tuple[str, ...]]:
    """The tools that can be offered, and why each other one is not."""
    tools: dict[str, RemoteTool] = {}
    skipped = []
    for one in listed[:MOST_TOOLS]:
        raw = one if isinstance(one, dict) else {}
        remote, schema, description = raw.get("name"), raw.get("inputSchema"), raw.get("description")
        if not isinstance(remote, str) or not remote:
            skipped.append("one without a name")
            continue
        name, shown = _ODD.sub("_", remote), one_line(remote, LONGEST_NAME)
        if len(name) > LONGEST_NAME:
            skipped.append(f"{shown}: its name is too long")
        elif name in tools:
            skipped.append(f"{shown}: another one has the same name here")
        elif not isinstance(schema, dict) or schema.get("type") != "object":
            skipped.append(f"{shown}: its arguments are no object")
        elif len(json.dumps(schema)) > LARGEST_SCHEMA_BYTES:
            skipped.append(f"{shown}: its schema is larger than {LARGEST_SCHEMA_BYTES} bytes")
        else:
            words = description if isinstance(description, str) else ""
            tools[name] = RemoteTool(name, remote, words[:LONGEST_DESCRIPTION], schema)
    if len(listed) > MOST_TOOLS:
        skipped.append(f"all after the first {MOST_TOOLS}")
    return tuple(tools.values()), tuple(skipped)


def _text(content: object) -> str:
    """What the blocks of an answer say in words; what is no text is named, not shown."""
    blocks = content if isinstance(content, list) else []
    return "\n".join(_words(block) for block in blocks if isinstance(block, dict))


def _words(block: Mapping[str, object]) -> str:
    kind, text = block.get("type"), block.get("text")
    if kind == "text" and isinstance(text, str):
        return text
    if kind == "resource" and isinstance(block.get("resource"), dict):
        resource = block["resource"]
        assert isinstance(resource, dict)
        inner = resource.get("text")
        return inner if isinstance(inner, str) else f"[resource {one_line(resource.get('uri'), 200)}]"
    if kind == "resource_link":
        return f"[resource {one_line(block.get('uri'), 200)}]"
    return f"[{one_line(kind, 20)} {one_line(block.get('mimeType') or '', 60)}]"


def _says_the_same(text: str, structured: object) -> bool:
    """Whether the text is only the structured content once more, as servers send it for older clients."""
    try:
        return bool(json.loads(text) == structured)
    except (ValueError, RecursionError):
        return False
