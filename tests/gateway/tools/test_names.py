"""The names of tools: those that the configuration knows, and those that models are given."""

from __future__ import annotations

import re

import pytest

from loong_gateway.config.settings import MODEL_TOOLS
from loong_gateway.tools.builtin import all_tools
from loong_gateway.tools.policy import port_may_call, wire_names
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


@pytest.mark.parametrize("section", ["tools", "gateway.tools"])
def test_an_unknown_name_is_a_warning_with_the_nearest_one(section: str) -> None:
    allow = '["web.fetsch", "mcp.files.read", "mcp.files.*", "mcp.other.read", "time"]'
    more = f'[mcp.servers.files]\ncommand = "files"\n[{section}]\nallow = {allow}\n'
    found = [one for one in findings(more) if one.code == "config.gateway.unknown_tool"]
    assert len(found) == 2
    assert "did you mean web.fetch?" in found[0].message
    config = valid(more)
    assert [port_may_call(config, one) for one in ("mcp.files.x", "mcp.other.x")] == [
        section == "gateway.tools",
        False,
    ]


def test_what_the_port_is_denied_goes_before_what_it_is_allowed() -> None:
    config = valid('[gateway.tools]\nallow = ["mcp.files.read", "mcp.files.x"]\ndeny = ["mcp.files.*"]\n')
    assert not port_may_call(config, "mcp.files.read")
