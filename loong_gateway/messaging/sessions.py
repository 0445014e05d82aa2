"""Names of sessions: one stored key per conversation, and every spelling that leads to it. Pure functions.

A stored key is `agent:main:<channel>:<account>:<direct|group>:<conversation>[:<thread>]` for a conversation of a
channel and `agent:main:<name>` for a session of the terminal or the port. A part that holds a colon, a control
character or white space, or starts with the mark itself, is written as `~b64~` and base64url without padding.
"""

from __future__ import annotations

import base64
import binascii

from loong_channels.contract import Address

__all__ = ["DEFAULT_SESSION", "address_of_key", "display_name", "kind_of", "session_key", "session_keys"]

DEFAULT_SESSION = "default"
ROOT = "agent:main:"
MARK = "~b64~"
GROUP = "group"
DIRECT = "direct"


def session_key(given: Address | str, *, kind: str = DIRECT) -> str:
    """The stored key of a conversation or of a name that a person wrote.

    `kind` is that of the inbound message ("direct", "group" or "broadcast", which counts as a group); it matters only
    for an address. For the short spelling `<channel>:<account>:<conversation>` this is the likeliest key; callers
    that can look into the store try every one of `session_keys`.
    """
    if isinstance(given, Address):
        return _route_key(
            given.channel,
            given.account,
            DIRECT if kind == DIRECT else GROUP,
            [given.conversation] if given.thread is None else [given.conversation, given.thread],
        )
    return session_keys(given)[0]


def session_keys(given: str) -> tuple[str, ...]:
    """Every stored key that `given` may mean, the likeliest first.

    Takes a full key, a bare name, `<channel>:<account>:<conversation>[:<thread>]` and the longer form with
    `cfg=<account>` before the platform's own account name. An empty text means the default session.
    """
    text = given.strip() or DEFAULT_SESSION
    if text.startswith(ROOT) and len(text) > len(ROOT):
        return (text,)
    parts = text.split(":")
    if len(parts) > 3 and parts[1].startswith("cfg="):
        # The account of the config stands first, the platform's own name for it after: only the first identifies.
        parts = [parts[0], parts[1][len("cfg=") :], *parts[3:]]
    if len(parts) < 3 or not all(parts):
        return (ROOT + _encode(text),)
    channel, account = parts[0].lower().replace("_", "-"), _decode(parts[1])
    rest = [_decode(part) for part in parts[2:]]
    if rest[0] in (DIRECT, GROUP) and len(rest) > 1:
        return (_route_key(channel, account, rest[0], rest[1:]),)
    # Telegram's groups have negative numbers; elsewhere the id does not tell.
    likely, other = (GROUP, DIRECT) if rest[0].startswith("-") else (DIRECT, GROUP)
    return (_route_key(channel, account, likely, rest), _route_key(channel, account, other, rest))


def display_name(key: str) -> str:
    """How a stored key is shown to people: without the common beginning, parts decoded."""
    if not key.startswith(ROOT):
        return key
    return ":".join(_decode(part) for part in key[len(ROOT) :].split(":"))


def kind_of(key: str) -> str:
    """What kind of conversation a stored key is of: "direct", "group", "global" or "unknown"."""
    if not key.startswith(ROOT):
        return "unknown"
    parts = key[len(ROOT) :].split(":")
    if len(parts) > 3:
        return parts[2] if parts[2] in (DIRECT, GROUP) else "unknown"
    return "global" if parts == ["global"] else DIRECT


def address_of_key(key: str) -> Address | None:
    """Where the conversation of a stored key goes on; None for a session of a terminal or the port."""
    parts = key[len(ROOT) :].split(":") if key.startswith(ROOT) else []
    if len(parts) < 4 or parts[2] not in (DIRECT, GROUP):
        return None
    channel, account, _, conversation, *thread = parts
    return Address(
        _decode(channel), _decode(account), _decode(conversation), _decode(thread[0]) if thread else None
    )


def _route_key(channel: str, account: str, kind: str, rest: list[str]) -> str:
    return ROOT + ":".join([_encode(channel), _encode(account), kind, *map(_encode, rest)])


def _encode(part: str) -> str:
    plain = part.isprintable() and not any(mark in part for mark in (":", " ")) and not part.startswith(MARK)
    if plain and part:
        return part
    return MARK + base64.urlsafe_b64encode(part.encode("utf-8", "surrogatepass")).decode("ascii").rstrip("=")


def _decode(part: str) -> str:
    if not part.startswith(MARK):
        return part
    raw = part[len(MARK) :]
    try:
        return base64.urlsafe_b64decode(raw + "=" * (-len(raw) % 4)).decode("utf-8", "surrogatepass")
    except (binascii.Error, ValueError):
        # Somebody typed the mark without meaning it; the text stands for itself.
        return part
