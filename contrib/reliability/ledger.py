"""Keeps account of numbered messages and their replies over many kills.

A message is "m<n>"; its reply begins with "re: m<n>", or in several parts with "re: m<n> p<k>", k from 1.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from tests.fakes.telegram import FakeTelegram

Key = tuple[int, int]

REPLY = re.compile(r"re: m(\d+)(?: p(\d+))?(?![\w])")


def key_of(text: str) -> Key | None:
    """The number of the message and of the part, 0 for a reply of one part."""
    match = REPLY.match(text)
    return (int(match.group(1)), int(match.group(2) or 0)) if match else None


class Ledger:
    """What was asked, answered, confirmed, and which second answers a kill excuses.

    `parts` tells how many parts the reply to a number has, where it is not one.
    """

    def __init__(self, telegram: FakeTelegram, parts: Mapping[int, int] | None = None) -> None:
        self._telegram = telegram
        self._parts = dict(parts or {})
        self.excused: Counter[Key] = Counter()
        self.kills_with_send = 0
        self.at_risk = 0
        self.strange: list[str] = []

    def expected(self, number: int) -> list[Key]:
        """The parts that must arrive for a number."""
        count = self._parts.get(number)
        return [(number, 0)] if count is None else [(number, part) for part in range(1, count + 1)]

    def replies(self) -> dict[int, list[Key]]:
        """Per chat what was answered, in order."""
        found: dict[int, list[Key]] = defaultdict(list)
        for sent in list(self._telegram.messages):
            key = key_of(sent.text)
            if key is not None:
                found[sent.chat_id].append(key)
        return found

    def answered(self) -> Counter[Key]:
        """How often each part arrived."""
        return Counter(key for keys in self.replies().values() for key in keys)

    def asked(self) -> dict[int, int | None]:
        """Update ids by number."""
        return {int(one.text[1:]): one.update_id for one in list(self._telegram.injected)}

    def open(self) -> list[int]:
        """Numbers that are not answered in full."""
        answered = self.answered()
        return [number for number in self.asked() if not all(answered[key] for key in self.expected(number))]

    def acknowledged_open(self) -> list[int]:
        """Numbers that only the daemon knows of now: confirmed at the platform, not answered yet."""
        open_now = self.open()
        asked = self.asked()
        return [number for number in open_now if self._telegram.confirmed(asked[number])]

    def note_kill(self, sending: Iterable[tuple[str, Key | None]]) -> list[str]:
        """Account for the parts that were on their way; complaints about what may not be."""
        self.at_risk += len(self.acknowledged_open())
        per_conversation: Counter[str] = Counter()
        for conversation, key in sending:
            per_conversation[conversation] += 1
            if key is not None:
                self.excused[key] += 1
        if per_conversation:
            self.kills_with_send += 1
        return [
            f"{count} parts of conversation {conversation} in sending at once"
            for conversation, count in per_conversation.items()
            if count > 1
        ]

    def verdict(self) -> tuple[dict[str, object], list[str]]:
        """The figures of the end, and what did not hold."""
        asked, answered, replies = self.asked(), self.answered(), self.replies()
        lost = self.open()
        twice = {key: count - 1 for key, count in answered.items() if count > 1}
        unexcused = [key for key, extra in twice.items() if extra > self.excused[key]]
        disorder = [chat for chat, keys in replies.items() if keys != sorted(keys)]
        strangers = [sent.text[:60] for sent in list(self._telegram.messages) if key_of(sent.text) is None]
        failures = [f"double: {crash}" for crash in self._telegram.server.crashes]
        failures += sorted(set(self._telegram.complaints))
        failures += _complaint("never answered", lost)
        failures += _complaint("sent twice without having been in sending at a kill", unexcused)
        failures += _complaint("chats out of order", disorder)
        failures += _complaint("messages nobody asked for", strangers)
        metrics: dict[str, object] = {
            "messages": len(asked),
            "acknowledged_and_open_at_kills": self.at_risk,
            "lost": len(lost),
            "duplicates": sum(twice.values()),
            "duplicates_unexcused": len(unexcused),
            "in_sending_at_kills": sum(self.excused.values()),
            "kills_with_a_send_in_flight": self.kills_with_send,
            "chats_out_of_order": len(disorder),
        }
        return metrics, failures


def _complaint(what: str, found: Sequence[object]) -> list[str]:
    return [f"{what}: {len(found)}, such as {list(found[:8])}"] if found else []
