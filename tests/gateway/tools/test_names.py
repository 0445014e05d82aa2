"""The names of tools: those that the configuration knows, and those that models are given."""

from __future__ import annotations

import re

from loong_gateway.config.settings import MODEL_TOOLS
from loong_gateway.tools.builtin import all_tools
from loong_gateway.tools.policy import wire_names
from tests.gateway.api.whole_port import WholeGateway
from tests.gateway.config.reading import findings, valid
from tests.gateway.tools.tool_rig import quiet_egress


def test_the_configuration_knows_every_tool() -> None:
    tools = all_tools(WholeGateway(), lambda: 0, quiet_egress(), ())
    assert sorted(tool.name for tool in tools) == sorted(MODEL_TOOLS)


def test_names_on_the_wire_are_short_plain_and_stay_the_same() -> None:
    names = [*MODEL_TOOLS, "mcp.a.b", "mcp.a_b", "mcp.a." + "x" * 99, "mcp.ä.é"]
    wire = wire_names(names)
    assert sorted(wire.values()) == sorted(names)
    assert all(re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", one) for one in wire)
    assert wire_names(reversed(names)) == wire
    assert wire["web_fetch"] == "web.fetch"


def test_an_unknown_name_is_a_warning_with_the_nearest_one() -> None:
    allow = '["web.fetsch", "mcp.files.read", "mcp.files.*", "mcp.other.read", "time"]'
    more = f'[mcp.servers.files]\ncommand = "files"\n[tools]\nallow = {allow}\n'
    found = [one for one in findings(more) if one.code == "config.gateway.unknown_tool"]
    assert len(found) == 2
    assert valid(more).tools.allow[0] == "web.fetsch"
