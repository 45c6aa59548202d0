"""How the rooms are put together; `app.py` decides when. One function a group of rooms, nothing is decided here."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request

from agenthifive.agents import api as agents_api
from agenthifive.agents.assertion import accepted_audiences
from agenthifive.agents.jobs import sweep_replays, sweep_tokens
from agenthifive.agents.model import AgentOptions
from agenthifive.audit import api as audit_api
from agenthifive.audit.flood import FloodGate
from agenthifive.audit.lane import Lane
from agenthifive.audit.service import AuditReader
from agenthifive.audit.writer import Writer, WriterOptions
from agenthifive.broker import records
from agenthifive.broker.address import Guard, parse_allowlist, parse_nat64_prefixes
from agenthifive.broker.broker import Broker, BrokerOptions
from agenthifive.broker.changes import Changes
from agenthifive.broker.delivery import Delivery
from agenthifive.broker.egress import Egress, ask_system, tls_context
from agenthifive.broker.grants import Grants
from agenthifive.broker.http import BrokerHttp
from agenthifive.broker.idempotency import Idempotency
from agenthifive.broker.live import LiveStreams
from agenthifive.broker.streaming import Streaming
from agenthifive.broker.sweeps import sweep_keys, sweep_minutes
from agenthifive.connections import api as connections_api
from agenthifive.connections.jobs import connection_jobs
from agenthifive.connections.model import ConnectionOptions
from agenthifive.connections.service import ConnectionService
from agenthifive.connections.watch import CredentialWatch
from agenthifive.db.database import Connection
from agenthifive.db.unit import Unit
from agenthifive.edge.answers import StandardHeaders
from agenthifive.edge.context import TrustedProxies
from agenthifive.edge.gate import Gate
from agenthifive.edge.gatekeeper import Gatekeeper, LookUps
from agenthifive.edge.management import make_management
from agenthifive.edge.routing import Edge
from agenthifive.jwt import api as jwt_api
from agenthifive.operations import api as operations_api
from agenthifive.operations import freeze_api, keys_api
from agenthifive.operations import pages as operations_pages
from agenthifive.operations.freeze import FreezeWatch
from agenthifive.operations.jobs import Job
from agenthifive.operations.key_admin import KeyAdmin
from agenthifive.operations.key_duty import KeyDuty
from agenthifive.operations.key_store import KEYS_WORKSPACE
from agenthifive.operations.ratelimit import RateLimiter, Window, sweep_limits
from agenthifive.operations.tally import Tally
from agenthifive.people import api as people_api
from agenthifive.people import device_store
from agenthifive.people import pages as people_pages
from agenthifive.people.assembly import make_people, make_programs, make_social
from agenthifive.people.state import Programs
from agenthifive.policies import api as policies_api
from agenthifive.settings import Settings
from agenthifive.words import RateLimit

if TYPE_CHECKING:
    from agenthifive.app import Application


@dataclass(frozen=True, slots=True)
class Keeper:
    """Agents, people and limits: who may come in."""

    agents: Any
    people: Any
    programs: Programs
    limiter: RateLimiter
    gatekeeper: Gatekeeper
    flood: FloodGate
    token_writer: Writer
    jobs: Sequence[Job]


@dataclass(frozen=True, slots=True)
class BrokerRoom:
    """The hot path and what it stands on."""

    broker: Broker
    grants: Grants
    changes: Changes
    writer: Writer
    egress: Egress
    live: LiveStreams
    http: BrokerHttp
    connections: ConnectionService
    policies: policies_api.PoliciesRoom
    jobs: Sequence[Job]
    close: Callable[[], Awaitable[None]]


def make_keeper(app: "Application") -> Keeper:
    """The rooms that decide who may come in."""
    settings = app.settings
    limiter = RateLimiter(app.database, _windows(settings))
    flood = FloodGate()
    token_writer = _make_writer(app, "tokens", lanes=1)
    signed_tokens = app.jwt.signed_tokens
    room = agents_api.make_room(
        app.database, token_writer, flood, app.catalog, _agent_options(app), signed_tokens, app.frozen
    )
    people = make_people(app, limiter)
    programs = make_programs(settings, people, signed_tokens)
    gatekeeper = Gatekeeper(
        app.database,
        app.chain,
        limiter,
        LookUps(
            room.agents.caller_by_token,
            people.caller_by_pat,
            people.caller_by_session,
            programs.session_tokens.caller_by_jwt,
            signed_tokens.is_agent_token,
        ),
        flood,
        cookie_name=people.cookie_name,
        web_origin=settings.web_url,
        tally=Tally(
            {
                RateLimit.PRINCIPAL: Window(settings.rate_limit_principal_per_minute, 60),
                RateLimit.GLOBAL: Window(settings.rate_limit_global_per_15_minutes, 900),
            }
        ),
    )
    jobs = (
        Job("replay_sweep", 300.0, _on_connection(sweep_replays)),
        Job("token_sweep", 3600.0, _on_connection(sweep_tokens)),
        Job("device_login_sweep", 3600.0, _on_connection(device_store.sweep)),
        *people.jobs,
    )
    return Keeper(room, people, programs, limiter, gatekeeper, flood, token_writer, jobs)


async def make_broker(
    app: "Application",
    connect_listener: Callable[[], Awaitable[Connection]],
    own_endpoints: Sequence[tuple[str, int]],
    doubles: Mapping[str, Any],
) -> BrokerRoom:
    """The hot path, started: writer, change feed, grants, egress."""
    settings, database = app.settings, app.database
    stops = settings.disabled_user_stops_agents
    grants = Grants(database, app.catalog, creator_stops=stops, frozen=app.frozen)
    live = LiveStreams(grants)
    switch = FreezeWatch(app.frozen, settings.agenthifive_home, live.cut_frozen, app.unit)
    changes = Changes(connect_listener, partial(_on_change, grants, live, app.keys), switch.read)
    writer = _make_writer(app, "broker", lanes=2)
    guard = read_guard(settings, await asyncio.to_thread(own_addresses, own_endpoints))
    egress = Egress(guard, tls_context(settings.egress_ca_bundle), doubles.get("resolve"))
    connections = ConnectionService(
        app.catalog,
        app.keyring,
        egress,
        app.keeper.limiter,
        ConnectionOptions(settings.max_connections, settings.agents_may_revoke, guard.http_hosts),
    )
    watch = CredentialWatch(app.unit, app.catalog, app.keyring, connections.probes)
    policies = policies_api.make_room(database, app.catalog, guard.http_hosts)
    idempotency = Idempotency(database, app.keyring)
    streaming = Streaming(egress, live)
    delivery = Delivery(
        writer,
        egress,
        idempotency,
        streaming,
        max_download_bytes=settings.max_download_bytes,
        on_auth_failure=watch.on_auth_failure,
    )
    options = _broker_options(settings, guard)
    broker = Broker(grants, changes, writer, app.keyring, egress, idempotency, delivery, options)
    http = BrokerHttp(
        broker,
        app.keeper.gatekeeper,
        Request,
        max_body_bytes=settings.max_request_body_bytes,
        process_max_in_flight=settings.process_max_in_flight,
    )
    app.keys.on_loaded = partial(grants.drop, None)
    await writer.start()
    await changes.start()
    switch.start()

    async def close() -> None:
        live.cut_all("shutting_down")
        await switch.close()
        await watch.close()
        await changes.close()
        await writer.close()
        await egress.close()

    jobs = _broker_jobs(connections, grants)
    return BrokerRoom(broker, grants, changes, writer, egress, live, http, connections, policies, jobs, close)


def _make_writer(app: "Application", name: str, lanes: int) -> Writer:
    settings = app.settings
    return Writer(
        lambda lane: Lane(app.database.dedicated, app.instance, lane),
        records.given_up,
        WriterOptions(settings.audit_write_deadline_ms / 1000, settings.audit_queue_max, name, lanes),
    )


def _broker_options(settings: Settings, guard: Guard) -> BrokerOptions:
    return BrokerOptions(
        http_hosts=guard.http_hosts,
        agent_max_in_flight=settings.agent_max_in_flight,
        head_timeout_s=settings.provider_head_timeout_seconds,
        llm_head_timeout_s=settings.llm_head_timeout_seconds,
        idempotency_ttl_s=settings.idempotency_ttl_hours * 3600,
        rule_evaluation_s=settings.rule_evaluation_seconds,
    )


def _broker_jobs(connections: ConnectionService, grants: Grants) -> Sequence[Job]:
    return (
        *connection_jobs(connections.revocations),
        Job("limit_sweep", 300.0, _on_connection(sweep_limits)),
        Job("key_sweep", 300.0, _on_connection(sweep_keys)),
        Job("minute_sweep", 300.0, _on_connection(sweep_minutes)),
        Job("last_seen", 30.0, grants.note_used, is_shared=False),
    )


def make_rooms(app: "Application") -> FastAPI:
    """The management routes, each with its room behind it."""
    management = make_management(
        [
            agents_api.routes.router,  # first, because routes are tried in order and agents ask for tokens all day
            operations_api.routes.router,
            operations_pages.routes.router,
            keys_api.routes.router,
            freeze_api.routes.router,
            people_api.routes.router,
            people_pages.routes.router,
            connections_api.routes.router,
            policies_api.routes.router,
            audit_api.routes.router,
            jwt_api.routes.router,
        ]
    )
    state = management.state
    state.application = app
    state.edge = Edge(app.database, app.chain, app.keeper.gatekeeper, app.frozen)
    state.agents, state.people, state.programs = app.keeper.agents, app.keeper.people, app.keeper.programs
    app.keeper.people.workspaces.end_connections = app.broker.connections.revocations.end_workspace
    state.signed_tokens = app.jwt.signed_tokens
    state.social = make_social(app.settings, app.keeper.people, app.keyring, app.broker.egress)
    state.connections, state.policies = app.broker.connections, app.broker.policies
    state.keys = KeyAdmin(app.keys, partial(jwt_api.list_public, app.jwt.signed_tokens.keys))
    state.audit = AuditReader(app.database, app.chain, app.keeper.limiter)
    return management


def make_gate(app: "Application", management: FastAPI) -> Gate:
    """What the server runs."""
    settings = app.settings
    return Gate(
        broker=app.broker.http,
        management=management,
        lifespan=_no_lifespan,
        proxies=TrustedProxies(str(network) for network in settings.trusted_proxies),
        headers=StandardHeaders(settings.web_url),
        web_origin=settings.web_url,
        cors_origins=frozenset(settings.cors_origins),
        meter=app.metrics,
        journal=app.journal,
    )


def own_addresses(
    endpoints: Sequence[tuple[str, int]], ask: Callable[[str, int], Sequence[str]] = ask_system
) -> frozenset[tuple[IPv4Address | IPv6Address, int]]:
    """The addresses behind our own endpoints: a name stands for everything it leads to. Blocks."""
    own = set()
    for host, port in endpoints:
        with contextlib.suppress(OSError):  # a database that has no address now is not reached by a call either
            own |= {(ip_address(address.partition("%")[0]), port) for address in ask(host, port)}
    return frozenset(own)


def read_guard(settings: Settings, own: frozenset[tuple[IPv4Address | IPv6Address, int]]) -> Guard:
    """The egress settings. Raises: ValueError naming the variable and the entry."""
    return Guard(
        allow_private=settings.ssrf_allow_private,
        allowlist=parse_allowlist(settings.ssrf_allowlist_hosts),
        nat64_prefixes=parse_nat64_prefixes(settings.egress_nat64_prefixes),
        own_endpoints=own,
    )


def _agent_options(app: "Application") -> AgentOptions:
    settings = app.settings
    return AgentOptions(
        web_url=settings.web_url,
        audiences=accepted_audiences(
            settings.web_url, settings.api_internal_url, settings.agent_token_audience, settings.is_development
        ),
        token_ttl_s=settings.agent_token_ttl_seconds,
        max_active_tokens=settings.agent_max_active_tokens,
        assertion_max_lifetime_s=settings.assertion_max_lifetime_seconds,
        bootstrap_secret_ttl_hours=settings.bootstrap_secret_ttl_hours,
        bootstrap_retry_minutes=settings.bootstrap_retry_minutes,
        max_agents_per_workspace=settings.max_agents_per_workspace,
        disabled_user_stops_agents=settings.disabled_user_stops_agents,
        restored_at_s=app.restored_at_s,
    )


def _on_connection(sweep: Callable[[Connection], Awaitable[int]]) -> Callable[[Unit], Awaitable[int]]:
    async def run(unit: Unit) -> int:
        return await sweep(await unit.begin())

    return run


def _on_change(grants: Grants, live: LiveStreams, keys: KeyDuty, workspace_id: str | None) -> None:
    if workspace_id == KEYS_WORKSPACE:
        keys.request_reload()
        return
    grants.drop(workspace_id)
    live.check(workspace_id)


def _windows(settings: Settings) -> dict[RateLimit, Window]:
    """The limits of http.md section 16 that exist in this release."""
    return {
        RateLimit.BOOTSTRAP: Window(settings.rate_limit_bootstrap_per_minute, 60),
        RateLimit.TOKEN: Window(settings.rate_limit_token_per_minute, 60),
        RateLimit.SESSION_JWT: Window(settings.rate_limit_session_jwt_per_minute, 60),
        RateLimit.SIGN_IN: Window(settings.rate_limit_sign_in_per_minute, 60),
        RateLimit.SIGN_UP: Window(settings.rate_limit_sign_up_per_hour, 3600),
        RateLimit.PASSWORD_RESET: Window(10, 3600),
        RateLimit.SECOND_FACTOR: Window(10, 900),
        RateLimit.PASSKEY: Window(30, 60),
        RateLimit.ONE_TIME_LINK: Window(settings.rate_limit_links_per_minute, 60),
        RateLimit.OAUTH_CALLBACK: Window(60, 60),
        RateLimit.DEVICE_START: Window(10, 60),
        RateLimit.DEVICE_CODE_ENTRY: Window(5, 60),
        RateLimit.AUTH_FAILURES: Window(settings.rate_limit_auth_failures_per_5_minutes, 300),
        RateLimit.CONNECTION_PROBE: Window(30, 60),
        RateLimit.PAT_CREATE: Window(20, 3600),
        RateLimit.EXPORT: Window(6, 3600),
    }


async def _no_lifespan(scope: Any, receive: Any, send: Any) -> None:
    raise RuntimeError("parts are started before the server listens")
