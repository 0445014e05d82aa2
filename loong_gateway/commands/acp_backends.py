"""`loong runtime acp backends`: the outside agents that can be started."""

from __future__ import annotations

import argparse

from loong_gateway.acp.dispatch import backend_of
from loong_gateway.base.wording import visible
from loong_gateway.commands.common import Context
from loong_gateway.commands.config_access import load_config
from loong_gateway.views.acp import backends_document

HELP = "list the outside agents that can be started"
EXAMPLES = ("loong runtime acp backends", "loong list-acp-backends --json")
EXIT_CODES = "0 done; 2 it could not run"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """This verb has no flags of its own."""


def run(args: argparse.Namespace, context: Context) -> int:
    """Print the backends: {config, enabled, selected, available, control_plane} for --json."""
    del args
    config = load_config(context)
    if context.json:
        context.document(backends_document(config))
        return 0
    settings = config.acp
    if not settings.backends:
        context.out("No backend is configured; write [acp.backends.NAME] with command.")
    selected = backend_of(settings, settings.default_agent)
    for backend in settings.backends.values():
        mark = " *" if backend is selected else ""
        context.out(f"{backend.name}{mark}  {visible(backend.command or 'has no command')}")
    return 0
