"""Tools by name: what may be called, by whom, and what is said about all else."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from loong_gateway.api.rpc.calls import READ, WRITE, RpcFault
from loong_gateway.api.rpc.methods_tools import methods
from loong_gateway.api.rpc.params import BadParam, Params
from loong_gateway.base.faults import StoreUnwritable
from loong_gateway.config.settings import PORT_TOOLS
from loong_gateway.control.tools import ToolRequest
from loong_gateway.tools.contract import Tool
from loong_gateway.tools.desk import HARD_DENIED, Tools
from loong_gateway.tools.looks import built_in_tools
from tests.gateway.api.port_kit import SECRET, Answer, Port, request
from tests.gateway.api.whole_port import WholeGateway, whole_port

ALL = ("channels_status", "models_list", "session_status", "sessions_history", "sessions_list", "time")
ALLOWED = f"[gateway.tools]\nallow = {json.dumps([*ALL, *sorted(HARD_DENIED), 'nope'])}\n"


@pytest.fixture(name="port")
def _port() -> Iterator[Port]:
    port, _, _ = whole_port(ALLOWED)
    with port:
        yield port


def invoke(port: Port, **document: object) -> Answer:
    return port.post("/tools/invoke", document)


def details(answer: Answer) -> dict:
    assert answer.status == 200
    assert answer.json["ok"] is True
    result = answer.json["result"]
    (content,) = result["content"]
    assert content["type"] == "text"
    assert json.loads(content["text"]) == result["details"]
    return result["details"]


def test_nothing_may_be_called_until_it_is_allowed() -> None:
    port, control, _ = whole_port()
    with port:
        for name in (*ALL, "nope"):
            answer = invoke(port, name=name)
            assert answer.status == 404
            told = {"type": "not_found", "message": f"Tool not available: {name}"}
            assert answer.json == {"ok": False, "error": told}
    assert control.tools.offered("http") == ()


def test_what_is_denied_stays_denied() -> None:
    control = WholeGateway(ALLOWED + 'deny = ["time"]\n')
    assert {tool.name for tool in control.tools.offered("http")} == set(ALL) - {"time"}
    assert control.tools.invoke(ToolRequest("time", {}, "rpc")).error_code == "not_found"


@pytest.mark.parametrize("name", sorted(HARD_DENIED))
def test_no_setting_allows_what_acts_on_the_host(name: str) -> None:
    called = []
    config = WholeGateway(ALLOWED).applied
    tools = Tools(lambda: config, [Tool(name, "", lambda given, session: called.append(given) or {})])
    assert tools.invoke(ToolRequest(name, {}, "http")).error_code == "not_found"
    assert tools.offered("http") == ()
    assert called == []


def test_every_tool_looks_at_what_it_says(port: Port) -> None:
    assert details(invoke(port, tool="time"))["utc"] == "2026-11-20T07:52:40+00:00"
    assert details(invoke(port, name="sessions_list", args={"limit": 5}))["total"] == 1
    history = details(invoke(port, name="sessions_history", sessionKey="main"))
    assert [(one["role"], one["text"]) for one in history["messages"]] == [("user", "hello")]
    status = details(invoke(port, name="session_status", args={"sessionKey": "main"}))
    assert (status["exists"], status["messages"], status["activeRuns"]) == (True, 1, 0)
    assert details(invoke(port, name="session_status", args={"sessionKey": "other"}))["exists"] is False
    assert details(invoke(port, name="channels_status"))["accounts"] == []
    assert details(invoke(port, name="models_list"))["models"][0]["id"] == "echo-1"


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"name": ""},
        {"name": 5},
        {"tool": "time", "args": []},
        {"tool": "time", "args": {"x": 1}},
        {"tool": "sessions_list", "args": {"limit": 0}},
        {"tool": "sessions_list", "args": {"limit": True}},
        {"tool": "sessions_list", "args": {"search": 1}},
        {"tool": "sessions_history", "args": {"sessionKey": "agent:other:main"}},
        {"tool": "time", "sessionKey": "agent:other:main"},
        {"tool": "time", "agentId": "other"},
    ],
    ids=json.dumps,
)
def test_requests_that_make_no_sense_are_refused(port: Port, document: dict) -> None:
    answer = invoke(port, **document)
    assert answer.status == 400
    assert answer.json["ok"] is False
    assert answer.json["error"]["type"] == "invalid_request"


def test_a_request_without_a_name_says_so(port: Port) -> None:
    assert invoke(port).json["error"]["message"] == "tools.invoke requires name"


def test_the_name_goes_before_the_tool_and_the_dry_run_is_ignored(port: Port) -> None:
    answer = invoke(port, name="time", tool="sessions_list", action="look", dryRun=True)
    assert "iso" in details(answer)


def test_an_action_is_an_argument_where_the_tool_has_one() -> None:
    port, control, _ = whole_port(ALLOWED)
    kept: list[object] = []
    tool = Tool("time", "", lambda given, _: kept.append(dict(given)) or {}, {"action": {"type": "string"}})
    control.tools = Tools(control.config, [tool])
    with port:
        assert invoke(port, name="time", action="a").status == 200
        assert invoke(port, name="time", action="a", args={"action": "b"}).status == 200
    assert kept == [{"action": "a"}, {"action": "b"}]


def test_a_tool_that_fails_tells_nothing_of_the_inside() -> None:
    port, control, _ = whole_port(ALLOWED)

    def fail(_given: object, _session: object) -> dict:
        raise RuntimeError("secret-of-the-inside")

    control.tools = Tools(control.config, [Tool("time", "", fail)])
    with port:
        answer = invoke(port, name="time")
    assert answer.status == 500
    assert b"inside" not in answer.body


def test_the_credential_the_method_and_the_size_come_first(port: Port) -> None:
    assert port.post("/tools/invoke", {"name": "time"}, token=None).status == 401
    assert port.get("/tools/invoke").status == 405
    assert port.get("/tools/invoke").headers["allow"] == "OPTIONS, POST"
    too_long = request(
        "POST", "/tools/invoke", token=SECRET, Content_Type="application/json", Content_Length="2097153"
    )
    assert port.ask(too_long).status == 413
    assert invoke(port, name="time", args={"x": "y" * 1_500_000}).status == 400


def test_a_broken_body_has_the_shape_of_the_chat_interfaces(port: Port) -> None:
    raw = request("POST", "/tools/invoke", token=SECRET, Content_Type="application/json", Content_Length="1")
    answer = port.ask(raw + b"{")
    assert answer.status == 400
    assert answer.json["error"]["type"] == "invalid_request_error"


def test_the_endpoint_can_be_switched_off() -> None:
    port, _, _ = whole_port("[gateway.http.endpoints.toolsInvoke]\nenabled = false\n")
    with port:
        assert invoke(port, name="time").status == 404


def test_a_long_or_odd_name_is_not_repeated_in_full(port: Port) -> None:
    assert invoke(port, name="x" * 201).status == 400
    answer = invoke(port, name="a\x1b[2J" + "y" * 150)
    assert answer.status == 404
    message = answer.json["error"]["message"]
    assert message.isprintable()
    assert len(message) < 100


class Call:
    """One request of the WebSocket side."""

    def __init__(self, **given: object) -> None:
        self.params = Params(given)


def test_the_same_over_the_websocket_side() -> None:
    control = WholeGateway(ALLOWED)
    catalog, servers, method = methods(control)
    assert (servers.name, servers.scope) == ("tools.servers", READ)
    assert (method.name, method.scope, method.waits) == ("tools.invoke", WRITE, True)
    (group,) = catalog.handler(Call())["groups"]
    assert [tool["id"] for tool in group["tools"]] == list(ALL)
    assert {tuple(tool) for tool in group["tools"]} == {
        ("id", "label", "description", "source", "defaultProfiles")
    }
    assert (catalog.name, catalog.scope) == ("tools.catalog", READ)
    assert catalog.handler(Call(agentId="main"))["agentId"] == "main"
    nothing = methods(WholeGateway())[0].handler(Call())
    assert nothing == {"agentId": "main", "profiles": [], "groups": []}
    with pytest.raises(BadParam):
        catalog.handler(Call(agentId="other"))
    good = method.handler(Call(name="time"))
    assert (good["ok"], good["toolName"], good["source"]) == (True, "time", "core")
    assert good["output"]["details"]["utc"]
    assert method.handler(Call(name="nope")) == {
        "ok": False,
        "toolName": "nope",
        "error": {"code": "not_found", "message": "Tool not available: nope"},
    }
    with pytest.raises(BadParam):
        method.handler(Call(name="time", args=[]))
    for name in ({}, {"name": " "}):
        with pytest.raises(BadParam):
            method.handler(Call(**name))
    control.sessions.fault = StoreUnwritable("no")
    with pytest.raises(RpcFault):
        method.handler(Call(name="time", sessionKey="main"))
    assert method.handler(Call(name="sessions_list"))["error"]["code"] == "failed"


def test_the_built_in_tools_are_the_ones_that_are_promised() -> None:
    names = [tool.name for tool in built_in_tools(WholeGateway(), lambda: 0)]
    assert sorted(names) == sorted(PORT_TOOLS)
    assert tuple(sorted(names)) == ALL
    assert not HARD_DENIED & set(names)
