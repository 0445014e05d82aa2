"""The names of the events that clients are told of; all others on the bus are for somebody else."""

from __future__ import annotations

__all__ = ["CHALLENGE", "EVENTS"]

CHALLENGE = "connect.challenge"
EVENTS = (
    CHALLENGE,
    "agent",
    "chat",
    "exec.approval.requested",
    "exec.approval.resolved",
    "presence",
    "tick",
    "health",
    "heartbeat",
    "shutdown",
)
