"""The channel that a command line names, positionally, by flag, or both ways."""

from __future__ import annotations

from loong_channels import catalog
from loong_gateway.base.faults import CommandError
from loong_gateway.base.wording import nearest

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
        meant = nearest(given.strip().lower(), sorted(catalog.KNOWN))
        fix = f"did you mean {meant}? loong channels" if meant else "loong channels"
        raise CommandError("selector.channel_unknown", given=given, fix=fix)
    return name
