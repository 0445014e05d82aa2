"""What a target of each channel looks like, and what helps when the platform does not know it."""

from __future__ import annotations

import re

from loong_channels.contract import ChannelSpec
from loong_gateway.base.faults import CommandError
from loong_gateway.base.wording import one_line

__all__ = ["check_target", "is_conversation", "refusal_fix"]

# Per channel: the form of a conversation, in words as well, and an example.
# https://core.telegram.org/bots/api#sendmessage ("chat_id": a number, or the name of a public chat)
_FORMS = {
    "telegram": (re.compile(r"-?[0-9]{1,20}|@[A-Za-z][A-Za-z0-9_]{3,31}"), "a number or @name", "123456789"),
    # A message is no receive id; everything else may be one, for a company chooses the ids of its people itself.
    "feishu": (
        re.compile(r"(?!om_)[!-~]{1,256}"),
        "oc_..., ou_..., on_..., a user id or an address",
        "oc_CHAT",
    ),
}
# Targets of another kind than the channel's usual one: their form, in words as well, and an example.
_OTHER_FORMS = {
    ("feishu", "message_reply"): (re.compile(r"om_[A-Za-z0-9_-]{1,128}"), "om_...", "om_MESSAGE"),
}
# Per channel: targets that are people, whose conversation with the bot has an id of its own.
_PEOPLE = {"feishu": re.compile(r"(?:ou_|on_).*|.*@.*")}
_THREAD = re.compile(r"[0-9]{1,20}")
# Per channel: words of the platform's refusal, and what the operator can do about it.
_REFUSALS = {
    "telegram": (
        (
            "chat not found",
            "let the person write to the bot first, or add the bot to the group; then send again",
        ),
        ("bot was blocked", "let the person unblock the bot; then send again"),
        ("bot was kicked", "add the bot to the group again; then send again"),
    ),
    # By code: https://open.feishu.cn/document/server-docs/im-v1/message/create
    "feishu": (
        ("230002", "add the bot to the chat; then send again"),
        ("230013", "let the person be within the availability of the app; then send again"),
        ("230006", "switch the bot of the app on and publish a version; then send again"),
        ("230053", "let the person take the bot's messages again; then send again"),
        ("invalid receive_id", "check the id and its type; then send again"),
        ("99991672", "grant the app the scope im:message:send_as_bot and publish a version; then send again"),
        ("230027", "grant the app the scope im:message:send_as_bot and publish a version; then send again"),
    ),
    "wecom": (
        ("93006", "let the person, or somebody in the group, write to the robot first; then send again"),
    ),
}


def check_target(spec: ChannelSpec, target: str, kind: str) -> None:
    """Raise CommandError for a target that the platform cannot know, before anything is asked."""
    row = _OTHER_FORMS.get((spec.name, kind)) or _FORMS.get(spec.name)
    if row is None:
        return
    form, expected, example = row
    conversation, colon, thread = target.partition(":") if spec.threads else (target, "", "")
    if form.fullmatch(conversation) and (not colon or _THREAD.fullmatch(thread)):
        return
    meant = _kind_by_form(spec, target)
    if meant is not None:
        # Only the kind of the target was left out.
        example = target
    wanted = meant or kind
    option = "" if wanted == spec.target_kinds[0] else f" --target-kind {wanted}"
    raise CommandError(
        "channels.bad_target",
        given=f'"{one_line(target, 60)}"',
        word=spec.conversation_word if kind == spec.target_kinds[0] else kind.replace("_", " "),
        channel=spec.name,
        expected=expected,
        fix=f"loong channels send {spec.name} --target {example}{option} --text hello",
    )


def _kind_by_form(spec: ChannelSpec, target: str) -> str | None:
    """The unusual kind of target that has this form, if there is one."""
    for (channel, kind), (form, _, _) in _OTHER_FORMS.items():
        if channel == spec.name and form.fullmatch(target):
            return kind
    return None


def is_conversation(spec: ChannelSpec, target: str) -> bool:
    """False for a target whose conversation cannot be told from it, so that no allow-list can be asked about it."""
    people = _PEOPLE.get(spec.name)
    return people is None or people.fullmatch(target) is None


def refusal_fix(spec: ChannelSpec, detail: str) -> str | None:
    """What helps against this refusal of the platform, None when nothing particular is known."""
    said = detail.lower()
    return next((fix for words, fix in _REFUSALS.get(spec.name, ()) if words in said), None)
