"""The greeting for a person who opens the chat."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from loong_channels.faults import Fault

from .events import Entered
from .frames import RESPOND_WELCOME
from .link import Link

__all__ = ["Welcome"]


class Welcome:
    """What is said, and to whom: a greeting is an answer, so the allow-lists hold for it. Immutable."""

    def __init__(self, settings: Mapping[str, object]) -> None:
        self._text = str(settings.get("welcome_text") or "").strip()
        self._conversations = _listed(settings.get("allowed_conversation_ids"))
        self._senders = _listed(settings.get("allowed_sender_ids"))

    def greet(self, link: Link, entered: Entered) -> None:
        """Say it at once: the platform takes it for five seconds, and nobody waits for its answer. Never raises.

        https://developer.work.weixin.qq.com/document/path/101463
        """
        if not self._text or entered.conversation not in self._conversations:
            return
        if self._senders and entered.sender not in self._senders:
            return
        body = {"msgtype": "text", "text": {"content": self._text}}
        # A connection that is lost is noticed by the next read.
        with contextlib.suppress(Fault):
            link.offer(RESPOND_WELCOME, body, entered.req_id)


def _listed(value: object) -> frozenset[str]:
    return frozenset(str(item) for item in value) if isinstance(value, (list, tuple)) else frozenset()
