"""What several commands need first: the configuration, the owner's state, the provider, a channel."""

from __future__ import annotations

from collections.abc import Mapping

from loong_gateway.base.faults import CommandError
from loong_gateway.commands.common import Context
from loong_gateway.config import loading as configuration
from loong_gateway.config.snapshot import Config
from loong_gateway.owner.status import collect
from loong_gateway.providers.contract import ProviderFault

__all__ = ["load_config", "load_config_beside", "provider_error", "status_or_none"]


def load_config(context: Context, *, starting: bool = False) -> Config:
    """The validated configuration of these places. Raises ConfigInvalid with every finding.

    `starting` says that a gateway is to be started with it, which gives an error its own exit code.
    """
    return configuration.load(
        context.places, environ=context.environ, dev=context.places.dev, starting=starting
    )


def load_config_beside(context: Context, *, live: bool) -> tuple[Config, bool]:
    """The configuration, and whether it is the file's: beside a live gateway the defaults stand in for a broken file.

    Then one warning says so. Raises ConfigInvalid when nothing runs.
    """
    try:
        return load_config(context), True
    except configuration.ConfigInvalid as error:
        if not live:
            raise
        check = context.places.command("validate-config")
        context.err(
            f"warning: {error.message}; the gateway runs on, but its next start will fail; see: {check}"
        )
    config, _ = configuration.validate_source(context.places.config, None, environ=context.environ)
    assert config is not None
    return config, False


def status_or_none(context: Context) -> Mapping[str, object] | None:
    """The status document; None when the state of the gateway cannot be read by this user."""
    try:
        return collect(context.places, probe=False)
    except CommandError:
        return None


def provider_error(context: Context, fault: ProviderFault) -> CommandError:
    """The same failure as an error of the command line."""
    return CommandError(
        "talk.no_answer",
        detail=str(fault),
        where=fault.where,
        fix=fault.fix or f"see what it answers: {context.places.command('list-models')}",
    )
