"""Checks that ask the outside world: the provider's model list, each channel's credential. All run at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Callable

from loong_channels import catalog
from loong_channels.contract import ChannelSpec
from loong_channels.waiting import Deadline
from loong_gateway.base.threads import ThreadRegistry
from loong_gateway.base.wording import ago, one_line
from loong_gateway.config.outside import egress_of, resolve_account
from loong_gateway.config.secrets import SecretUnavailable
from loong_gateway.config.snapshot import AccountConfig, Config
from loong_gateway.doctor.configuration import account_name, served_accounts
from loong_gateway.doctor.contract import Check, Inspection, failed, passed, warned
from loong_gateway.messaging.probing import probed
from loong_gateway.providers.contract import ProviderFault
from loong_gateway.providers.factory import provider_of
from loong_gateway.views.channels import incidents_of, surface_of

__all__ = ["check_network"]

NO_ROUTE = "check its address, network.proxy and network.ca_bundle, then: loong channels status --probe"
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
        elif inspection.owner_alive and spec.probe_takes_over:
            checks.append(passed(name, "not asked: the running gateway may have the account"))
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
    except SecretUnavailable:
        # The check of the channel's credentials has said so.
        return []
    channel = catalog.channel_class(account.channel)(resolved, egress_of(config.network, inspection.environ))
    answer = probed(lambda limit: channel.probe(deadline=limit), deadline.remaining(), inspection.clock)
    if answer.outcome == "ok":
        return [passed(name, f"answers as {answer.identity}")]
    if answer.outcome == "refused":
        fix = "replace the credential, then: loong doctor"
        return [_finding(name, f"{answer.detail}.", account, "auth_failed", fix)]
    return [_finding(name, f"{answer.detail}.", account, "unreachable", NO_ROUTE)]


def _finding(name: str, detail: str, account: AccountConfig, reason: str, fix: str | None) -> Check:
    return Check(name, "fail", detail, fix, None, account.channel, account.id, reason)


def _surface(name: str, inspection: Inspection, account: AccountConfig) -> list[Check] | None:
    """What the live owner says about an account; None when it does not run it, so that it may be probed."""
    surface = surface_of(inspection.status, account.channel, account.id) if inspection.owner_alive else None
    if surface is None:
        return None
    phase = str(surface.get("phase"))
    if phase in ("ready", "starting", "connecting", "authenticating"):
        return [passed(name, f"{phase} in the running gateway{_past(inspection, surface)}")]
    if surface.get("stopped_by"):
        fix = f"loong gateway channel start {account.channel}={account.id}"
        return [warned(name, f"kept off by an {surface['stopped_by']}.", fix)]
    said = str(surface.get("last_error") or "no reason given").rstrip(".")
    detail = f"{phase}: {said}{_past(inspection, surface)}."
    fix = str(surface.get("fix") or "see: loong gateway status")
    return [_finding(name, detail, account, phase, fix)]


def _past(inspection: Inspection, surface: Mapping[str, object]) -> str:
    """When the platform was heard last, and the newest incident."""
    now_ms = inspection.clock.wall_ms()
    heard_ms = surface.get("last_heard_ms")
    text = f", heard {ago(heard_ms, now_ms)}" if isinstance(heard_ms, int) else ""
    for one in incidents_of(surface)[:1]:
        at_ms, count = one["at_ms"], one["count"]
        times = f" x{count}" if isinstance(count, int) and count > 1 else ""
        when = ago(at_ms if isinstance(at_ms, int) else None, now_ms)
        text += f", newest incident {when}: {one['kind']}{times}, {one_line(one['detail'] or '-')}"
    return text
