"""What a program reports to a session: told to the model at once, or kept for its next question."""

from __future__ import annotations

import uuid

from loong_gateway.control import ControlPlane
from loong_gateway.control.runs import RunRequest

__all__ = ["NOTICE", "WAKE_MODES", "wake"]

WAKE_MODES = ("now", "next-heartbeat")
NOTICE = "What follows was reported by a program, not written by a person."


def wake(control: ControlPlane, mode: str, text: str, session: str, *, origin: str) -> str | None:
    """Tell a session something; it is on disk when this returns. The id of the run for "now", else None.

    There is no heartbeat that would ask the model by itself: with "next-heartbeat" the session's next question will.
    Blocks for a commit. Raises RunRefused and StoreUnwritable.
    """
    if mode == "now":
        run_id = str(uuid.uuid4())
        request = RunRequest(
            run_id, text, session=session, system=NOTICE, durable=True, label="wake", origin=origin
        )
        control.runs.start(request)
        return run_id
    control.sessions.inject(session, text, role="system")
    return None
