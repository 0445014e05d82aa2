"""What verbs of this host do when LOONG_GATEWAY_URL names a gateway elsewhere: say so, or refuse."""

from __future__ import annotations

import argparse

from loong_gateway.base.faults import CommandError
from loong_gateway.commands.common import URL_VARIABLE, Context

__all__ = ["heed_variable"]

# Would change or send something through the gateway of this host, where another one may be meant.
REFUSED = (
    *("channels send", "gateway channel", "gateway restart", "gateway resume", "gateway stop"),
    *("sessions archive", "sessions delete"),
    *(
        f"runtime work-unit {name}"
        for name in ("create", "claim", "start", "heartbeat", "complete", "recover")
    ),
    *(f"runtime work-unit {name}" for name in ("archive", "assign", "update", "depend", "undepend", "note")),
)


def heed_variable(verb: str, arguments: argparse.Namespace, context: Context) -> None:
    """Say that the variable is not used by a verb without `--url`. Raises CommandError `usage.not_elsewhere`."""
    if hasattr(arguments, "url") or not context.environ.get(URL_VARIABLE, "").strip():
        return
    if verb in REFUSED:
        raise CommandError("usage.not_elsewhere", verb=verb, command=context.places.command(verb))
    context.err(f"{URL_VARIABLE} is not used by this command: it is for the gateway of this host")
