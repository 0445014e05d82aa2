"""What an operator may ask of a send beyond its text, checked against the table of the channel. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping

from loong_channels import catalog
from loong_channels.contract import ChannelSpec, SendOption
from loong_channels.files import ending
from loong_gateway.base.faults import CommandError

__all__ = ["all_options", "check_contents", "checked_options", "extra_for", "file_kind"]

# What a file is by the ending of its name, as far as channels make a difference.
_KINDS = {"mp3": "audio", "m4a": "audio", "opus": "audio", "mp4": "video"}


def all_options() -> dict[str, tuple[SendOption, tuple[str, ...]]]:
    """Every option there is by its name, with the channels that take it. One name means one thing everywhere."""
    found: dict[str, tuple[SendOption, tuple[str, ...]]] = {}
    for known in catalog.KNOWN.values():
        if known.package is None:
            continue
        for option in catalog.spec(known.id).send_options:
            first, channels = found.get(option.name, (option, ()))
            found[option.name] = (first, (*channels, known.id))
    return found


def checked_options(spec: ChannelSpec, given: Mapping[str, object]) -> dict[str, object]:
    """The options that are set, each as its channel wants it. Raises CommandError for one that it does not take."""
    table = {option.name: option for option in spec.send_options}
    checked = {}
    for name, value in given.items():
        if value is None or value is False:
            continue
        option = table.get(name)
        if option is None:
            _, owners = all_options().get(name, (None, ()))
            of = f"; {' and '.join(owners)} would" if owners else ""
            raise CommandError("channels.no_option", channel=spec.name, option=_flag(name), of=of)
        checked[name] = _checked(option, value)
    return checked


def check_contents(
    spec: ChannelSpec, text: str, options: Mapping[str, object], files: tuple[str, ...]
) -> None:
    """Raise CommandError when there is nothing to send, or an option has nothing that it could be about.

    `files` are the kinds of the files, `options` checked.
    """
    given = [option for option in spec.send_options if option.name in options]
    alone = [option for option in given if option.goes_with == "alone"]
    if not text and not alone and not files:
        raise CommandError("channels.nothing_to_send")
    for option in given:
        if option.goes_with == "text" and not text:
            raise _bad(option, "needs --text")
        if option.goes_with == "file" and not alone and not files:
            raise _bad(option, "needs --file")


def file_kind(spec: ChannelSpec, file_name: str, wanted: str) -> str:
    """As what a file is sent: as the wanted kind, or as a file. Raises CommandError where neither can be."""
    kind = _KINDS.get(ending(file_name), wanted) if wanted == "file" else wanted
    for possible in (kind, "file"):
        if possible in spec.file_kinds:
            return possible
    raise CommandError("channels.no_files", channel=spec.name)


def extra_for(given: Mapping[SendOption, object], what: str, number: int) -> dict[str, object]:
    """What a part carries of the options; `what` is "text" or "file", `number` counts the parts from 0."""
    return {
        option.name: f"{value}-{number}" if option.kind == "key" and number else value
        for option, value in given.items()
        if option.goes_with in ("all", what)
    }


def _checked(option: SendOption, value: object) -> object:
    if option.kind == "flag":
        if value is not True:
            raise _bad(option, "is either there or not")
        return True
    if option.kind == "json":
        return _object(option, value)
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise _bad(option, "needs a value of printable characters")
    if option.kind == "choice":
        folded = value.strip().lower().replace("-", "_")
        if folded not in option.choices:
            raise _bad(option, f"is one of {', '.join(option.choices)}")
        return folded
    if len(value) > option.longest:
        raise _bad(option, f"has at most {option.longest} characters")
    return value.strip()


def _object(option: SendOption, value: object) -> object:
    """An object, given as one or as text."""
    try:
        found = json.loads(value) if isinstance(value, str) else value
        size = len(json.dumps(found, ensure_ascii=False))
    except (ValueError, RecursionError):
        raise _bad(option, "is not valid JSON") from None
    if not isinstance(found, dict) or not found:
        raise _bad(option, "must be a JSON object")
    if size > option.longest:
        raise _bad(option, f"has at most {option.longest} characters")
    return found


def _bad(option: SendOption, detail: str) -> CommandError:
    return CommandError("channels.bad_option", option=_flag(option.name), detail=detail)


def _flag(name: str) -> str:
    """An option as it is written on a command line."""
    return f"--{name.replace('_', '-')}" if name.isprintable() and len(name) <= 40 else "an option"
