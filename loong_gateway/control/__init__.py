"""The seam between the port and the gateway: values that are asked and answered, and the protocol between them."""

from .operations import (
    MOST_FILES,
    ChannelOutcome,
    ChannelRequest,
    ProbeOutcome,
    SecretsOutcome,
    SendFile,
    SendOutcome,
    SendRequest,
)
from .plane import ControlPlane

__all__ = [
    "MOST_FILES",
    "ChannelOutcome",
    "ChannelRequest",
    "ControlPlane",
    "ProbeOutcome",
    "SecretsOutcome",
    "SendFile",
    "SendOutcome",
    "SendRequest",
]
