"""Tools over the WebSocket side: `tools.catalog`, `tools.invoke`, `tools.servers`."""

from __future__ import annotations

from loong_gateway.api.fields import BadFields
from loong_gateway.api.tools_routes import AGENTS, LONGEST_NAME, request_of_tool
from loong_gateway.base.faults import StoreUnwritable
from loong_gateway.control import ControlPlane

from .calls import READ, WRITE, Call, Method, RpcFault
from .params import BadParam

__all__ = ["methods"]

NAMES = ("args", "sessionKey", "agentId", "idempotencyKey")


def methods(control: ControlPlane) -> list[Method]:
    """The methods over `control.tools`."""

    def invoke(call: Call) -> object:
        name = call.params.required_text("name", longest=LONGEST_NAME).strip()
        if not name:
            raise BadParam("at /name: must NOT have fewer than 1 characters")
        given = {one: call.params.raw(one) for one in NAMES}
        try:
            outcome = control.tools.invoke(request_of_tool(control, name, given, "rpc"))
        except BadFields as error:
            raise BadParam(str(error)) from None
        except StoreUnwritable:
            raise RpcFault("UNAVAILABLE", "the store cannot be read now", retryable=True) from None
        if outcome.error_code:
            error_of_tool = {"code": outcome.error_code, "message": outcome.error}
            return {"ok": False, "toolName": name, "error": error_of_tool}
        content = [{"type": "text", "text": outcome.text}]
        output = {"content": content, "details": dict(outcome.content)}
        return {"ok": True, "toolName": name, "source": "core", "output": output}

    def catalog(call: Call) -> object:
        if call.params.text("agentId") not in AGENTS:
            raise BadParam("at /agentId: there is one agent, main")
        tools = [
            {
                "id": tool.name,
                "label": tool.name,
                "description": tool.description,
                "source": "core",
                "defaultProfiles": [],
            }
            for tool in control.tools.offered("rpc")
        ]
        # Only what may be called: there is nothing else that a client could do with a name.
        group = {"id": "gateway", "label": "Gateway", "source": "core", "tools": tools}
        return {"agentId": "main", "profiles": [], "groups": [group] if tools else []}

    return [
        Method("tools.catalog", READ, catalog),
        Method("tools.servers", READ, lambda _: {"servers": [dict(one) for one in control.tool_servers()]}),
        Method("tools.invoke", WRITE, invoke, waits=True, starts_work=True),
    ]
