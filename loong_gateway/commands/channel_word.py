"""The channel that a command line names, positionally, by flag, or both ways."""

from __future__ import annotations

from loong_channels import catalog
from loong_gateway.base.faults import CommandError
from loong_gateway.base.wording import one_line
from loong_gateway.config.diagnostics import did_you_mean

__all__ = ["chosen_channel"]


def chosen_channel(word: str | None, flag: str | None) -> str:
    """The canonical name. Raises CommandError when none is named, one is unknown, or two differ."""
    given = [name for name in (word, flag) if name]
    if not given:
        raise CommandError("channels.no_channel")
    names = [_known(name) for name in given]
    if len(set(names)) > 1:
        raise CommandError("channels.two_channels", first=given[0], second=given[1])
    return names[0]


def _known(given: str) -> str:
    name = catalog.canonical(given)
    if name is None:
        suggestion = did_you_mean(given.strip().lower(), catalog.KNOWN)
        raise CommandError("selector.channel_unknown", given=one_line(given, 100), suggestion=suggestion)
    return name
