"""Work units over the WebSocket side: `work_units.VERB`, with the parameters and answers of the command line."""

from __future__ import annotations

import functools

from loong_gateway.control import ControlPlane
from loong_gateway.control.work_units import VERBS

from .calls import READ, WRITE, Call, Method

__all__ = ["methods"]


def methods(control: ControlPlane) -> list[Method]:
    """The methods over `control.work_units`."""
    return [
        Method(
            f"work_units.{verb.name}",
            WRITE if verb.changes else READ,
            functools.partial(_act, control, verb.name),
            waits=True,
        )
        for verb in VERBS.values()
    ]


def _act(control: ControlPlane, verb: str, call: Call) -> object:
    given = {field.name: call.params.raw(field.name) for field in VERBS[verb].fields}
    return control.work_units.act(verb, given)
