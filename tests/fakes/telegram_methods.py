"""The methods of the Bot API that change chats, with the refusals of the real server.

https://core.telegram.org/bots/api - each function gets the server, the bot and the parameters, runs under the
server's lock, returns the result and raises Refusal.
"""

from __future__ import annotations

import functools
import json
import re
import time
from typing import TYPE_CHECKING

from .telegram_html import CannotParse, parse_html, utf16_length
from .telegram_state import BadRequest, Bot, Chat, Refusal, Sent, Upload

if TYPE_CHECKING:
    from .telegram import FakeTelegram

Params = dict

TEXT_UNITS = 4096
SOURCE_BYTES = 32768
NOT_MODIFIED = (
    "message is not modified: specified new message content and reply markup are exactly the same "
    "as a current content and reply markup of the message"
)
ACTIONS = frozenset(
    "typing upload_photo record_video upload_video record_voice upload_voice upload_document choose_sticker "
    "find_location record_video_note upload_video_note".split()
)
REACTIONS = frozenset(
    "❤ 👍 👎 🔥 🥰 👏 😁 🤔 🤯 😱 🤬 😢 🎉 🤩 🤮 💩 🙏 👌 🕊 🤡 🥱 🥴 😍 🐳 ❤‍🔥 🌚 🌭 "
    "💯 🤣 ⚡ 🍌 🏆 💔 🤨 😐 🍓 🍾 💋 🖕 😈 "
    "😴 😭 🤓 👻 👨‍💻 👀 🎃 🙈 😇 😨 🤝 ✍ 🤗 🫡 🎅 🎄 ☃ 💅 🤪 🗿 🆒 💘 🙉 🦄 😘 💊 🙊 😎 👾 🤷‍♂ 🤷 🤷‍♀ 😡".split()
)
ENTITY_TYPES = frozenset(
    "mention hashtag cashtag bot_command url email phone_number bold italic underline strikethrough spoiler "
    "blockquote expandable_blockquote code pre text_link text_mention custom_emoji".split()
)
KNOWN_PARAMS = {
    "getme": "",
    "getfile": "file_id",
    "getupdates": "offset limit timeout allowed_updates",
    "deletewebhook": "drop_pending_updates",
    "setwebhook": "url certificate ip_address max_connections allowed_updates drop_pending_updates secret_token",
    "getwebhookinfo": "",
    "sendmessage": "business_connection_id chat_id message_thread_id direct_messages_topic_id text parse_mode "
    "entities link_preview_options disable_notification protect_content allow_paid_broadcast message_effect_id "
    "reply_parameters reply_markup reply_to_message_id allow_sending_without_reply disable_web_page_preview",
    "editmessagetext": "business_connection_id chat_id message_id inline_message_id text parse_mode entities "
    "link_preview_options reply_markup disable_web_page_preview",
    "deletemessage": "chat_id message_id",
    "sendchataction": "business_connection_id chat_id message_thread_id action",
    "sendmessagedraft": "chat_id message_thread_id draft_id text parse_mode entities",
    "setmessagereaction": "chat_id message_id reaction is_big",
    "setmycommands": "commands scope language_code",
}
FILE_PARTS = {"sendphoto": "photo", "senddocument": "document", "sendaudio": "audio", "sendvideo": "video"}
KNOWN_PARAMS.update(
    {
        method: f"chat_id message_thread_id {part} caption reply_parameters disable_notification"
        for method, part in FILE_PARTS.items()
    }
)
FILE_BYTES = 50 << 20
PHOTO_BYTES = 10 << 20
PICTURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")
# Calls that count against the flood limits and must stay away during a 429.
SENDS = frozenset(["sendmessage", "editmessagetext", "sendmessagedraft", "deletemessage", *FILE_PARTS])


def integer(params: Params, name: str, default: int = 0) -> int:
    """A number as the server reads it: anything that is none counts as the default."""
    value = params.get(name, default)
    if isinstance(value, bool):
        return default
    if isinstance(value, int):
        return value
    return int(value) if isinstance(value, str) and re.fullmatch(r"[+-]?\d{1,18}", value) else default


def flag(params: Params, name: str) -> bool:
    """A boolean, also as the text true, yes or 1."""
    return str(params.get(name, "")).lower() in ("true", "yes", "1")


def nested(params: Params, name: str) -> object:
    """A nested object, plain or as JSON text; None when it is absent or malformed."""
    value = params.get(name)
    if isinstance(value, str):
        try:
            return json.loads(value)
        except ValueError:
            return None
    return value


def chat_of(server: FakeTelegram, params: Params) -> Chat:
    """The chat the call is about."""
    raw = params.get("chat_id", "")
    if raw in ("", None):
        raise BadRequest("chat_id is empty")
    text = str(raw)
    chat = server.chats.get(int(text)) if re.fullmatch(r"-?\d{1,18}", text) and raw is not True else None
    if chat is None:
        raise BadRequest("chat not found")
    return chat


def writable_chat(server: FakeTelegram, params: Params) -> Chat:
    """The chat, when the bot may write there now."""
    chat = chat_of(server, params)
    if chat.migrated_to is not None:
        raise BadRequest(
            "group chat was upgraded to a supergroup chat", {"migrate_to_chat_id": chat.migrated_to}
        )
    if chat.forbidden.startswith("not enough rights"):
        raise BadRequest(chat.forbidden)
    if chat.forbidden:
        raise Refusal(403, f"Forbidden: {chat.forbidden}")
    return chat


def thread_of(chat: Chat, bot: Bot, params: Params, *, general: bool = False) -> int | None:
    """The topic; the General topic has no id except for chat actions, where it is 1."""
    thread_id = integer(params, "message_thread_id")
    if not thread_id:
        return None
    if thread_id == 1 and general and chat.is_forum:
        return 1
    topics_here = chat.is_forum or (chat.type == "private" and bot.has_topics)
    if not topics_here or thread_id == 1 or thread_id not in chat.topics:
        raise BadRequest("message thread not found")
    return thread_id


def formatted(params: Params, *, may_be_empty: bool = False) -> tuple[str, list[dict[str, object]]]:
    """The visible text and its entities."""
    source = params.get("text", "")
    if not isinstance(source, str):
        source = json.dumps(source)
    if any(0xD800 <= ord(character) < 0xE000 for character in source):
        raise BadRequest("strings must be encoded in UTF-8")
    if len(source.encode("utf-8")) > SOURCE_BYTES:
        raise BadRequest("text is too long")
    mode = str(params.get("parse_mode", "")).lower()
    entities: list[dict[str, object]] = []
    if mode == "html":
        try:
            source, entities = parse_html(source)
        except CannotParse as error:
            raise BadRequest(f"can't parse entities: {error}") from error
    elif mode:
        # The other two styles exist on the real server; no client of ours may use them.
        raise BadRequest("unsupported parse_mode")
    elif params.get("entities") is not None:
        entities = _checked_entities(nested(params, "entities"), source)
    if not source and not may_be_empty:
        raise BadRequest("message text is empty")
    text = source.strip()
    if source and not text:
        raise BadRequest("text must be non-empty")
    if utf16_length(text) > TEXT_UNITS:
        raise BadRequest("message is too long")
    return text, entities


def _checked_entities(value: object, text: str) -> list[dict[str, object]]:
    if not isinstance(value, list):
        raise BadRequest("can't parse entities: expected an Array of MessageEntity")
    spans: list[tuple[int, int]] = []
    for entity in value:
        if not isinstance(entity, dict) or entity.get("type") not in ENTITY_TYPES:
            raise BadRequest("can't parse MessageEntity: unsupported type specified")
        offset, length = entity.get("offset"), entity.get("length")
        if not isinstance(offset, int) or not isinstance(length, int) or offset < 0 or length <= 0:
            raise BadRequest("can't parse MessageEntity: invalid offset or length")
        if offset + length > utf16_length(text):
            raise BadRequest(f"entity beginning at UTF-16 offset {offset} ends after the end of the text")
        if any(start < offset < end < offset + length for start, end in spans):
            raise BadRequest("can't parse entities: entities overlap")
        spans.append((offset, offset + length))
    return value


def _reply_target(chat: Chat, params: Params) -> int | None:
    reply = nested(params, "reply_parameters")
    if isinstance(reply, dict):
        wanted, lenient = integer(reply, "message_id"), flag(reply, "allow_sending_without_reply")
    else:
        wanted, lenient = integer(params, "reply_to_message_id"), flag(params, "allow_sending_without_reply")
    if not wanted:
        return None
    if wanted in chat.messages:
        return wanted
    if lenient:
        return None
    raise BadRequest("message to be replied not found")


def send_message(server: FakeTelegram, bot: Bot, params: Params) -> object:
    """https://core.telegram.org/bots/api#sendmessage"""
    chat = writable_chat(server, params)
    thread_id = thread_of(chat, bot, params)
    text, entities = formatted(params)
    reply_to = _reply_target(chat, params)
    message = server.new_message(chat, {"from": bot.card(), "text": text}, thread_id, reply_to)
    if entities:
        message["entities"] = entities
    message_id = int(str(message["message_id"]))
    sent = Sent(
        time.monotonic(),
        chat.id,
        message_id,
        text,
        str(params.get("text")),
        str(params.get("parse_mode", "")),
        entities,
        reply_to,
        thread_id,
        bot.id,
    )
    chat.sent[message_id] = sent
    server.messages.append(sent)
    return message


def send_file(server: FakeTelegram, bot: Bot, params: Params, part: str) -> object:
    """https://core.telegram.org/bots/api#sendphoto, #senddocument, #sendaudio and #sendvideo"""
    chat = writable_chat(server, params)
    thread_id = thread_of(chat, bot, params)
    reply_to = _reply_target(chat, params)
    file = params.get(part)
    if not isinstance(file, Upload):
        raise BadRequest(f"there is no {part} in the request")
    if not file.data:
        raise BadRequest("file must be non-empty")
    if len(file.data) > FILE_BYTES:
        raise Refusal(413, "Request Entity Too Large")
    if part == "photo" and len(file.data) > PHOTO_BYTES:
        raise BadRequest("file is too big")
    if part == "photo" and not file.data.startswith(PICTURES):
        raise BadRequest("IMAGE_PROCESS_FAILED")
    content: dict[str, object] = {"from": bot.card(), part: {"file_id": "f", "file_size": len(file.data)}}
    message = server.new_message(chat, content, thread_id, reply_to)
    message_id = int(str(message["message_id"]))
    sent = Sent(
        time.monotonic(),
        chat.id,
        message_id,
        "",
        "",
        "",
        [],
        reply_to,
        thread_id,
        bot.id,
        kind=part,
        file=file,
    )
    chat.sent[message_id] = sent
    server.messages.append(sent)
    return message


def _known_message_id(chat: Chat, params: Params, purpose: str) -> int:
    message_id = integer(params, "message_id")
    if message_id not in chat.messages:
        raise BadRequest(f"message to {purpose} not found")
    return message_id


def edit_message_text(server: FakeTelegram, bot: Bot, params: Params) -> object:
    """https://core.telegram.org/bots/api#editmessagetext"""
    chat = writable_chat(server, params)
    message_id = _known_message_id(chat, params, "edit")
    message = chat.messages[message_id]
    sent = chat.sent.get(message_id)
    if sent is None or sent.bot_id != bot.id:
        raise BadRequest("message can't be edited")
    text, entities = formatted(params)
    if text == message["text"] and entities == message.get("entities", []):
        raise BadRequest(NOT_MODIFIED)
    message["text"] = sent.text = text
    message["entities"] = sent.entities = entities
    message["edit_date"] = int(server.now())
    sent.source = str(params.get("text"))
    sent.parse_mode = str(params.get("parse_mode", ""))
    sent.edits.append((time.monotonic(), text))
    return message


def delete_message(server: FakeTelegram, bot: Bot, params: Params) -> object:
    """https://core.telegram.org/bots/api#deletemessage"""
    chat = writable_chat(server, params)
    message_id = _known_message_id(chat, params, "delete")
    if chat.type != "private" and message_id not in chat.sent:
        raise BadRequest("message can't be deleted")
    del chat.messages[message_id]
    if message_id in chat.sent:
        chat.sent[message_id].deleted = True
    return True


def send_chat_action(server: FakeTelegram, bot: Bot, params: Params) -> object:
    """https://core.telegram.org/bots/api#sendchataction"""
    chat = writable_chat(server, params)
    thread_of(chat, bot, params, general=True)
    if params.get("action") not in ACTIONS:
        raise BadRequest("wrong parameter action in request")
    return True


def send_message_draft(server: FakeTelegram, bot: Bot, params: Params) -> object:
    """https://core.telegram.org/bots/api#sendmessagedraft"""
    if not server.has_drafts:
        raise Refusal(404, "Not Found: method not found")
    chat = writable_chat(server, params)
    if chat.type != "private":
        raise BadRequest("TEXTDRAFT_PEER_INVALID")
    if integer(params, "draft_id") == 0:
        raise BadRequest("draft_id must be non-zero")
    thread_of(chat, bot, params)
    text, _ = formatted(params, may_be_empty=True)
    server.drafts.append((time.monotonic(), chat.id, integer(params, "draft_id"), text))
    return True


def set_message_reaction(server: FakeTelegram, _bot: Bot, params: Params) -> object:
    """https://core.telegram.org/bots/api#setmessagereaction"""
    chat = writable_chat(server, params)
    message_id = _known_message_id(chat, params, "react")
    reactions = nested(params, "reaction") or []
    if not isinstance(reactions, list) or len(reactions) > 1:
        raise BadRequest("REACTIONS_TOO_MANY")
    for reaction in reactions:
        known = isinstance(reaction, dict) and reaction.get("type") == "emoji"
        if not known or str(reaction.get("emoji")).replace("\ufe0f", "") not in REACTIONS:
            raise BadRequest("REACTION_INVALID")
    server.reactions.append((chat.id, message_id, [reaction["emoji"] for reaction in reactions]))
    return True


def set_my_commands(_server: FakeTelegram, bot: Bot, params: Params) -> object:
    """https://core.telegram.org/bots/api#setmycommands"""
    commands = nested(params, "commands")
    if not isinstance(commands, list):
        raise BadRequest("can't parse commands: expected an Array of BotCommand")
    if len(commands) > 100:
        raise BadRequest("BOT_COMMANDS_TOO_MUCH")
    for command in commands:
        if not re.fullmatch(r"[a-z0-9_]{1,32}", str(command.get("command", ""))):
            raise BadRequest("BOT_COMMAND_INVALID")
        if not 1 <= len(str(command.get("description", ""))) <= 256:
            raise BadRequest("BOT_COMMAND_DESCRIPTION_INVALID")
    bot.commands = commands
    return True


METHODS = {
    **{method: functools.partial(send_file, part=part) for method, part in FILE_PARTS.items()},
    "sendmessage": send_message,
    "editmessagetext": edit_message_text,
    "deletemessage": delete_message,
    "sendchataction": send_chat_action,
    "sendmessagedraft": send_message_draft,
    "setmessagereaction": set_message_reaction,
    "setmycommands": set_my_commands,
}
