"""From a configuration to a running owner: takes lock, port, log and store in this order, then hands over the life.

Whatever fails on the way leaves nothing behind but a line for `gateway status`.
"""

from __future__ import annotations

import functools
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TextIO

from loong_channels.waiting import Deadline
from loong_gateway import VERSION
from loong_gateway.api.auth import Auth
from loong_gateway.api.bind import Bound, check_bind, open_listener
from loong_gateway.api.hooks import hook_auth
from loong_gateway.api.listener import Listener
from loong_gateway.api.local_socket import close_local, open_local
from loong_gateway.api.port import all_routes
from loong_gateway.api.rpc.server import Facts, RpcServer
from loong_gateway.api.webhook_listener import listening
from loong_gateway.audit.journal import Journal
from loong_gateway.audit.recorder import Recorder
from loong_gateway.base.clock import Clock
from loong_gateway.base.faults import CommandError, StoreUnwritable
from loong_gateway.base.process import identity
from loong_gateway.base.threads import ThreadRegistry
from loong_gateway.base.wording import one_line
from loong_gateway.config.outside import egress_of
from loong_gateway.config.snapshot import AccountConfig, Config
from loong_gateway.control import ControlPlane
from loong_gateway.control.audit import Audit, NoAudit
from loong_gateway.daemon.gauges import show_owner, show_port
from loong_gateway.daemon.held_secret import HeldSecret, keep_apart
from loong_gateway.daemon.models_desk import ModelsDesk
from loong_gateway.daemon.parts import DeskParts, RuntimeParts
from loong_gateway.daemon.runtime import Runtime
from loong_gateway.daemon.settings_desk import ConfigDesk
from loong_gateway.daemon.successor import Inheritance, Successor, is_supervised, program
from loong_gateway.daemon.work_unit_desk import WorkUnitDesk
from loong_gateway.logs import log as logs
from loong_gateway.logs.redaction import Redactor
from loong_gateway.messaging.engine import Engine
from loong_gateway.messaging.engine_parts import EngineParts
from loong_gateway.messaging.terminal import TERMINAL_SPEC, Show, Terminal, terminal_account
from loong_gateway.messaging.webhooks import Webhooks
from loong_gateway.owner import files as owner_files
from loong_gateway.owner.boots import Boots
from loong_gateway.owner.lock import OwnerLock
from loong_gateway.owner.paths import Places
from loong_gateway.storage.lock import StoreLock
from loong_gateway.storage.outgoing import Outgoing
from loong_gateway.storage.store import Store
from loong_gateway.tools.mcp import McpServers, ServerWorld

__all__ = ["Ended", "Launch", "launch"]

STORE_LOCK_S = 10.0
CLOSE_S = 5.0
AUDIT_CLOSE_S = 2.0


@dataclass(frozen=True)
class Launch:
    """What to run. `verb` and `mode` name the owner; `session` attaches a chat on a terminal: its input, and
    what shows a piece of the chat with the prompt after it.

    `announce` prints one line; `stderr` gets the log, None keeps it in the file. `once` ends the owner after the
    first batch of each surface was taken and answered. `takes_webhooks` lets platforms call at the port.
    `rehearse` reads the configuration as a new start would and raises CommandError where that would be refused;
    without it there is no restart. `inheritance` is what this process was handed by what it was before a restart.
    """

    places: Places
    environ: dict[str, str]
    config: Config
    accounts: Sequence[AccountConfig]
    verb: str
    mode: str
    announce: Callable[[str], None]
    stderr: TextIO | None
    level: str
    port: int | None = None
    bind: str | None = None
    session: str | None = None
    terminal: tuple[TextIO, Show] | None = None
    once: bool = False
    takes_webhooks: bool = True
    rehearse: Callable[[], Config] | None = None
    inheritance: Inheritance | None = None


class _Credentials(NamedTuple):
    """What opens the port: the configured secret, the control token of this run, the token of the hooks."""

    port: HeldSecret
    control: str
    hook: HeldSecret | None


@dataclass(frozen=True)
class Ended:
    """How the life of an owner ended: the exit code, or a `successor` that still has to be run."""

    code: int
    successor: Successor | None = None


def launch(order: Launch) -> Ended:
    """Run an owner until it is stopped. Blocks. Raises CommandError when it cannot start."""
    lock = _lock(order)
    ended = Ended(70)
    try:
        ended = _with_lock(order, lock)
    except (OSError, StoreUnwritable) as cause:
        # Most likely a full disk. A supervisor should try again, so this is not one of the final refusals.
        detail = one_line(getattr(cause, "strerror", None) or cause)
        error = CommandError("run.disk", detail=detail, path=order.places.state)
        owner_files.note_refused_start(order.places, error)
        raise error from cause
    except CommandError as error:
        owner_files.note_refused_start(order.places, error)
        raise
    finally:
        if ended.successor is None:
            lock.release()
    return ended


def _lock(order: Launch) -> OwnerLock:
    given = order.inheritance
    adopted = None if given is None else OwnerLock.adopt(order.places, given.lock, verb=order.verb)
    return adopted or OwnerLock.acquire(order.places, verb=order.verb)


def _with_lock(order: Launch, lock: OwnerLock) -> Ended:
    places = order.places
    redactor = Redactor()
    secret = HeldSecret.of_port(order.config.gateway, order.environ, redactor)
    hook = _hook_token(order.config, order.environ, redactor, secret)
    bound = open_listener(
        order.config.gateway,
        port_override=order.port,
        bind_override=order.bind,
        environ=order.environ,
        handed=() if order.inheritance is None else order.inheritance.sockets,
    )
    token = owner_files.write_control_token(places)
    redactor.register(token)
    log = logs.configure(
        places,
        level=order.level,
        stderr=order.stderr,
        redactor=redactor,
        file=order.config.logging.file,
        environ=order.environ,
    )
    try:
        if order.config.gateway.socket:
            bound.sockets.append(open_local(places.socket))
        with StoreLock.hold(places, STORE_LOCK_S, code="store.locked_at_start"):
            return _with_store(order, lock, bound, redactor, _Credentials(secret, token, hook))
    finally:
        for sock in bound.sockets:
            if sock.family == socket.AF_UNIX:
                close_local(sock, places.socket)
            sock.close()
        log.close()


def _with_store(
    order: Launch, lock: OwnerLock, bound: Bound, redactor: Redactor, credentials: _Credentials
) -> Ended:
    threads = ThreadRegistry()
    clock = Clock()
    changes = _Changes()
    store = Store.open(order.places.store, threads=threads, on_trouble=changes)
    audit = _audit(order, threads)
    try:
        engine = Engine(
            order.config,
            EngineParts(
                store=store,
                threads=threads,
                egress=egress_of(order.config.network, order.environ),
                environ=order.environ,
                redactor=redactor,
                clock=clock,
                changed=changes,
                outgoing=Outgoing(order.places.outgoing),
                provider_state=order.places.provider_state,
                home=order.places.state,
                webhooks=Webhooks(
                    functools.partial(listening, settings=order.config.gateway, threads=threads)
                ),
                audit=audit or NoAudit(),
            ),
        )
        show_owner(engine.metrics, store, lock, clock)
        for account in order.accounts:
            engine.add_account(account)
        runtime = Runtime(
            RuntimeParts(
                places=order.places,
                lock=lock,
                bound=bound,
                listener=functools.partial(_listener, order, bound, credentials, threads, redactor, engine),
                store=store,
                engine=engine,
                threads=threads,
                boots=Boots(order.places, clock),
                clock=clock,
                announce=order.announce,
                token=credentials.control,
                mode=order.mode,
                desk=_desk_parts(order, engine, (store, audit), threads, redactor, credentials),
                session=order.session,
                once=order.once,
                rehearse=functools.partial(_rehearse, order),
                program=() if order.rehearse is None else program(),
                supervised=is_supervised(order.environ),
                is_successor=order.inheritance is not None,
            )
        )
        changes.listener = runtime.note_change
        _attach_terminal(order, engine, runtime, clock)
        order.announce(f"loong {VERSION} gateway, profile {order.places.profile}, config {order.config.path}")
        code = runtime.run()
        if runtime.handed is None:
            return Ended(code)
        return Ended(code, Successor(order.places, lock, runtime.handed, program()))
    finally:
        _close(store, audit)


def _close(store: Store, audit: Recorder | None) -> None:
    store.close(Deadline(CLOSE_S))
    if audit is not None:
        audit.close(Deadline(AUDIT_CLOSE_S))


def _audit(order: Launch, threads: ThreadRegistry) -> Recorder | None:
    settings = order.config.audit
    if settings.mode == "off":
        return None
    return Recorder(Journal(settings.path or order.places.audit), threads)


def _rehearse(order: Launch) -> None:
    """Look whether a start would be refused now, before anything is stopped for one. Raises CommandError."""
    if order.rehearse is None:
        raise CommandError("restart.not_here", verb=order.verb)
    config = order.rehearse()
    port = HeldSecret.of_port(config.gateway, order.environ, Redactor())
    _hook_token(config, order.environ, Redactor(), port)
    check_bind(config.gateway, port_override=order.port, bind_override=order.bind, environ=order.environ)


def _desk_parts(
    order: Launch,
    engine: Engine,
    parts: tuple[Store, Recorder | None],
    threads: ThreadRegistry,
    redactor: Redactor,
    credentials: _Credentials,
) -> DeskParts:
    store, audit = parts
    places = order.places
    egress = egress_of(order.config.network, order.environ)
    return DeskParts(
        settings=ConfigDesk(
            places,
            applied=lambda: engine.config,
            environ=order.environ,
            scrub=redactor.scrub,
            audit=engine.audit,
            dev=places.dev,
        ),
        models=ModelsDesk(
            lambda: engine.config,
            egress=egress,
            environ=order.environ,
            secret=engine.answering.resolve_secret,
            health=engine.providers.health_of,
            threads=threads,
            clock=Clock(),
        ),
        work_units=WorkUnitDesk(store, Clock()),
        audit=audit,
        tool_servers=McpServers(
            lambda: engine.config,
            ServerWorld(threads, order.environ, engine.answering.resolve_secret, redactor.scrub),
        ),
        held=tuple(one for one in (credentials.port, credentials.hook) if one is not None),
        log_path=order.config.logging.file or logs.log_path(places),
        egress=egress,
        own_paths=(places.home, places.state, places.config),
    )


def _listener(
    order: Launch,
    bound: Bound,
    credentials: _Credentials,
    threads: ThreadRegistry,
    redactor: Redactor,
    engine: Engine,
    control: ControlPlane,
) -> Listener:
    settings = order.config.gateway
    auth = Auth(
        secret=credentials.port.value,
        control_token=credentials.control,
        attempts=settings.auth_attempts,
        window_s=settings.auth_window_s,
        lockout_s=settings.auth_lockout_s,
        exempt_loopback=settings.exempt_loopback,
    )
    denied = functools.partial(_denied, engine.audit)
    auth.on_denied(denied)
    facts = Facts(bound.address, order.places.state, engine.audit)
    rpc = RpcServer(control, auth, settings, threads, facts=facts, scrub=redactor.scrub)
    # In this order: nobody may prove the old one after those who did are closed.
    credentials.port.on_change(auth.replace_secret)
    credentials.port.on_change(lambda _: rpc.secret_changed())
    hooks = None if credentials.hook is None else hook_auth(str(credentials.hook.value))
    if credentials.hook is not None and hooks is not None:
        hooks.on_denied(denied)
        keep_apart(hooks, credentials.hook, credentials.port)
    listener = Listener(
        bound.sockets,
        all_routes(control, order.config, order.environ, hooks),
        auth,
        settings,
        threads,
        takeovers=[rpc.takeover],
        webhooks=engine.webhooks if order.takes_webhooks else None,
        scrub=redactor.scrub,
    )
    show_port(control.metrics, listener, auth, hooks)
    return listener


def _denied(audit: Audit, address: str) -> None:
    audit.record("AuthorizationDenied", {"reason": "wrong_credential", "peer": address})


def _attach_terminal(order: Launch, engine: Engine, runtime: Runtime, clock: Clock) -> None:
    if order.session is None or order.terminal is None:
        return
    stdin, show = order.terminal
    channel = Terminal(
        order.session,
        descriptor=stdin.fileno(),
        show=show,
        instance=str(identity()["instance_id"]),
        exit_commands=order.config.cli.exit_commands,
        ended=runtime.end_of_session,
        clock=clock,
    )
    engine.attach(TERMINAL_SPEC, terminal_account(order.session), channel)


def _hook_token(
    config: Config, environ: dict[str, str], redactor: Redactor, port: HeldSecret
) -> HeldSecret | None:
    """The token of the hooks, None where they are off. One that is the port's as well would open all of it."""
    if not config.hooks.enabled:
        return None
    token = HeldSecret(config.hooks.token, ("gateway", "hooks"), environ, redactor)
    if token.value is None or token.value == port.value:
        raise CommandError(
            "run.hook_token_reused", setting=config.hooks.token.setting, source=config.hooks.token.display
        )
    return token


class _Changes:
    """Passes changes on to the runtime, which is built after those who report them."""

    def __init__(self) -> None:
        self.listener: Callable[[], None] = _nobody

    def __call__(self) -> None:
        self.listener()


def _nobody() -> None:
    """There is no runtime yet that could be told."""
