"""Checks of the store: by the word of its owner where one runs, else by looking."""

from __future__ import annotations

from loong_gateway.base.faults import CommandError
from loong_gateway.doctor.contract import Check, Inspection, failed, passed, warned
from loong_gateway.storage.connection import Connection
from loong_gateway.storage.facts import StoreFacts, store_facts
from loong_gateway.storage.local import LocalStore

__all__ = ["check_store"]


def check_store(inspection: Inspection) -> list[Check]:
    """All checks of this file. Reads the whole store when no gateway runs; changes nothing."""
    if inspection.owner_alive:
        reasons = (inspection.status or {}).get("degraded_reasons")
        bad = (
            [str(reason) for reason in reasons if "store" in str(reason)] if isinstance(reasons, list) else []
        )
        if bad:
            return [
                failed("store", f"the running gateway reports {', '.join(bad)}.", "see: loong gateway status")
            ]
        return [passed("store", "in use by the running gateway, which reports no trouble")]
    store = LocalStore(inspection.places)
    now_ms = inspection.clock.wall_ms()
    try:
        finding = store.read(_quick_check)
        facts = None if finding not in (None, "ok") else store.read(lambda conn: store_facts(conn, now_ms))
    except CommandError as error:
        return [failed("store", f"{error.message}.", error.fix)]
    if finding is None:
        return [passed("store", "there is none yet")]
    if finding != "ok":
        return [
            failed(
                "store",
                f"{inspection.places.store} is damaged: {finding}.",
                "start the gateway, which moves it aside and keeps it: loong gateway run",
            )
        ]
    return [passed("store", inspection.places.store), *_backlog(facts)]


def _quick_check(conn: Connection) -> str:
    return str(conn.execute("PRAGMA quick_check(1)").fetchone()[0])


def _backlog(facts: StoreFacts | None) -> list[Check]:
    if facts is None:
        return []
    waiting = facts.inbox.get("new", 0) + facts.inbox.get("claimed", 0)
    replies = sum(facts.outbox.get(state, 0) for state in ("queued", "sending", "unknown"))
    if waiting or replies:
        return [
            warned(
                "backlog",
                f"{waiting} messages and {replies} replies wait for a gateway.",
                "loong gateway run",
            )
        ]
    return [passed("backlog", "nothing waits")]
