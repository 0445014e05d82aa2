"""Checks of the configuration: validity, provider and channel credentials, allow-lists."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator

from loong_channels import catalog
from loong_channels.aes import CRYPTO_FIX, can_decrypt
from loong_channels.contract import ChannelSpec
from loong_gateway.base.wording import duration
from loong_gateway.config.diagnostics import as_lines
from loong_gateway.config.kinds import KINDS, Kind
from loong_gateway.config.secrets import SecretUnavailable, is_configured, peek, resolve
from loong_gateway.config.selectors import unserved
from loong_gateway.config.snapshot import AccountConfig, Config, ProviderProfile, SecretRef
from loong_gateway.doctor.contract import FAIL, PASS, WARN, Check, Inspection, failed, passed, warned
from loong_gateway.texts import render

# Findings of the validation that a check of its own looks at more closely.
CHECKED_ELSEWHERE = (
    "config.file.mode",
    "config.channel_account.shared_credential",
    "config.allow_list.empty",
    "config.provider.missing",
    "config.secret.unavailable",
)

__all__ = ["account_name", "check_configuration", "served_accounts"]


def check_configuration(inspection: Inspection) -> list[Check]:
    """All checks of this file. Resolves secrets, which may read files and run the configured commands."""
    checks = _validity(inspection)
    if inspection.config is None:
        return checks
    checks += _provider(inspection, inspection.config)
    checks += _port_secrets(inspection, inspection.config)
    digests: dict[str, list[str]] = {}
    for spec, account in served_accounts(inspection.config):
        checks += _account(inspection, spec, account, digests)
    checks += _left_out(inspection, inspection.config)
    checks += _limits(inspection.config)
    checks += [
        warned(
            "duplicate credentials",
            f"{' and '.join(names)} use one credential; only one of them can receive.",
            "give each account its own, then: loong validate-config",
        )
        for names in digests.values()
        if len(names) > 1
    ]
    return checks


def served_accounts(config: Config) -> Iterator[tuple[ChannelSpec, AccountConfig]]:
    """Every enabled account of every enabled channel that this build can run, in the order of the configuration."""
    for channel in config.channels.values():
        if not channel.enabled:
            continue
        try:
            spec = catalog.spec(channel.name)
        except KeyError:
            # Known by name only; the validation has already said so.
            continue
        for account in channel.accounts.values():
            if account.enabled:
                yield spec, account


def account_name(check: str, config: Config, account: AccountConfig) -> str:
    """The name of a check that belongs to one account: the account stands in it where there are several."""
    explicit = config.channels[account.channel].explicit_accounts
    return f"{account.channel} {check} [{account.id}]" if explicit else f"{account.channel} {check}"


def _validity(inspection: Inspection) -> list[Check]:
    path = inspection.places.config
    shown = [finding for finding in inspection.diagnostics if finding.code not in CHECKED_ELSEWHERE]
    found = [
        Check(
            "config",
            FAIL if finding.severity == "error" else WARN,
            line.replace("  warning: ", "  ", 1),
            finding.fix,
        )
        for finding, line in zip(shown, as_lines(shown, path))
    ]
    if not found and inspection.places.dev and not os.path.exists(path):
        return [passed("config", "none, and the dev profile needs none")]
    if not found and inspection.config is not None and not inspection.config.exists:
        return [
            failed(
                "config",
                f"there is no {path}; the gateway will not start without it.",
                "write one, then: loong validate-config",
            )
        ]
    return found or [passed("config", path)]


def _provider(inspection: Inspection, config: Config) -> list[Check]:
    name = "provider credentials"
    serving = any(True for _ in served_accounts(config))
    if config.active_provider is None:
        if not serving:
            return []
        return [
            failed(
                name,
                f"no provider is configured in {inspection.places.config}; no message can be answered.",
                "add [provider] with kind, model and api_key, then: loong list-models",
            )
        ]
    names = (config.active_provider, *config.fallback_providers)
    checks = [_keys(name if one == names[0] else f"{name} [{one}]", inspection, one) for one in names]
    profile = config.providers[config.active_provider]
    kind = KINDS[profile.kind]
    if profile.model.strip().lower() == "auto" and not kind.auto_lists and not profile.preferred_models:
        checks.append(_unlisted(profile, kind))
    return checks + _unwell(inspection)


def _keys(name: str, inspection: Inspection, id: str) -> Check:
    assert inspection.config is not None
    profile = inspection.config.providers[id]
    kind = KINDS[profile.kind]
    refs = [profile.oauth_access_token, profile.api_key]
    written = [ref for ref in refs if ref.form != "absent" or ref.fallback_env]
    if kind.key_optional and not any(is_configured(ref, inspection.environ) for ref in written):
        return passed(name, f"{profile.kind} needs no key")
    # One of them is enough; the key is what a text should name when there is none.
    found = [_secret(name, inspection, ref) for ref in written or refs[1:]]
    return next((check for check in found if check.level == PASS), found[-1])


def _unlisted(profile: ProviderProfile, kind: Kind) -> Check:
    name, where = "provider model", f"{profile.where}.model"
    if kind.auto_models:
        return passed(
            name, f"{where} is auto, which takes {kind.auto_models[0]}: this lane lists other models too"
        )
    return failed(
        name,
        f"{where} is auto, and this lane does not list what the plan holds.",
        "write model or preferred_models, then: loong ask --message hi",
    )


def _unwell(inspection: Inspection) -> list[Check]:
    """Keys that the live gateway tries last, by their place in the config."""
    said = inspection.status.get("provider") if inspection.status and inspection.owner_alive else None
    keys = said.get("keys") if isinstance(said, dict) else None
    # A single key is asked whatever happened to it.
    many = isinstance(keys, dict) and isinstance(keys.get("count"), int) and keys["count"] > 1
    unwell = keys.get("unwell") if isinstance(keys, dict) and many else None
    return [
        warned(
            "provider keys",
            f"key {one.get('key')} is {one.get('state')} for {duration(one.get('left_s') or 0)} after "
            f"{one.get('last_error')}; it is tried last.",
            "replace it, then: loong list-models"
            if one.get("last_error") == "auth_rejected"
            else "see whether the service answers: loong list-models",
        )
        for one in (unwell if isinstance(unwell, list) else ())
        if isinstance(one, dict)
    ]


def _port_secrets(inspection: Inspection, config: Config) -> list[Check]:
    """The secrets for which a start may be refused: that of the port, and that of the hooks."""
    refs = {"gateway auth": config.gateway.secret}
    if config.hooks.enabled:
        refs["hooks auth"] = config.hooks.token
    present = {name: ref for name, ref in refs.items() if is_configured(ref, inspection.environ)}
    checks = [_secret(name, inspection, ref) for name, ref in present.items()]
    values = [peek(ref, inspection.environ) for ref in present.values()]
    if len(values) > 1 and values[0] is not None and values[0] == values[1]:
        token = config.hooks.token
        message, where, fix, _ = render(
            "run.hook_token_reused", {"setting": token.setting, "source": token.display}
        )
        checks.append(failed("hooks auth", f"{message}: {where}.", fix))
    return checks


def _secret(name: str, inspection: Inspection, ref: SecretRef) -> Check:
    try:
        resolve(ref, inspection.environ)
    except SecretUnavailable as error:
        return failed(name, f"{error}.", error.fix or "set it, then: loong doctor")
    return passed(name, f"{ref.setting} ({ref.display})")


def _account(
    inspection: Inspection, spec: ChannelSpec, account: AccountConfig, digests: dict[str, list[str]]
) -> list[Check]:
    config = inspection.config
    assert config is not None
    name = account_name("channel", config, account)
    checks = []
    for setting in spec.secrets_needed(account.settings):
        ref = account.settings.get(setting)
        if not isinstance(ref, SecretRef):
            continue
        try:
            value = resolve(ref, inspection.environ)
        except SecretUnavailable as error:
            checks.append(_tagged(failed(name, f"{error}.", error.fix), account, "credential_missing"))
            continue
        # Compared by digest, so that no value outlives this line.
        digest = hashlib.sha256(
            f"{spec.name}\0{setting}\0{value}".encode("utf-8", "surrogatepass")
        ).hexdigest()
        digests.setdefault(digest, []).append(f"{account.channel}/{account.id}")
    if not account.settings.get(spec.conversation_setting):
        checks.append(_empty_list(name, config, spec, account))
    if spec.needs_crypto(account.settings) and not can_decrypt():
        text = "the Python package cryptography is missing; webhook mode needs it."
        checks.append(_tagged(failed(name, text, CRYPTO_FIX), account, "crypto_missing"))
    return checks or [passed(name, f"{spec.label}, {spec.transport}")]


def _left_out(inspection: Inspection, config: Config) -> list[Check]:
    """What the live owner does not serve; without one, what a start without selectors would not."""
    surfaces = inspection.status["surfaces"] if inspection.status and inspection.owner_alive else []
    assert isinstance(surfaces, list)
    served = {(surface["channel"], surface["account"]) for surface in surfaces}
    return [
        _tagged(
            warned(
                account_name("channel", config, account),
                f"{detail}.",
                "run it in another profile, or choose it: "
                f"loong gateway run --channel-account {account.channel}={account.id}",
            ),
            account,
            "not_served",
        )
        for account, detail in unserved(config, served)
    ]


def _limits(config: Config) -> list[Check]:
    if not any(True for _ in served_accounts(config)):
        return []
    limits = config.limits
    if limits.sender_per_min and limits.conversation_per_min:
        return [
            passed(
                "limits",
                f"{limits.sender_per_min} per sender, {limits.conversation_per_min} per conversation",
            )
        ]
    # Being off is the documented default, so it is no warning.
    return [passed("limits", "off; 60 messages a minute per sender and 240 per conversation are reasonable")]


def _empty_list(name: str, config: Config, spec: ChannelSpec, account: AccountConfig) -> Check:
    prefix = account.channel
    if config.channels[account.channel].explicit_accounts:
        prefix = f"{account.channel}.accounts.{account.id}"
    noun = "chat" if "chat" in spec.conversation_setting else "conversation"
    return _tagged(
        failed(
            name,
            f"{prefix}.{spec.conversation_setting} is empty; configure at least one trusted {noun} id. "
            "Until then nobody gets an answer, and this is the most common reason for none.",
            "add the id, then: loong validate-config",
        ),
        account,
        "allow_list_empty",
    )


def _tagged(check: Check, account: AccountConfig, reason: str) -> Check:
    return Check(check.name, check.level, check.detail, check.fix, None, account.channel, account.id, reason)
