"""[audit]: the journal of what was done and refused."""

from __future__ import annotations

from loong_channels.settings import Setting
from loong_gateway.config.agent_snapshot import AuditSettings
from loong_gateway.config.section import Section
from loong_gateway.config.tables import Table

__all__ = ["AUDIT_SECTIONS", "read_audit"]

AUDIT_SECTIONS = (
    Section(
        "audit",
        (
            Setting(
                "mode",
                "choice",
                "jsonl",
                "where the journal is kept: in a file, or nowhere",
                choices=("jsonl", "off"),
                reload="restart",
            ),
            Setting(
                "path", "path", None, "the file; absent = audit/events.jsonl in the state", reload="restart"
            ),
        ),
        later=("retain_in_memory",),
    ),
)


def read_audit(root: Table) -> AuditSettings:
    """What [audit] says; findings go where the table says."""
    return AuditSettings(**root.child("audit").read_all(AUDIT_SECTIONS[0]))
