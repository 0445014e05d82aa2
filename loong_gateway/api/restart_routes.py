"""The route by which an operator's tools have the gateway restart."""

from __future__ import annotations

from loong_gateway.base.faults import CommandError
from loong_gateway.base.wording import duration
from loong_gateway.control import ControlPlane

from .answers import Answer, error_answer, json_answer
from .fields import BadFields, bounded_number, json_object
from .router import Request, Route

__all__ = ["restart_routes"]

LONGEST_DELAY_S = 3600.0
REFUSED = 409
MESSAGES = {
    "requested": "gateway restart requested",
    "already_requested": "gateway restart already requested",
}


def restart_routes(control: ControlPlane) -> list[Route]:
    """POST /api/gateway/restart {delay_s?}: {outcome, message, due_in_s, instance_id}; 409 when it is refused.

    `instance_id` is that of the gateway that was asked, so that whoever waits knows the next one from it.
    """

    def restart(request: Request) -> Answer:
        try:
            delay_s = bounded_number(
                json_object(request.body), "delay_s", default=0.0, minimum=0.0, maximum=LONGEST_DELAY_S
            )
            outcome = control.request_restart("over the port", delay_s=delay_s)
        except BadFields as error:
            return error_answer(400, "invalid_request", str(error), shape="control")
        except CommandError as error:
            details = {
                "where": error.where,
                "fix": error.fix,
                "exit_code": error.exit_code,
                "findings": list(error.details),
            }
            return error_answer(REFUSED, error.code, error.message, shape="control", details=details)
        due_in_s = control.restart_due_in_s() or 0.0
        document = {
            "outcome": outcome,
            "message": MESSAGES[outcome] + (f"; it begins in {duration(due_in_s)}" if due_in_s >= 1 else ""),
            "due_in_s": round(due_in_s, 3),
            "instance_id": control.status().get("instance_id"),
        }
        return json_answer(200, document)

    return [Route("POST", "/api/gateway/restart", restart)]
