"""What a run's end looks like on the wire. Pure.

https://docs.openclaw.ai/gateway/protocol
"""

from __future__ import annotations

from loong_gateway.control.runs import RunResult, RunTicket
from loong_gateway.providers.contract import Usage

from .calls import Call, RpcFault
from .session_keys import AGENT_ID

__all__ = ["accepted", "answer_end", "in_flight", "wait_payload"]


def accepted(ticket: RunTicket) -> dict[str, object]:
    """The first answer to `agent`."""
    return {
        "runId": ticket.run_id,
        "status": "accepted",
        "acceptedAt": ticket.accepted_ms,
        **_session(ticket.session),
    }


def in_flight(ticket: RunTicket) -> dict[str, object]:
    """The only answer to a repetition of what runs already."""
    return {"runId": ticket.run_id, "status": "in_flight", **_session(ticket.session)}


def answer_end(call: Call, result: RunResult) -> None:
    """The last answer to `agent`. A failed run has an error and a payload, an aborted one is no error."""
    if result.state == "ok":
        call.respond(_completed(result))
    elif result.state == "error":
        why = result.error or "the run failed"
        payload = {"runId": result.run_id, "status": "error", "summary": why}
        call.fail(RpcFault("UNAVAILABLE", why, payload=payload))
    else:
        summary, reason = "aborted", result.stop_reason
        if result.state == "timed_out":
            summary, reason = "timed out", "timeout"
        call.respond(
            {"runId": result.run_id, "status": "timeout", "summary": summary, "stopReason": reason or "rpc"}
        )


def wait_payload(result: RunResult) -> dict[str, object]:
    """The answer to `agent.wait` when the run has ended."""
    payload: dict[str, object] = {"runId": result.run_id}
    if result.state == "ok":
        payload["status"] = "ok"
    elif result.state == "aborted":
        payload.update(status="error", error="aborted", stopReason=result.stop_reason or "rpc")
    elif result.state == "timed_out":
        payload.update(status="timeout", error=result.error, stopReason="timeout")
    else:
        payload.update(status="error", error=result.error or "the run failed")
    times = {"startedAt": result.started_ms, "endedAt": result.ended_ms}
    return {**payload, **{name: at_ms for name, at_ms in times.items() if at_ms is not None}}


def _completed(result: RunResult) -> dict[str, object]:
    agent: dict[str, object] = {
        name: value
        for name, value in (
            ("sessionId", result.session_id),
            ("provider", result.provider),
            ("model", result.model),
        )
        if value
    }
    if result.usage is not None:
        agent["usage"] = _usage(result.usage)
    meta: dict[str, object] = {"agentMeta": agent}
    if result.started_ms is not None and result.ended_ms is not None:
        # The clock of the host may have been set in between.
        meta["durationMs"] = max(0, result.ended_ms - result.started_ms)
    answer: dict[str, object] = {"payloads": [{"text": result.text, "mediaUrl": None}], "meta": meta}
    if result.delivery is not None:
        answer["deliveryStatus"] = result.delivery
    return {"runId": result.run_id, "status": "ok", "summary": "completed", "result": answer}


def _usage(usage: Usage) -> dict[str, int]:
    counts = usage.counts()
    counts.pop("reasoning", None)
    return {"cacheRead": counts.pop("cached", 0), **counts, "cacheWrite": 0}


def _session(session: str | None) -> dict[str, object]:
    return {"agentId": AGENT_ID} if session is None else {"sessionKey": session, "agentId": AGENT_ID}
