"""`loong runtime acp observability`: what the running gateway has counted of outside agents."""

from __future__ import annotations

import argparse

from loong_gateway.commands.common import Context
from loong_gateway.commands.config_access import load_config, status_or_none
from loong_gateway.views.acp import observability_document

HELP = "show what the running gateway has counted of outside agents"
EXAMPLES = ("loong runtime acp observability", "loong runtime acp observability --json")
EXIT_CODES = "0 done; 1 no gateway runs, or it uses no agents; 2 it could not run"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """This verb has no flags of its own."""


def run(args: argparse.Namespace, context: Context) -> int:
    """Print the figures, {config, snapshot} for --json; the snapshot is null without a gateway that uses agents."""
    del args
    document = observability_document(load_config(context), status_or_none(context) or {})
    snapshot = document["snapshot"]
    if context.json:
        context.document(document)
    elif not isinstance(snapshot, dict):
        context.out("No running gateway uses agents.")
    else:
        for group, figures in snapshot.items():
            known = figures.items() if isinstance(figures, dict) else ()
            context.out(
                f"{group:<14}  {', '.join(f'{name} {_shown(value)}' for name, value in known) or '-'}"
            )
    return 0 if isinstance(snapshot, dict) else 1


def _shown(value: object) -> object:
    if isinstance(value, dict):
        return "+".join(f"{name}:{count}" for name, count in value.items()) or "-"
    return "-" if value is None else value
