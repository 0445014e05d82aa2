"""The flags of `channels send` that come from the tables of the channels, and what was given with them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from loong_channels import catalog
from loong_channels.contract import SendOption
from loong_gateway.messaging.send_options import all_options

__all__ = ["Once", "add_option_flags", "given_options"]

_METAVARS = {"choice": "KIND", "json": "JSON", "key": "KEY", "text": "KEY"}
_PREFIX = "option_"


class Once(argparse.Action):
    """Stores one value and refuses a second, which would silently be sent instead of the first."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,  # noqa: ARG002  the signature is argparse's
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,  # noqa: ARG002
    ) -> None:
        """Raise argparse.ArgumentError for the second value."""
        if getattr(namespace, self.dest) is not None:
            raise argparse.ArgumentError(self, "is given more than once")
        setattr(namespace, self.dest, values)


def add_option_flags(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Declare a flag for every option of every channel.

    All of them are read, so that one of another channel can be refused by name. `words` are what follows the verb: the
    help explains the flags of the channel that is named there, and of any other only says that they exist.
    """
    named = next((name for name in map(catalog.canonical, words) if name is not None), None)
    elsewhere: dict[str, list[str]] = {}
    for name, (option, channels) in all_options().items():
        flag = f"--{name.replace('_', '-')}"
        shown = f"{' and '.join(channels)}: {option.help}" if named in channels else argparse.SUPPRESS
        _add(parser, flag, option, shown)
        for channel in channels:
            elsewhere.setdefault(channel, []).append(flag)
    if named is None:
        parser.epilog = "\n".join(
            f"{channel} ({channel}-send --help): {' '.join(flags)}" for channel, flags in elsewhere.items()
        )


def given_options(args: argparse.Namespace) -> dict[str, object]:
    """The options of the command line by name, those that were not given left out; not checked yet."""
    given = {name[len(_PREFIX) :]: value for name, value in vars(args).items() if name.startswith(_PREFIX)}
    return {name: value for name, value in given.items() if value not in (None, False)}


def _add(parser: argparse.ArgumentParser, flag: str, option: SendOption, shown: str) -> None:
    destination = f"{_PREFIX}{option.name}"
    if option.kind == "flag":
        parser.add_argument(flag, dest=destination, action="store_true", help=shown)
        return
    if option.choices and shown is not argparse.SUPPRESS:
        shown = f"{shown} ({', '.join(option.choices)})"
    parser.add_argument(flag, dest=destination, metavar=_METAVARS[option.kind], help=shown)
