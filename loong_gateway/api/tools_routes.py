"""`POST /tools/invoke`: one tool by its name, if that is allowed."""

from __future__ import annotations

from collections.abc import Mapping

from loong_gateway.base.faults import StoreUnwritable
from loong_gateway.control import ControlPlane
from loong_gateway.control.tools import ToolOutcome, ToolRequest

from .answers import Answer, error_answer, json_answer
from .fields import LONGEST_ID, BadFields, json_object, optional_object, optional_text
from .router import Request, Route

__all__ = ["AGENTS", "request_of_tool", "tools_routes"]

PATH = "/tools/invoke"
BODY_BYTES = 2 * 1024 * 1024
MOST_ARGUMENTS = 64
LONGEST_NAME = 200
# The one agent of this gateway, under the names it is called by.
AGENTS = (None, "main", "default", "loong")
STATUS = {"not_found": 404, "invalid_request": 400, "refused": 403, "interrupted": 503, "failed": 500}


def tools_routes(control: ControlPlane) -> list[Route]:
    """The route over `control.tools`."""

    def invoke(request: Request) -> Answer:
        try:
            document = json_object(request.body)
        except BadFields as error:
            return error_answer(400, "invalid_request_error", str(error), shape="openai")
        try:
            asked = _asked(control, document)
            outcome = control.tools.invoke(asked)
        except BadFields as error:
            outcome = ToolOutcome({}, error_code="invalid_request", error=str(error))
        except StoreUnwritable:
            return _refused(503, "unavailable", "the store cannot be read now")
        if outcome.error_code:
            return _refused(STATUS.get(outcome.error_code, 500), outcome.error_code, outcome.error)
        content = [{"type": "text", "text": outcome.text}]
        return json_answer(
            200, {"ok": True, "result": {"content": content, "details": dict(outcome.content)}}
        )

    return [Route("POST", PATH, invoke, body_bytes=BODY_BYTES, shape="openai")]


def request_of_tool(
    control: ControlPlane, name: str, document: Mapping[str, object], entry: str
) -> ToolRequest:
    """The call that a body or the params of a request ask for. Blocks for the session; raises BadFields."""
    agent = optional_text(document, "agentId")
    if agent not in AGENTS:
        raise BadFields("agentId: there is one agent, main")
    named = optional_text(document, "sessionKey")
    session = control.sessions.resolve(named) if named is not None else None
    if named is not None and session is None:
        raise BadFields("sessionKey: is of another agent")
    return ToolRequest(
        name,
        optional_object(document, "args", most=MOST_ARGUMENTS),
        entry,
        session,
        optional_text(document, "idempotencyKey"),
    )


def _asked(control: ControlPlane, document: Mapping[str, object]) -> ToolRequest:
    name = optional_text(document, "name", longest=LONGEST_NAME)
    name = (name or optional_text(document, "tool", longest=LONGEST_NAME) or "").strip()
    if not name:
        raise BadFields("tools.invoke requires name")
    asked = request_of_tool(control, name, document, "http")
    action = optional_text(document, "action", longest=LONGEST_ID)
    if action is None or "action" in asked.arguments:
        return asked
    if not any(tool.name == name and "action" in tool.arguments for tool in control.tools.offered("http")):
        return asked
    return ToolRequest(
        name, {**asked.arguments, "action": action}, "http", asked.session, asked.idempotency_key
    )


def _refused(status: int, kind: str, message: str) -> Answer:
    more = {"requiresApproval": True} if kind == "refused" else {}
    return json_answer(status, {"ok": False, "error": {"type": kind, "message": message, **more}})
