"""What the model used, as documents for the port and for commands. Tokens only; what they cost, loong does not know."""

from __future__ import annotations

from collections.abc import Sequence

from loong_gateway.storage.usage import UsageRow, totals

__all__ = ["usage_table"]


def usage_table(rows: Sequence[UsageRow]) -> dict[str, object]:
    """{totals, rows}. `silent` are calls for which the provider gave no figures, `failed` those without an answer."""
    return {
        "totals": totals(rows),
        "rows": [
            {
                "name": row.name,
                "profile": row.profile,
                "model": row.model,
                "purpose": row.purpose,
                **row.counts,
            }
            for row in rows
        ],
    }
