"""Names of models as clients write them, and what they stand for."""

from __future__ import annotations

from dataclasses import dataclass

from loong_gateway.api.fields import LONGEST_ID
from loong_gateway.api.http_request import RequestHead
from loong_gateway.config.snapshot import Config

from .faults import ApiFault

__all__ = ["Target", "header", "model_names", "target_of"]

OWN = "loong"
_PRODUCTS = (OWN, "openclaw")
_AGENTS = ("default", "main")
_AGENT_NAMES = frozenset(
    [*_PRODUCTS, "agent:main", *(f"{p}{mark}{a}" for p in _PRODUCTS for mark in "/:" for a in _AGENTS)]
)
LONGEST_SHOWN = 120
DEFAULT_TIMEOUT_S = 600.0


@dataclass(frozen=True)
class Target:
    """Who is asked. `profile` and `model` None leave it to the configuration; `timeout_s` is that of a whole turn."""

    profile: str | None
    model: str | None
    timeout_s: float

    @property
    def is_model_named(self) -> bool:
        """Whether the client chose the model itself."""
        return self.model is not None


def model_names(config: Config) -> list[str]:
    """What `model` can be, as it is listed: the agent, and the model of each profile."""
    own = [OWN, *(f"{OWN}/{agent}" for agent in _AGENTS)]
    return own + [f"{profile.id}:{profile.model}" for profile in config.providers.values()]


def target_of(model: object, head: RequestHead, config: Config) -> Target:
    """What `model` and the fields that override it stand for. Raises ApiFault."""
    if not isinstance(model, str) or not model:
        raise ApiFault(400, "invalid_value", "model: must be a non-empty string", "model")
    agent = header(head, "agent-id")[1]
    if agent is not None and agent not in _AGENTS:
        raise ApiFault(400, "invalid_value", f"Unknown agent '{agent[:LONGEST_SHOWN]}'.")
    profile: str | None = None
    backend: str | None = None
    if model not in _AGENT_NAMES:
        profile, backend = _split(model, config)
    given = header(head, "model")[1]
    if given and ":" in given:
        profile, backend = _split(given, config)
    elif given:
        backend = given
    settings = config.providers.get(profile or config.active_provider or "")
    timeout_s = DEFAULT_TIMEOUT_S if settings is None else settings.turn_timeout_ms / 1000
    return Target(profile, backend, timeout_s)


def header(head: RequestHead, name: str) -> tuple[str, str | None]:
    """The field `x-loong-<name>` or its other name, and its value; None when neither is there. Raises ApiFault."""
    for product in _PRODUCTS:
        field = f"x-{product}-{name}"
        value = head.get(field)
        if value is not None:
            if len(value) > LONGEST_ID:
                raise ApiFault(400, "invalid_value", f"`{field}` must have at most {LONGEST_ID} characters.")
            return field, value.strip()
    return f"x-{OWN}-{name}", None


def _split(text: str, config: Config) -> tuple[str, str]:
    """A profile and a model of it, whose own name may hold colons. Raises ApiFault for what names no profile."""
    profile, _, model = text.partition(":")
    if not model or profile not in config.providers:
        raise ApiFault(404, "model_not_found", f"Model '{text[:LONGEST_SHOWN]}' not found.", "model")
    return profile, model
