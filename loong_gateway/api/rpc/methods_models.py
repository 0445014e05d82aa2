"""`models.list`: what can be asked for by name."""

from __future__ import annotations

from collections.abc import Mapping

from loong_gateway.control import ControlPlane

from .calls import READ, Call, Method

__all__ = ["methods"]

LIST_S = 8.0
VIEWS = ("default", "configured", "provider-config", "all")
# What our faults are called where a client looks at why a model cannot be used.
REASONS = {"secret_missing": "missing-auth", "auth_rejected": "auth-failed", "rate_limited": "cooldown"}


def methods(control: ControlPlane) -> list[Method]:
    """The methods over `control`."""

    def answer(call: Call) -> object:
        params = call.params
        view = params.choice("view", VIEWS, default="default")
        refresh = params.flag("refresh") and not params.flag("preparedOnly")
        listed = control.models(refresh=refresh, timeout_s=LIST_S)
        config = control.config()
        active = config.active_provider
        rows, seen = [], set()
        for model in listed:
            is_own = model["profile"] not in seen
            seen.add(model["profile"])
            # "configured" is what the config names; the other views show what there is.
            if is_own or view in ("default", "all"):
                profile = config.providers.get(str(model["profile"]))
                sees = profile is not None and profile.images
                rows.append(_row(model, is_default=is_own and model["profile"] == active, sees=sees))
        return {"models": rows}

    return [Method("models.list", READ, answer, waits=True)]


def _row(model: Mapping[str, object], *, is_default: bool, sees: bool) -> dict[str, object]:
    row: dict[str, object] = {
        "id": model["id"],
        "name": model["id"],
        "provider": model["profile"],
        "available": model["available"],
        "input": ["text", "image"] if sees else ["text"],
    }
    reason = REASONS.get(str(model.get("error_code", "")))
    if reason is not None:
        row["unavailableReason"] = reason
    if is_default:
        row["tags"] = ["default"]
    if "keys" in model:
        row["keys"] = model["keys"]
    return row
