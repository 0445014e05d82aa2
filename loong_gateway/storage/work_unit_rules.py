"""What a work unit may be: its words, its bounds, when it is tried again. No database here."""

from __future__ import annotations

__all__ = [
    "DEFAULT_TTL_MS",
    "DISPOSITIONS",
    "HELD",
    "ID_PATTERN",
    "KINDS",
    "LONGEST_TTL_MS",
    "MOST_DEPENDENCIES",
    "MOST_EVENTS",
    "MOST_HEARTBEATS",
    "MOST_NOTES",
    "PRIORITIES",
    "SOURCES",
    "SOURCE_FIELDS",
    "STATUSES",
    "TERMINAL",
    "UNCLAIMED",
    "backoff_ms",
]

KINDS = ("feature", "issue", "review", "ops")
SOURCES = ("manual", "discord", "github")
SOURCE_FIELDS = ("project_id", "channel_id", "thread_id", "message_id", "external_ref", "source_url")
# In the order of their weight, from 1.
PRIORITIES = ("low", "normal", "high", "critical")
UNCLAIMED = ("captured", "triaged", "ready", "waiting_external", "waiting_review")
HELD = ("leased", "running")
TERMINAL = ("completed", "failed_terminal", "cancelled")
STATUSES = (
    *("captured", "triaged", "ready", "leased", "running", "waiting_external", "waiting_review"),
    *("retry_pending", "completed", "failed_terminal", "cancelled", "archived"),
)
DISPOSITIONS = ("completed", "retry_pending", "failed_terminal", "cancelled")
ID_PATTERN = r"wu-[0-9a-f]{16}"

DEFAULT_TTL_MS = 300_000
LONGEST_TTL_MS = 7 * 24 * 3_600_000
# Of one unit, in each direction.
MOST_DEPENDENCIES = 100
MOST_NOTES = 200
# Of one unit; older events go, heartbeats first.
MOST_EVENTS = 500
MOST_HEARTBEATS = 20


def backoff_ms(attempts: int, initial_ms: int, longest_ms: int) -> int:
    """How long after the failure of attempt number `attempts` (from 1) the next one waits: doubled each time."""
    return int(min(longest_ms, initial_ms << min(max(0, attempts - 1), 40)))
