"""Calls of tools that wait for a person: `exec.approval.list`, `exec.approval.resolve`."""

from __future__ import annotations

from loong_gateway.control import ControlPlane

from .calls import APPROVALS, Call, Method, RpcFault
from .params import BadParam

__all__ = ["methods"]

LONGEST_ID = 64
# The published clients say how long a permission holds; here each is for one call.
DECISIONS = {"allow-once": True, "deny": False}


def methods(control: ControlPlane) -> list[Method]:
    """The methods over `control.approvals`."""

    def waiting(_call: Call) -> object:
        return {
            "approvals": [
                {
                    "id": one.id,
                    "tool": one.tool,
                    "summary": one.summary,
                    "entry": one.entry,
                    "sessionKey": one.session,
                    "createdAtMs": one.asked_ms,
                    "expiresAtMs": one.expires_ms,
                }
                for one in control.approvals.waiting()
            ]
        }

    def resolve(call: Call) -> object:
        id = call.params.required_text("id", longest=LONGEST_ID)
        decision = call.params.required_text("decision", longest=LONGEST_ID)
        if decision not in DECISIONS:
            raise BadParam("at /decision: must be equal to one of the allowed values")
        if not control.approvals.resolve(id, approved=DECISIONS[decision]):
            raise RpcFault("APPROVAL_NOT_FOUND", "no call waits under this id")
        return {"ok": True, "id": id, "decision": decision}

    return [
        Method("exec.approval.list", APPROVALS, waiting),
        Method("exec.approval.resolve", APPROVALS, resolve),
    ]
