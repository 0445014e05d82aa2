"""`loong runtime acp status`: whether outside agents can be used, and what they do."""

from __future__ import annotations

import argparse

from loong_gateway.base.wording import plural
from loong_gateway.commands.common import Context
from loong_gateway.commands.config_access import load_config, status_or_none
from loong_gateway.storage import acp_sessions
from loong_gateway.storage.local import LocalStore
from loong_gateway.views.acp import acp_summary

HELP = "show whether outside agents can be used, and what they do"
EXAMPLES = ("loong runtime acp status", "loong runtime acp status --json")
EXIT_CODES = "0 they are off, or can be used; 1 they are on and cannot be used; 2 it could not run"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """This verb has no flags of its own."""


def run(args: argparse.Namespace, context: Context) -> int:
    """Print the block `acp` of `status --json`."""
    del args
    config = load_config(context)
    persisted = LocalStore(context.places).read(acp_sessions.count) or 0
    summary = acp_summary(config, status_or_none(context) or {}, persisted)
    if context.json:
        context.document({"config": config.path, **summary})
    else:
        error = f": {summary['error']}" if summary["error"] else ""
        running = "no gateway uses them now" if summary["observability"] is None else "a gateway uses them"
        stored = f"{plural(persisted, 'session')} {'is' if persisted == 1 else 'are'} stored"
        context.out(f"Agents are {summary['availability']}{error}; {stored}, {running}.")
    return 1 if summary["availability"] == "unavailable" else 0
