"""Tool servers, judged by the protocol's own package. Skipped where the package is not installed."""

from __future__ import annotations

import pathlib
import sys

import pytest

from loong_channels.waiting import Deadline, StopToken
from loong_gateway.base.child_process import child_environment
from loong_gateway.base.stdio_peer import PeerProgram
from loong_gateway.base.threads import ThreadRegistry
from loong_gateway.tools.contract import ToolFailed
from loong_gateway.tools.mcp_client import PROTOCOL, McpClient

pytest.importorskip("mcp.server", exc_type=ImportError)

SERVER = str(pathlib.Path(__file__).with_name("mcp_server.py"))


def test_a_server_of_the_official_package_is_spoken_to() -> None:
    threads = ThreadRegistry()
    program = PeerProgram("oracle", (sys.executable, SERVER), None, child_environment((), {}, {}))
    client = McpClient(program, threads, Deadline(30), StopToken())
    try:
        assert client.version == PROTOCOL
        assert {tool.name for tool in client.tools} == {"add", "greet", "refuse", "wait"}
        assert client.skipped == ()

        def call(tool: str, seconds: float = 20, **given: object) -> object:
            return client.call(tool, given, Deadline(seconds), StopToken())

        assert call("add", a=2, b=3) == {"text": "5", "structured": {"result": 5}}
        assert call("greet", name="Wu") == {"structured": {"greeting": "hello Wu"}}
        with pytest.raises(ToolFailed, match="refuse"):
            call("refuse")
        with pytest.raises(ToolFailed):
            call("add", a="x", b=1)
        with pytest.raises(ToolFailed):
            call("nothing")
        with pytest.raises(ToolFailed, match="in time"):
            call("wait", seconds=0.1)
        # It goes on after a call that was cancelled.
        assert call("add", a=1, b=1) == {"text": "2", "structured": {"result": 2}}
    finally:
        client.close(Deadline(10))
    assert threads.join_all(Deadline(15)) == []
