"""`loong channels send`: a text, files, or both to one target, through the running gateway or directly."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from loong_channels import catalog
from loong_channels.contract import ChannelSpec, OutboundFile
from loong_channels.faults import Fault, Unreachable
from loong_channels.waiting import Deadline, StopToken
from loong_gateway.base.faults import CommandError
from loong_gateway.base.ids import new_id
from loong_gateway.base.wording import one_line
from loong_gateway.commands.channel_word import chosen_channel
from loong_gateway.commands.common import Context
from loong_gateway.commands.config_access import load_config
from loong_gateway.commands.send_flags import Once, add_option_flags, given_options
from loong_gateway.commands.targets import check_target, is_conversation, refusal_fix
from loong_gateway.config.outside import egress_of, resolve_account
from loong_gateway.config.secrets import SecretUnavailable
from loong_gateway.config.selectors import account_for, fallback_warning
from loong_gateway.config.snapshot import AccountConfig, ChannelConfig, Config
from loong_gateway.control import MOST_FILES
from loong_gateway.messaging.local_send import DirectSend, Fate
from loong_gateway.messaging.parts import Contents, address_of, check_target_kind, operator_parts
from loong_gateway.messaging.send_options import check_contents, checked_options, file_kind
from loong_gateway.owner.client import ControlClient
from loong_gateway.owner.lock import lock_state
from loong_gateway.storage.local import LocalStore
from loong_gateway.storage.outbox import Part
from loong_gateway.storage.outgoing import Outgoing, check_source

HELP = "send a text, files, or both to a conversation"
EXAMPLES = (
    "date | loong channels send telegram --target 123456789 --text -",
    "loong channels send telegram --target 123456789 --text report: --file report.pdf",
)
EXIT_CODES = "0 sent or kept; 1 the platform refused or did not confirm; 2 it was never asked"
WAIT_S = 30.0
# Long enough for a file, and the longest that an owner lets a caller wait.
FILE_WAIT_S = 120.0
ANSWER_S = 10.0
# How long an owner that has just started may take until it can be asked.
OWNER_WAIT_S = 5.0
OWNER_LOOK_S = 0.1
# Answers after which the text may have been taken; any other refusal came before that.
UNCLEAR_STATUS = (500, 502, 504)
# States in which the platform has not taken it and will not.
NOT_TAKEN = ("failed", "expired", "refused")
MAX_CHARACTERS = 200_000
LONGEST_NAME = 200


@dataclass(frozen=True)
class Order:
    """What is to be sent and through which account."""

    config: Config
    channel: ChannelConfig
    account: AccountConfig
    spec: ChannelSpec
    target: str
    target_kind: str
    contents: Contents
    selected_by_default: bool

    @property
    def asked_account(self) -> str | None:
        """The account that an owner is asked for. None, its own default, where the name comes from the credential:
        the owner may know one that this shell does not."""
        by_credential = self.selected_by_default and self.channel.default_source == "runtime_identity"
        return None if by_credential else self.account.id

    @property
    def wait_s(self) -> float:
        """How long to wait for the outcome, in seconds."""
        return FILE_WAIT_S if self.contents.files else WAIT_S


@dataclass(frozen=True)
class Outcome:
    """What became of it. `state` as in control.SendOutcome."""

    id: str
    state: str
    message_ids: tuple[str, ...]
    error: str = ""
    account: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of this verb."""
    parser.add_argument("channel_word", nargs="?", metavar="CHANNEL", help="telegram, ... (or --channel)")
    parser.add_argument("--channel", metavar="CHANNEL", help=argparse.SUPPRESS)
    parser.usage = f"{parser.prog} CHANNEL --target ID [--text TEXT] [--file PATH] [--image PATH] [flags]"
    parser.add_argument(
        "--target", "--receive-id", required=True, action=Once, metavar="ID", help="where to send it"
    )
    parser.add_argument("--text", action=Once, metavar="TEXT", help="what to send; - reads standard input")
    for name, what in (("file", "file"), ("image", "picture")):
        shown = f"a {what} to send, after the text; repeatable"
        parser.add_argument(f"--{name}", action="append", metavar="PATH", help=shown)
        parser.add_argument(
            f"--{name}-path", dest=name, action="append", metavar="PATH", help=argparse.SUPPRESS
        )
    parser.add_argument("--account", metavar="ID", help="the configured account; else the default")
    parser.add_argument(
        "--target-kind", metavar="KIND", help="what the target is; otherwise the channel's usual"
    )
    add_option_flags(parser, getattr(parser, "words", ()))
    wait = parser.add_mutually_exclusive_group()
    wait.add_argument(
        "--wait", dest="wait", action="store_true", default=True, help="wait for the outcome (usual)"
    )
    wait.add_argument(
        "--no-wait", dest="wait", action="store_false", help="return once the running gateway keeps it"
    )


def run(args: argparse.Namespace, context: Context) -> int:
    """Send; the exit code says whether the platform took it."""
    order = _order(args, context)
    guessed = fallback_warning(order.config, order.channel.name, args.account)
    if guessed:
        context.err(guessed)
    client = _owner(context)
    if client is not None:
        outcome = _through_owner(context, client, order, wait=args.wait)
        order = _as_answered(order, outcome)
    else:
        outcome = _directly(context, order)
    _report(context, order, outcome)
    return 0


def _order(args: argparse.Namespace, context: Context) -> Order:
    name = chosen_channel(args.channel_word, args.channel)
    text = "" if args.text is None else _text(args.text, context)
    target = args.target.strip()
    if not target:
        raise CommandError("channels.empty_target")
    config = load_config(context)
    if catalog.KNOWN[name].package is None:
        raise CommandError("selector.channel_not_in_this_build", channel=name)
    spec = catalog.spec(name)
    kind = _target_kind(args.target_kind, spec)
    check_target(spec, target, kind)
    options = checked_options(spec, given_options(args))
    named = [(path, wanted) for wanted in ("image", "file") for path in getattr(args, wanted) or () if path]
    if len(named) > MOST_FILES:
        raise CommandError("channels.many_files", files=len(named), limit=MOST_FILES)
    files = tuple(_as_file(spec, path, wanted) for path, wanted in named)
    check_contents(spec, text, options, tuple(file.kind for file in files))
    account = account_for(config, name, args.account)
    channel = config.channels[name]
    by_default = args.account is None
    contents = Contents(text, options, files)
    return Order(config, channel, account, spec, target, kind, contents, selected_by_default=by_default)


def _as_file(spec: ChannelSpec, path: str, wanted: str) -> OutboundFile:
    """A file as the caller names it. Raises CommandError for one that cannot be sent."""
    name = one_line(os.path.basename(path), LONGEST_NAME) or "file"
    kind = file_kind(spec, name, wanted)
    check_source(path, spec.file_limit(kind))
    return OutboundFile(path, name, kind)


def _text(given: str, context: Context) -> str:
    text = given
    if given == "-":
        raw = context.stdin.buffer.read(4 * MAX_CHARACTERS + 1)
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            if len(raw) <= 4 * MAX_CHARACTERS:
                raise CommandError("channels.bad_text", detail=f"byte {error.start}") from None
            text = raw.decode("utf-8", "replace")
        text = text.rstrip("\n")
    else:
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            # Bytes of the command line that are no text come as lone surrogates.
            raise CommandError("channels.bad_text", detail=f"character {error.start}") from None
    if not text.strip():
        raise CommandError("channels.empty_text")
    if len(text) > MAX_CHARACTERS:
        raise CommandError("channels.long_text", characters=len(text), limit=MAX_CHARACTERS)
    return text


def _target_kind(given: str | None, spec: ChannelSpec) -> str:
    kind = spec.target_kinds[0] if given is None else given.strip().lower().replace("-", "_")
    check_target_kind(spec, kind)
    return kind


def _warn_when_not_listed(context: Context, order: Order) -> None:
    if order.target_kind == "message_reply" or not is_conversation(order.spec, order.target):
        # Which chat a message or a person belongs to is not known here.
        return
    listed = order.account.settings.get(order.spec.conversation_setting)
    values = [str(value) for value in listed] if isinstance(listed, (list, tuple)) else []
    conversation = address_of(order.spec, order.account.id, order.target).conversation
    if conversation not in values and "*" not in values:
        context.err(
            f"warning: {order.target} is not in {order.channel.name}.{order.spec.conversation_setting}; "
            "an answer from there would be dropped"
        )


def _owner(context: Context) -> ControlClient | None:
    """Whoever holds this home, None when nobody does.

    A connection of our own beside that of an owner could take the account away from it; so one that cannot be asked
    yet is waited for, and one that stays silent ends the command.
    """
    client = ControlClient(context.places)
    deadline = Deadline(OWNER_WAIT_S)
    while not client.available():
        if not lock_state(context.places).held:
            return None
        if deadline.expired:
            raise CommandError("channels.gateway_silent", detail="it has not opened a port")
        StopToken().wait(OWNER_LOOK_S)
    return client


@dataclass
class _Copies:
    """The copies of the files of an order, by name and as they are sent; `are_kept` once somebody else needs them."""

    names: list[str] = field(default_factory=list)
    files: list[OutboundFile] = field(default_factory=list)
    are_kept: bool = False


@contextlib.contextmanager
def _copies(context: Context, order: Order) -> Iterator[_Copies]:
    """Copy the files of an order; at the end the copies are removed unless they are said to be needed."""
    outgoing = Outgoing(context.places.outgoing)
    copies = _Copies()
    if order.contents.files:
        context.places.create()
    try:
        for file in order.contents.files:
            limit_bytes = order.spec.file_limit(file.kind)
            name = outgoing.keep(file.path, limit_bytes=limit_bytes)
            copies.names.append(name)
            copies.files.append(replace(file, path=outgoing.path_of(name, limit_bytes=limit_bytes)))
        yield copies
    finally:
        if not copies.are_kept:
            for name in copies.names:
                outgoing.discard(name)


def _through_owner(context: Context, client: ControlClient, order: Order, *, wait: bool) -> Outcome:
    contents = order.contents
    with _copies(context, order) as copies:
        body: dict[str, object] = {
            "channel": order.channel.name,
            "account": order.asked_account,
            "target": order.target,
            "target_kind": order.target_kind,
            "text": contents.text,
            "wait_s": order.wait_s if wait else 0.0,
            "idempotency_key": new_id("send"),
        }
        if contents.options:
            body["options"] = dict(contents.options)
        if contents.files:
            body["files"] = [
                {"copy": copy, "name": file.name, "kind": file.kind}
                for copy, file in zip(copies.names, contents.files)
            ]
        # From here on it may have been taken, even if this command is ended; whoever took it removes its copies.
        copies.are_kept = True
        try:
            outcome = _outcome_of(client, body)
        except CommandError as error:
            copies.are_kept = error.code == "channels.no_outcome"
            raise
        copies.are_kept = outcome.state != "refused"
    return outcome


def _as_answered(order: Order, outcome: Outcome) -> Order:
    """The order with the account that the owner chose, where the choice was left to it."""
    if order.asked_account is not None or outcome.account in ("", order.account.id):
        return order
    return replace(order, account=replace(order.account, id=outcome.account, label=outcome.account))


def _outcome_of(client: ControlClient, body: dict[str, object]) -> Outcome:
    answer = _ask_owner(client, body, timeout_s=float(str(body["wait_s"])) + ANSWER_S)
    ids = answer.get("message_ids")
    kept = str(answer.get("id") or "")
    state = str(answer.get("state") or "unknown")
    return Outcome(
        id=kept,
        # Without an id nothing can be looked up later, so such an answer proves nothing.
        state=state if kept or state in NOT_TAKEN else "unknown",
        message_ids=tuple(str(one) for one in ids) if isinstance(ids, list) else (),
        error=str(answer.get("error") or ""),
        account=str(answer.get("account") or ""),
    )


def _ask_owner(client: ControlClient, body: dict[str, object], *, timeout_s: float) -> dict[str, object]:
    """What the owner answers. Once it was asked, an answer that does not come is no proof that nothing happens."""
    try:
        client.check()
    except CommandError as error:
        raise CommandError("channels.gateway_silent", detail=error.message) from error
    try:
        return client.post("/api/gateway/send", body, timeout_s=timeout_s)
    except CommandError as error:
        broken = error.code == "control.failed" and error.values["status"] in UNCLEAR_STATUS
        if error.code != "control.no_answer" and not broken:
            raise
        raise CommandError("channels.no_outcome", detail=error.values["detail"]) from error


def _directly(context: Context, order: Order) -> Outcome:
    try:
        account = resolve_account(order.spec, order.account, context.environ, receiving=False)
    except SecretUnavailable as error:
        raise CommandError(
            "channels.secret_missing",
            detail=error.message,
            setting=error.where or order.channel.name,
            config=order.config.path,
            fix=error.fix or f"set it, then: {context.places.command('doctor')}",
        ) from error
    egress = egress_of(order.config.network, context.environ)
    channel = catalog.channel_class(order.channel.name)(account, egress)
    sender = DirectSend(channel, LocalStore(context.places), context.clock)
    with _copies(context, order) as copies:
        fate = sender.send(
            _parts(context, order, copies.files), deadline=Deadline(order.wait_s), stop=StopToken()
        )
        copies.are_kept = not fate.recorded
    if not fate.recorded:
        context.err("warning: the outcome could not be written down; a gateway may send the text again")
    if fate.fault is not None:
        raise _fault_error(context, order, fate, fate.fault)
    return Outcome(fate.id, "sent", fate.message_ids)


def _parts(context: Context, order: Order, files: list[OutboundFile]) -> list[Part]:
    parts = operator_parts(
        order.spec,
        address_of(order.spec, order.account.id, order.target),
        replace(order.contents, files=tuple(files)),
        group=new_id("send"),
        expires_ms=context.clock.wall_ms() + order.config.delivery.push_ttl_s * 1000,
    )
    if not parts:
        raise CommandError("channels.empty_text")
    return parts


def _fault_error(context: Context, order: Order, fate: Fate, fault: Fault) -> CommandError:
    values: Mapping[str, object] = {
        "channel": order.channel.name,
        "account": order.account.id,
        "detail": str(fault),
        "sent": fate.sent,
        "parts": fate.parts,
        "fix": refusal_fix(order.spec, str(fault)) or context.places.command("channels status --probe"),
    }
    if fate.sent:
        return CommandError("channels.partly_sent", **values)
    if isinstance(fault, Unreachable):
        return CommandError(
            "channels.unknown_fate" if fault.maybe_processed else "channels.not_asked", **values
        )
    return CommandError("channels.refused", **values)


def _report(context: Context, order: Order, outcome: Outcome) -> None:
    """Print what became of it. Raises CommandError for everything but a message that was taken or kept."""
    values = {
        "channel": order.channel.name,
        "account": order.account.id,
        "detail": outcome.error or "no reason given",
    }
    if outcome.state in ("failed", "expired"):
        probe = context.places.command("channels status --probe")
        raise CommandError("channels.refused", fix=refusal_fix(order.spec, outcome.error) or probe, **values)
    if outcome.state == "refused":
        raise CommandError("channels.not_asked", **values)
    if outcome.state not in ("sent", "queued"):
        raise CommandError("channels.unknown_fate", **values)
    _warn_when_not_listed(context, order)
    if outcome.state == "queued":
        why = f": {one_line(outcome.error)}" if outcome.error else ""
        context.err(f"the gateway keeps it and sends it as soon as it can{why}")
    if context.json:
        context.document(_document(order, outcome))
        return
    verb = "sent" if outcome.state == "sent" else "queued"
    context.out(
        f"{order.channel.name} message {verb} (config={order.config.path}, "
        f"configured_account={order.account.id}, account={order.account.label}, "
        f"selected_by_default={str(order.selected_by_default).lower()}, "
        f"default_source={order.channel.default_source}, target_kind={order.target_kind})"
    )


def _document(order: Order, outcome: Outcome) -> dict[str, object]:
    return {
        "channel": order.channel.name,
        "configured_account": order.account.id,
        "account": order.account.label,
        "target": order.target,
        "target_kind": order.target_kind,
        "message_ids": list(outcome.message_ids),
        "schema_version": 1,
        "state": outcome.state,
        "id": outcome.id,
    }
