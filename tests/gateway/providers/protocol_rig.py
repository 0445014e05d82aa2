"""The four protocols side by side: a double of each service and the profile that asks it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from loong_gateway.providers.contract import CallOptions, Function, Message, Provider, ProviderCall
from tests.fakes.model import KEY, FakeModel
from tests.fakes.model_anthropic import FakeAnthropic
from tests.fakes.model_bedrock import FakeBedrock
from tests.fakes.model_responses import FakeResponses
from tests.gateway.providers.provider_rig import provider_for

LOOK = Function("look", "looks", {"type": "object", "properties": {"question": {"type": "string"}}})
HI = ProviderCall((Message("system", "be brief"), Message("user", "hi there, you")))
MUST_LOOK = ProviderCall(HI.messages, CallOptions(tools=(LOOK,), tool_choice="required"))


@dataclass(frozen=True)
class Protocol:
    """One protocol; `base` and `models` are paths below the origin of the double."""

    name: str
    double: type[FakeModel]
    base: str = "/v1"
    models: str | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)

    def provider(self, origin: str, **changes: Any) -> Provider:
        """A provider that asks the service at `origin`."""
        listed = None if self.models is None else origin + self.models
        given = {"base_url": origin + self.base, "models_endpoint": listed, "model": "test-model"}
        environ = {"MODEL_KEY": KEY}
        return provider_for(**{**given, "environ": environ, **self.changes, **changes})


PROTOCOLS = (
    Protocol("chat", FakeModel),
    Protocol("responses", FakeResponses, changes={"wire_api": "responses"}),
    Protocol("anthropic", FakeAnthropic, base="", changes={"kind": "anthropic"}),
    Protocol("bedrock", FakeBedrock, base="", models="/foundation-models", changes={"kind": "bedrock"}),
)
every_protocol = pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda protocol: protocol.name)
