"""A tool server written with the protocol's own package, run as a program by the test beside it."""

from __future__ import annotations

import asyncio
from typing import Any

from mcp.server import MCPServer  # type: ignore[import-not-found,unused-ignore]

server = MCPServer("oracle")


@server.tool()  # type: ignore[untyped-decorator,unused-ignore]
def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


@server.tool()  # type: ignore[untyped-decorator,unused-ignore]
def greet(name: str) -> dict[str, Any]:
    """Greets."""
    return {"greeting": f"hello {name}"}


@server.tool()  # type: ignore[untyped-decorator,unused-ignore]
def refuse() -> str:
    """Always fails."""
    raise ValueError("no such city")


@server.tool()  # type: ignore[untyped-decorator,unused-ignore]
async def wait() -> str:
    """Takes an hour."""
    await asyncio.sleep(3600)
    return "done"


if __name__ == "__main__":
    server.run("stdio")
