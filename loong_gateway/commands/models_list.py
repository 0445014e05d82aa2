"""`loong list-models` and `loong runtime models list`: what the active provider offers."""

from __future__ import annotations

import argparse

from loong_channels.waiting import Deadline
from loong_gateway.commands.common import Context
from loong_gateway.commands.config_access import load_config, provider_error
from loong_gateway.providers.contract import ProviderFault
from loong_gateway.providers.factory import provider_of

HELP = "list the models that the configured provider offers to this key"
EXAMPLES = ("loong list-models", "loong runtime models list --json")
EXIT_CODES = "0 done; 2 the provider gave nothing usable"
WAIT_S = 30.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """This verb has no flags of its own."""


def run(args: argparse.Namespace, context: Context) -> int:
    """Ask and print; 2 when the provider gives nothing usable."""
    del args
    config = load_config(context)
    try:
        provider = provider_of(config, environ=context.environ)
        endpoint = provider.models_endpoint()
        models = list(provider.models(deadline=Deadline(WAIT_S)))
    except ProviderFault as fault:
        raise provider_error(context, fault) from fault
    if context.json:
        context.document(
            {
                "config": config.path,
                "provider_kind": provider.kind,
                "models_endpoint": endpoint,
                "models": models,
            }
        )
        return 0
    context.out(f"config={config.path} provider_kind={provider.kind} models_endpoint={endpoint}")
    for model in models:
        context.out(model)
    return 0
