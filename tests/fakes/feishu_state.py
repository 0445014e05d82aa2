"""What the double of Feishu knows: the app, chats, messages, and the record of what was asked of it."""

from __future__ import annotations

from dataclasses import dataclass, field


class Refusal(Exception):
    """A call the platform answers with a code; errors usually come with HTTP 400."""

    def __init__(
        self,
        code: int,
        msg: str,
        *,
        status: int = 400,
        error: dict[str, object] | None = None,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(f"{code} {msg}")
        self.code = code
        self.msg = msg
        self.status = status
        self.error = error
        self.headers = headers


@dataclass
class Request:
    """One call. `name` is what orders of faults go by; `status` 0 and `code` None until it was answered."""

    at: float
    name: str
    method: str
    path: str
    params: dict[str, object]
    headers: dict[str, str]
    status: int = 0
    code: int | None = None
    fault: str = ""


@dataclass
class Sent:
    """A message that the platform accepted from the bot, as a reader of the chat sees it.

    `text` is what a reader sees of the content; `pings` are the people that it calls.
    """

    at: float
    message_id: str
    chat_id: str
    msg_type: str
    content: dict[str, object]
    text: str
    pings: list[str] = field(default_factory=list)
    uuid: str | None = None
    parent_id: str | None = None
    root_id: str | None = None
    thread_id: str | None = None
    receive_id_type: str | None = None
    patches: list[tuple[float, str]] = field(default_factory=list)
    recalled: bool = False


@dataclass
class Said:
    """A message of a person: what can be answered, marked and fetched from. `items` are what reading it gives."""

    message_id: str
    chat_id: str
    root_id: str | None = None
    thread_id: str | None = None
    recalled: bool = False
    reactions: dict[str, str] = field(default_factory=dict)
    resources: dict[str, tuple[str, bytes, str, str]] = field(default_factory=dict)
    items: list[dict[str, object]] = field(default_factory=list)


@dataclass
class Chat:
    """`refusal` is the code that every send gets; `moments` are when the last messages came."""

    chat_id: str
    members: set[str] = field(default_factory=set)
    refusal: tuple[int, str] | None = None
    moments: list[float] = field(default_factory=list)


@dataclass
class Token:
    """A tenant token; `ends` is of the double's clock."""

    value: str
    ends: float
    revoked: bool = False
