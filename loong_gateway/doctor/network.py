"""Checks that ask the outside world: the provider's model list, each channel's credential. All run at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Callable

from loong_channels import catalog
from loong_channels.contract import ChannelSpec
from loong_channels.faults import BadCredentials, Fault
from loong_channels.waiting import Deadline
from loong_gateway.base.threads import ThreadRegistry
from loong_gateway.config.outside import egress_of, resolve_account
from loong_gateway.config.secrets import SecretUnavailable
from loong_gateway.config.snapshot import AccountConfig, Config
from loong_gateway.doctor.configuration import account_name, served_accounts
from loong_gateway.doctor.contract import Check, Inspection, failed, passed, warned
from loong_gateway.providers.contract import ProviderFault
from loong_gateway.providers.factory import provider_of
from loong_gateway.views.channels import surface_of

__all__ = ["check_network"]

Probe = Callable[[Deadline], list[Check]]


def check_network(inspection: Inspection, skip_model_probe: bool, deadline: Deadline) -> list[Check]:
    """Ask the provider, unless told not to, and every served platform that no running gateway answers for."""
    config = inspection.config
    if config is None:
        return []
    checks: list[Check] = []
    probes: list[tuple[str, Probe]] = []
    if config.active_provider is not None and not skip_model_probe:
        probes.append(("provider model probe", lambda limit: _models(inspection, config, limit)))
    for spec, account in served_accounts(config):
        name = account_name("channel runtime", config, account)
        known = _surface(name, inspection, account)
        if known is not None:
            checks += known
        else:
            # Loaded here, not in several threads at once.
            catalog.channel_class(account.channel)
            probes.append((name, _channel_probe(name, inspection, config, spec, account)))
    return checks + _run(probes, deadline)


def _channel_probe(
    name: str, inspection: Inspection, config: Config, spec: ChannelSpec, account: AccountConfig
) -> Probe:
    return lambda limit: _channel(name, inspection, config, spec, account, limit)


def _run(probes: Sequence[tuple[str, Probe]], deadline: Deadline) -> list[Check]:
    """Run every (name, probe) in its own thread and wait for all; one that does not end in time fails by its name."""
    results: list[list[Check] | None] = [None] * len(probes)
    threads = ThreadRegistry()

    def start(index: int, probe: Probe) -> None:
        def body() -> None:
            try:
                results[index] = probe(deadline)
            except Exception as error:  # noqa: BLE001  a defect of one probe must not hide the others
                results[index] = [
                    failed(probes[index][0], f"the probe itself failed: {type(error).__name__}.")
                ]

        threads.spawn(f"probe:{index}", body)

    for index, (_, probe) in enumerate(probes):
        start(index, probe)
    threads.join_all(Deadline(deadline.remaining() + 1))
    checks: list[Check] = []
    for (name, _), result in zip(probes, results):
        checks += [failed(name, "no answer in time.")] if result is None else result
    return checks


def _models(inspection: Inspection, config: Config, deadline: Deadline) -> list[Check]:
    """Ask for the model list. A failure only warns where a model is named: a turn may still work."""
    transport, probe = "provider transport", "provider model probe"
    profile = config.providers[config.active_provider or ""]
    try:
        provider = provider_of(config, environ=inspection.environ)
        where = provider.models_endpoint()
        models = provider.models(deadline=deadline)
    except ProviderFault as error:
        if error.kind in ("secret_missing", "provider_missing"):
            # The check of the credentials has said so.
            return []
        named = profile.model.strip().lower() != "auto" or bool(profile.preferred_models)
        report = warned if named else failed
        fix = error.fix or "see what it answers: loong list-models"
        if error.kind in ("transport_failure", "timed_out"):
            return [report(transport, f"{error}.", fix)]
        return [passed(transport, "answers"), report(probe, f"{error}.", fix)]
    return [passed(transport, where), passed(probe, f"models: {len(models)}, at {where}")]


def _channel(
    name: str,
    inspection: Inspection,
    config: Config,
    spec: ChannelSpec,
    account: AccountConfig,
    deadline: Deadline,
) -> list[Check]:
    """Ask the platform who we are."""
    try:
        resolved = resolve_account(spec, account, inspection.environ)
        channel = catalog.channel_class(account.channel)(
            resolved, egress_of(config.network, inspection.environ)
        )
        identity = channel.probe(deadline=deadline)
    except SecretUnavailable:
        # The check of the channel's credentials has said so.
        return []
    except BadCredentials as error:
        fix = "replace the credential, then: loong doctor"
        return [_finding(name, f"{error}.", account, "auth_failed", fix)]
    except Fault as error:
        return [_finding(name, f"{error}.", account, "unreachable", None)]
    return [passed(name, f"answers as {identity}")]


def _finding(name: str, detail: str, account: AccountConfig, reason: str, fix: str | None) -> Check:
    return Check(name, "fail", detail, fix, None, account.channel, account.id, reason)


def _surface(name: str, inspection: Inspection, account: AccountConfig) -> list[Check] | None:
    """What the live owner says about an account; None when it does not run it, so that it may be probed."""
    surface = surface_of(inspection.status, account.channel, account.id) if inspection.owner_alive else None
    if surface is None:
        return None
    phase = str(surface.get("phase"))
    if phase in ("ready", "starting", "connecting", "authenticating"):
        return [passed(name, f"{phase} in the running gateway")]
    detail = f"{phase}: {surface.get('last_error') or 'no reason given'}."
    fix = str(surface.get("fix") or "see: loong gateway status")
    return [_finding(name, detail, account, phase, fix)]
