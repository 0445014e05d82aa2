"""Texts about channels: listing, sending, asking a platform."""

from __future__ import annotations

TEXTS: dict[str, tuple[str, str | None, str | None, int]] = {
    "channels.no_channel": (
        "canonical grouped channel commands require a channel id; pass `CHANNEL` positionally or `--channel <CHANNEL>`",
        None,
        "see which there are: loong channels list --all",
        2,
    ),
    "channels.two_channels": (
        "two channels are named: {first} and {second}",
        None,
        "name one of them; see what is configured: loong channels",
        2,
    ),
    "channels.target_kind": (
        "{channel} --target-kind does not support `{given}`; use `{allowed}`",
        None,
        "loong channels send --help",
        2,
    ),
    "channels.no_option": (
        "{channel} does not take {option}{of}",
        None,
        "loong channels send --help",
        2,
    ),
    "channels.bad_option": ("{option} {detail}", None, "loong channels send --help", 2),
    "channels.nothing_to_send": (
        "there is nothing to send; give --text, --file or --image",
        None,
        "loong channels send --help",
        2,
    ),
    "channels.no_files": ("{channel} cannot send files", None, "loong channels send --help", 2),
    "channels.file": (
        "the file cannot be sent: {detail}",
        "{path}",
        "name a regular file that this user can read",
        2,
    ),
    "channels.file_size": (
        "the file cannot be sent: {detail}",
        "{path}",
        "name a file that is not empty and has at most {limit} MB",
        2,
    ),
    "channels.many_files": (
        "{files} files are named; at most {limit} are sent at once",
        None,
        "send them with several commands",
        2,
    ),
    "channels.files_waiting": (
        "too many files wait to be sent; they have more than {limit} MB",
        "{path}",
        "let them be sent; see: loong channels status",
        2,
    ),
    "channels.no_copy": (
        "there is no such file among those that wait to be sent",
        None,
        "loong channels send --help",
        2,
    ),
    "channels.not_served": (
        "{given} is not served by the running gateway, which serves {served}",
        None,
        "see what is configured: loong channels status",
        2,
    ),
    "channels.empty_text": ("the text to send must not be empty", None, "loong channels send --help", 2),
    "channels.long_text": (
        "the text to send has {characters} characters; at most {limit} are sent at once",
        None,
        "loong channels send --help",
        2,
    ),
    "channels.empty_target": ("--target must not be empty", None, "loong channels send --help", 2),
    "channels.bad_target": (
        "--target {given} is no {word} of {channel}: expected {expected}",
        None,
        "{fix}",
        2,
    ),
    "channels.bad_text": (
        "the text is not UTF-8: {detail}",
        None,
        "loong channels send --help",
        2,
    ),
    "channels.secret_missing": (
        "{detail}; nothing was sent",
        "{setting} in {config}",
        "{fix}",
        2,
    ),
    "channels.not_asked": (
        "{channel}/{account} could not be reached: {detail}; nothing was sent",
        None,
        "loong channels status --probe",
        2,
    ),
    "channels.refused": ("{channel}/{account} refused the message: {detail}", None, "{fix}", 1),
    "channels.gateway_silent": (
        "the gateway holds this home and does not answer: {detail}; nothing was sent",
        None,
        "loong gateway status",
        2,
    ),
    "channels.no_outcome": (
        "the gateway was asked and did not say what became of it: {detail}; the outcome is unknown",
        None,
        "look into the conversation before sending again; the gateway: loong gateway status",
        1,
    ),
    "channels.unknown_fate": (
        "{channel}/{account} did not confirm the message: {detail}; the outcome is unknown, it may have arrived",
        None,
        "look into the conversation before sending again",
        1,
    ),
    "channels.partly_sent": (
        "{channel}/{account} took {sent} of {parts} parts, then: {detail}",
        None,
        "send only the rest again; see: loong channels status --probe",
        1,
    ),
}
