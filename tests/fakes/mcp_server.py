"""A server of the Model Context Protocol as its public pages describe it, and bad ones: `mcp_server.py MODE [STATE]`.

It refuses what a real one refuses: a call before `initialized`, a method that it does not know, a tool that it has not.
https://modelcontextprotocol.io/specification/2025-06-18
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from typing import Any

MODE = sys.argv[1] if len(sys.argv) > 1 else "good"
STATE = sys.argv[2] if len(sys.argv) > 2 else ""
OBJECT = {"type": "object", "properties": {"text": {"type": "string"}}}


def say(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def tool(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "description": f"does {name}", "inputSchema": OBJECT, **more}


def note(what: str) -> None:
    if STATE:
        with open(STATE, "a", encoding="utf-8") as file:
            file.write(what + "\n")


class Server:
    def __init__(self) -> None:
        self.ready = False
        self.extra: list[dict[str, Any]] = []
        self.waiting: dict[str, object] = {}

    def initialize(self, params: dict[str, Any]) -> dict[str, Any]:
        assert params["protocolVersion"] == "2025-06-18" and params["clientInfo"]["name"]
        version = {"old": "2024-11-05", "future": "2099-01-01"}.get(MODE, "2025-06-18")
        capabilities: dict[str, Any] = {} if MODE == "no_tools" else {"tools": {"listChanged": True}}
        return {
            "protocolVersion": version,
            "capabilities": capabilities,
            "serverInfo": {"name": "fake", "version": "1"},
        }

    def tools(self, params: dict[str, Any]) -> dict[str, Any]:
        if MODE == "endless":
            return {"tools": [], "nextCursor": "again"}
        if MODE == "odd":
            large = {"type": "object", "description": "x" * 20_000}
            odd = [
                tool("a.b c"),
                tool("a_b_c"),
                tool("x" * 65),
                tool("", description=1),
                tool("array", inputSchema={"type": "array"}),
                tool("large", inputSchema=large),
            ]
            return {"tools": [*odd, {"nothing": 1}, 7]}
        if params.get("cursor") == "2":
            return {
                "tools": [tool("wait"), tool("die"), tool("pid"), tool("leak"), tool("flood"), *self.extra]
            }
        first = [tool("echo", annotations={"readOnlyHint": True}), tool("blocks"), tool("fail"), tool("grow")]
        return {"tools": first, "nextCursor": "2"}

    def call(self, number: object, params: dict[str, Any]) -> dict[str, Any] | None:
        name, arguments = params["name"], params.get("arguments", {})
        if name == "echo":
            return {"content": [{"type": "text", "text": arguments["text"]}]}
        if name == "blocks":
            blocks = [
                {"type": "text", "text": "one"},
                {"type": "image", "mimeType": "image/png", "data": "AAAA"},
                {"type": "resource", "resource": {"uri": "file:///a", "text": "inside"}},
                {"type": "resource", "resource": {"uri": "file:///b", "blob": "AAAA"}},
                {"type": "resource_link", "uri": "file:///c", "name": "c"},
            ]
            return {"content": blocks, "structuredContent": {"n": 1}}
        if name == "fail":
            return {"content": [{"type": "text", "text": "no\nsuch city"}], "isError": True}
        if name == "grow":
            self.extra.append(tool("grown"))
            say({"method": "notifications/tools/list_changed"})
            same = {"ok": True}
            return {"content": [{"type": "text", "text": json.dumps(same)}], "structuredContent": same}
        if name == "pid":
            environ = {key: value for key, value in os.environ.items() if key != "LC_CTYPE"}
            return {"content": [], "structuredContent": {"pid": os.getpid(), "environ": environ}}
        if name == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if name == "leak":
            sys.stderr.write(f"password is {os.environ.get('FAKE_SECRET')}\n")
            sys.stderr.flush()
            os._exit(4)
        while name == "flood":
            say({"method": "notifications/progress", "params": {"progress": "x" * 8000}})
        if name == "wait":
            note("waits")
            return None
        raise LookupError(name)

    def take(self, message: dict[str, Any]) -> None:
        method, number, params = message.get("method"), message.get("id"), message.get("params", {})
        if method is None:
            note(f"answered {message['id']} {message.get('error', {}).get('code')} {message.get('result')}")
        elif method == "notifications/initialized":
            self.ready = True
            say({"method": "notifications/message", "params": {"level": "info", "data": "secret words"}})
            say({"id": "p", "method": "ping"})
            say({"id": "r", "method": "roots/list"})
        elif method == "notifications/cancelled":
            note(f"cancelled {params['requestId']}")
        elif method == "initialize":
            say({"id": number, "result": self.initialize(params)})
        elif method == "ping":
            say({"id": number, "result": {}})
        elif not self.ready:
            say({"id": number, "error": {"code": -32600, "message": "not initialized"}})
        elif method == "tools/list":
            say({"id": number, "result": self.tools(params)})
        elif method == "tools/call":
            try:
                result = self.call(number, params)
            except LookupError as error:
                say({"id": number, "error": {"code": -32602, "message": f"unknown tool {error}"}})
                return
            if result is not None:
                say({"id": number, "result": result})
        else:
            say({"id": number, "error": {"code": -32601, "message": "unknown method"}})


def main() -> None:
    note(f"began {os.getpid()}")
    if MODE == "crash":
        sys.stderr.write("no module named nothing\n")
        sys.exit(1)
    if MODE == "hang":
        while True:
            time.sleep(60)
    server = Server()
    for line in sys.stdin:
        server.take(json.loads(line))


if __name__ == "__main__":
    main()
