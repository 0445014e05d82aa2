"""Runs of the port that use tools: what listeners are told, what is kept, and what is not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from loong_channels.waiting import Deadline
from loong_gateway.control.runs import RunRequest
from loong_gateway.providers.contract import CallOptions, Function, ToolCall
from loong_gateway.tools.contract import Tool
from tests.gateway.messaging.engine_rig import CONFIG
from tests.gateway.messaging.run_rig import MORE, SESSION, RunRig
from tests.gateway.messaging.test_tool_rounds import calls
from tests.waiting import wait_until

TOOLS = (
    CONFIG
    + MORE
    + b"""
[tools]
allow = ["look.up"]
"""
)


@pytest.fixture(name="rig")
def _rig(tmp_path) -> Iterator[RunRig]:
    rig = RunRig(str(tmp_path / "store.sqlite3"), TOOLS)
    text = {"text": {"type": "string"}}
    rig.tools.add(lambda: [Tool("look.up", "", lambda given, _: {"found": given["text"]}, text)])
    try:
        yield rig
    finally:
        rig.close()


def test_listeners_are_told_of_calls_in_order(rig):
    rig.listen()
    rig.provider.script = [calls(("look_up", {"text": "a"}), text="I look."), "Found."]
    result = rig.ask("r1", session=SESSION, durable=True)
    assert result.text == "I look.\n\nFound."
    told = [(one["stream"], one["data"]) for one in rig.told("agent")]
    assert [stream for stream, _ in told] == [
        "lifecycle",
        "assistant",
        "tool",
        "tool",
        "assistant",
        "lifecycle",
    ]
    assert told[1][1]["text"] == "I look."
    assert told[2][1] == {"phase": "start", "name": "look.up", "toolCallId": "c0", "args": '{"text": "a"}'}
    assert told[3][1] == {
        "phase": "result",
        "name": "look.up",
        "toolCallId": "c0",
        "result": '{"found": "a"}',
        "isError": False,
    }
    deltas = [one.get("deltaText", "") for one in rig.told("chat")]
    assert "".join(deltas) == result.text
    assert rig.store.read(lambda conn: conn.execute("SELECT count(*) FROM tool_call").fetchone()) == (0,)


def test_a_run_that_is_gone_with_the_process_keeps_nothing(rig):
    seen = []

    def look(call, stop, on_text):
        seen.append(rig.store.read(lambda conn: conn.execute("SELECT count(*) FROM tool_call").fetchone()[0]))
        return calls()(call, stop, on_text)

    for durable, kept in ((False, 0), (True, 2)):
        rig.provider.script = [calls(("look_up", {"text": "a"})), look]
        assert rig.ask(f"r{durable}", durable=durable).state == "ok"
        assert seen.pop() == kept


def test_who_brings_tools_runs_them(rig):
    rig.provider.script = [calls(("theirs", {"x": 1}))]
    options = CallOptions(tools=(Function("theirs"),))
    result = rig.ask("r1", options=options)
    assert result.tool_calls == (ToolCall("c0", "theirs", '{"x": 1}'),)
    assert rig.provider.calls[0].options == options


def test_a_durable_run_goes_on_in_the_next_process(rig):
    def stopping(_call, stop, _on_text):
        stop.set("stopping")
        return calls()(_call, stop, _on_text)

    rig.provider.script = [calls(("look_up", {"text": "a"})), stopping]
    rig.runs.start(RunRequest("r1", "hello", session=SESSION, durable=True))
    wait_until(lambda: len(rig.provider.calls) == 2)
    rig.lanes.wait_idle(Deadline(15.0))
    rig.settle()
    rig.forget()
    rig.restart()
    rig.provider.script = ["Found."]
    assert rig.runs.recover() == 1
    results: list = []
    rig.runs.watch("r1", results.append)
    wait_until(lambda: results)
    assert [one.text for one in results] == ["Found."]
    assert [one.content for one in rig.provider.calls[-1].messages if one.role == "tool"] == [
        '{"found": "a"}'
    ]
