"""Keeps account of numbered messages and their replies over many kills.

A message is "m<n>"; its reply begins with "re: m<n>", or in several parts with "re: m<n> p<k>", k from 1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from .platforms import Platform
from .store_view import Key, StoreView, key_of

__all__ = ["Ledger"]


class Ledger:
    """What was asked, answered, confirmed, and which second answers a kill excuses.

    `parts` tells how many parts the reply to a number has, where it is not one.
    """

    def __init__(self, platforms: Sequence[Platform], parts: Mapping[int, int] | None = None) -> None:
        self._platforms = platforms
        self._parts = dict(parts or {})
        self.excused: Counter[Key] = Counter()
        self.kills_with_send = 0
        self.at_risk = 0

    def expected(self, number: int) -> list[Key]:
        """The parts that must arrive for a number."""
        count = self._parts.get(number)
        return [(number, 0)] if count is None else [(number, part) for part in range(1, count + 1)]

    def replies(self) -> dict[str, list[str]]:
        """Everything that readers saw, by conversation, in order."""
        found: dict[str, list[str]] = {}
        for platform in self._platforms:
            found.update(platform.replies())
        return found

    def count(self) -> int:
        """How many replies there are."""
        return sum(len(texts) for texts in self.replies().values())

    def answered(self) -> Counter[Key]:
        """How often each part arrived."""
        keys = (key_of(text) for texts in self.replies().values() for text in texts)
        return Counter(key for key in keys if key is not None)

    def asked(self) -> list[int]:
        """The numbers that must be answered."""
        return [number for platform in self._platforms for number in platform.asked()]

    def open(self) -> list[int]:
        """Numbers that are not answered in full."""
        answered = self.answered()
        return [number for number in self.asked() if not all(answered[key] for key in self.expected(number))]

    def open_of(self, platform: Platform) -> list[int]:
        """Those of one platform."""
        answered = Counter(key_of(text) for texts in platform.replies().values() for text in texts)
        return [n for n in platform.asked() if not all(answered[key] for key in self.expected(n))]

    def note_kill(self, view: StoreView) -> list[str]:
        """Account for the parts that were on their way, and for who knows what; complaints about what may not be."""
        for platform in self._platforms:
            platform.note_kill(view)
        open_now = set(self.open())
        complaints = []
        for platform in self._platforms:
            acknowledged = [number for number in platform.asked() if platform.is_acknowledged(number)]
            self.at_risk += len(open_now.intersection(acknowledged))
            missing = [number for number in acknowledged if platform.row_of(number) not in view.known]
            complaints += _complaint(f"{platform.name}: acknowledged and not in the store", missing)
        per_conversation: Counter[str] = Counter()
        for conversation, key in view.sending:
            per_conversation[conversation] += 1
            if key is not None:
                self.excused[key] += 1
        if per_conversation:
            self.kills_with_send += 1
        return complaints + [
            f"{count} parts of conversation {conversation} in sending at once"
            for conversation, count in per_conversation.items()
            if count > 1
        ]

    def verdict(self) -> tuple[dict[str, object], list[str]]:
        """The figures of the end, and what did not hold."""
        asked, answered, replies = self.asked(), self.answered(), self.replies()
        lost = self.open()
        twice = {key: count - 1 for key, count in answered.items() if count > 1}
        excuses = {key: 0 if self._keeps_keys(key) else self.excused[key] for key in twice}
        unexcused = [key for key, extra in twice.items() if extra > excuses[key]]
        keys = {place: [key_of(text) for text in texts] for place, texts in replies.items()}
        disorder = [place for place, found in keys.items() if None not in found and found != sorted(found)]  # type: ignore[type-var]
        strangers = [text[:60] for texts in replies.values() for text in texts if key_of(text) is None]
        failures = [one for platform in self._platforms for one in sorted(set(platform.complaints()))]
        failures += _complaint("never answered", lost)
        failures += _complaint("sent twice without having been in sending at a kill", unexcused)
        failures += _complaint("conversations out of order", disorder)
        failures += _complaint("messages nobody asked for", strangers)
        metrics: dict[str, object] = {
            "messages": len(asked),
            "acknowledged_and_open_at_kills": self.at_risk,
            "lost": len(lost),
            "duplicates": sum(twice.values()),
            "duplicates_unexcused": len(unexcused),
            "in_sending_at_kills": sum(self.excused.values()),
            "kills_with_a_send_in_flight": self.kills_with_send,
            "conversations_out_of_order": len(disorder),
        }
        for platform in self._platforms:
            if len(self._platforms) > 1:
                metrics[f"{platform.name}_messages"] = len(platform.asked())
                metrics[f"{platform.name}_duplicates"] = sum(
                    extra for (number, _), extra in twice.items() if platform.has(number)
                )
            metrics.update(platform.metrics())
        return metrics, failures

    def _keeps_keys(self, key: Key) -> bool:
        return any(platform.keeps_keys and platform.has(key[0]) for platform in self._platforms)


def _complaint(what: str, found: Sequence[object]) -> list[str]:
    return [f"{what}: {len(found)}, such as {list(found[:8])}"] if found else []
