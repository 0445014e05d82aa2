"""Where a turn comes from: what is decided about it by who asked, never by what was said."""

from __future__ import annotations

from dataclasses import dataclass

from loong_channels.contract import Address

__all__ = ["Origin"]


@dataclass(frozen=True)
class Origin:
    """`entry`: "chat" (a channel), "rpc", "http", "hook" or "turn" (the commands of this host).

    `turn` names the turn and is the same when it is begun again after a crash: "inbox:SEQ" or "run:ID". A call that a
    client of the port makes by itself is "call:KEY", or "" under no key. `address` and `sender` are those of a chat,
    None elsewhere. `session` is the stored key, None for a run by itself. A `durable` one is begun again after a crash;
    any other is gone with the process. `wants_agent` says that whoever asks wants an outside agent to answer.
    """

    entry: str
    turn: str
    session: str | None = None
    address: Address | None = None
    sender: str | None = None
    durable: bool = True
    wants_agent: bool = False
