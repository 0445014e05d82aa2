"""Checks of the configured tool servers: whether each can be started and says what it offers."""

from __future__ import annotations

from loong_gateway.base.wording import plural
from loong_gateway.doctor.contract import Check, Inspection, failed, passed, warned
from loong_gateway.tools.mcp import look_once

__all__ = ["check_tool_servers"]


def check_tool_servers(inspection: Inspection) -> list[Check]:
    """All checks of this file. Starts each enabled server once, up to its own `startup_timeout_ms`, and ends it."""
    config = inspection.config
    servers = () if config is None else [one for one in config.mcp.values() if one.enabled]
    checks = []
    for server in servers:
        assert config is not None
        name = f"tool server {server.name}"
        row = look_once(config, server.name, inspection.environ)
        if row["state"] != "ready":
            fix = f"correct [mcp.servers.{server.name}], then: loong runtime mcp show {server.name}"
            checks.append(failed(name, f"{row['last_error']}.", fix))
            continue
        tools, skipped = row["tools"], row["skipped"]
        assert isinstance(tools, list) and isinstance(skipped, list)
        said = f"it offers {plural(len(tools), 'tool')}"
        if skipped:
            checks.append(warned(name, f"{said}; left out: {'; '.join(skipped[:3])}."))
        elif not row["allowed"]:
            fix = f'add "mcp.{server.name}.*" to tools.allow, then: loong gateway restart'
            checks.append(
                warned(name, f"{said}, and tools.allow names none of them, so it is not used.", fix)
            )
        else:
            checks.append(passed(name, said))
    return checks
