"""Texts about the owner of a home: lock, status, stop, and why a gateway is not as it should be."""

from __future__ import annotations

TEXTS: dict[str, tuple[str, str | None, str | None, int]] = {
    "owner.active": (
        "gateway owner already active at {runtime_dir} (pid={pid}), since {since}, by loong {verb}",
        None,
        "see it: {status}    stop it: {stop}",
        78,
    ),
    "owner.no_locks": (
        "the file system of the state directory keeps no locks: {detail}",
        "{path}",
        "put the state on a local disk with LOONG_STATE_DIR, then: loong gateway run",
        78,
    ),
    "owner.state_unwritable": (
        "the state directory cannot be used: {detail}",
        "{path}",
        "correct its owner and mode, or choose another one with LOONG_HOME, then: loong gateway run",
        78,
    ),
    "owner.lost": (
        "owner.lock was replaced and another process holds the new one",
        "{path}",
        "stop one of the two; see the other: loong gateway status",
        70,
    ),
    "owner.unreadable": (
        "the state of the gateway cannot be read: {detail}",
        "{where}",
        "{fix}",
        4,
    ),
    "owner.not_yours": (
        "the gateway belongs to another user, so no stop can be asked for: permission denied",
        "{path}",
        "as the user who runs it: {command}",
        2,
    ),
    "owner.stop_failed": (
        "the stop cannot be asked for: {detail}",
        None,
        "{status}",
        2,
    ),
    "owner.still_running": (
        "the gateway still runs {waited} after the stop was asked for (pid={pid})",
        None,
        "wait longer: {stop}    or look at it: {status}",
        1,
    ),
    "control.unreachable": (
        "the gateway does not answer on {address}: {detail}",
        None,
        "loong gateway status",
        2,
    ),
    "control.not_running": (
        "the gateway is not running",
        None,
        "{start}",
        2,
    ),
    "control.refused": (
        "unauthorized: the gateway at {address} refused the control token",
        "{path}",
        "loong gateway status",
        2,
    ),
    "control.failed": (
        "the gateway answered {status}: {detail}",
        None,
        "loong logs --lines 50",
        2,
    ),
    # Reasons of a degraded or unready gateway, by the code that `degraded_reasons` carries.
    "reason.stalled": (
        "the owner holds the lock but gives no sign of life",
        None,
        "loong logs --lines 50",
        1,
    ),
    "reason.rpc_failed": (
        "the port {address} does not answer ({probe})",
        None,
        "loong logs --lines 50",
        1,
    ),
    "reason.status_missing": (
        "the owner runs but says nothing about itself",
        "{runtime_dir}",
        "loong logs --lines 50",
        1,
    ),
    "reason.status_unwritable": (
        "the owner runs but cannot write its status files, so what they say is old",
        "{runtime_dir}",
        "make room on the disk, then: loong gateway status",
        1,
    ),
    "reason.store_unwritable": (
        "the store cannot be written, so no message is taken",
        "{store}",
        "make room on the disk or correct its mode, then: loong gateway status",
        1,
    ),
    "reason.store_set_aside": (
        "a damaged store was set aside and an empty one begun",
        "{store}",
        "keep the files {store}.damaged-* elsewhere, or delete them, then: loong doctor",
        1,
    ),
    "reason.provider_missing": (
        "no provider is configured, so nothing can be answered",
        "{config}",
        "add a [provider] block there, then: loong validate-config",
        1,
    ),
    "reason.provider_unavailable": (
        "the last question to the provider failed",
        None,
        "loong list-models",
        1,
    ),
    "reason.config_reload_refused": (
        "the changed config was refused and the old one is still in use",
        "{config}",
        "loong validate-config",
        1,
    ),
    "reason.crash_loop": (
        "the last starts ended without progress, so the channels are kept off",
        "{config}",
        "find the cause: loong logs --lines 50    then: loong gateway resume",
        1,
    ),
    "reason.turns_abandoned": (
        "turns hang past their deadline and were given up",
        None,
        "loong logs --lines 50",
        1,
    ),
    "reason.starting": (
        "it is still starting",
        None,
        "loong gateway status",
        1,
    ),
    "reason.stopping": (
        "it is stopping",
        None,
        "loong gateway status",
        1,
    ),
    # What a surface in trouble is said to suffer from when it gave no words of its own.
    "surface.auth_failed": (
        "the platform refused the credential",
        None,
        "correct the credential, then: loong gateway stop",
        1,
    ),
    "surface.secret_missing": (
        "its secret cannot be read",
        None,
        "loong validate-config",
        1,
    ),
    "surface.unreachable": (
        "the platform could not be reached",
        None,
        "loong doctor",
        1,
    ),
    "surface.allow_list_empty": (
        "its allow-list is empty, so it serves nobody",
        None,
        "loong validate-config",
        1,
    ),
    "surface.lane_full": (
        "one conversation has too many messages waiting, so no new ones are taken",
        None,
        "let the model catch up, or send /stop in that conversation; then: loong status",
        1,
    ),
    "surface.throttled": (
        "the platform asked it to wait",
        None,
        "loong gateway status",
        1,
    ),
    "surface.failed": (
        "it ended unexpectedly",
        None,
        "loong logs --lines 50",
        1,
    ),
    "surface.conflict": (
        "another process took this bot's connection",
        None,
        "stop the other holder, then: loong gateway status",
        1,
    ),
    "surface.backoff": (
        "the platform could not be reached",
        None,
        "loong doctor",
        1,
    ),
    "surface.degraded": (
        "it works only in part",
        None,
        "loong logs --lines 50",
        1,
    ),
    "surface.stopped": (
        "it was stopped",
        None,
        "loong logs --lines 50",
        1,
    ),
}
