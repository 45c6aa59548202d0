"""Why a call would be decided as it is: read and judged by the broker's own code, nothing sent, nothing recorded.

    question -> Call (broker/http.py, llm.py) -> Grant, fresh from the database (or with a draft in place of its policy)
             -> read_target -> check_grant -> judge -> the same decision once more, with a trace -> answer

Because reading, grant and decision are the broker's, the explanation and the call can never disagree.
Source: contract/policy.md section 15.3.
"""

import asyncio
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from msgspec.structs import replace as with_members

from agenthifive import strict_json
from agenthifive.broker.grants import Grants, missing
from agenthifive.broker.http import read_execute_call
from agenthifive.broker.judge import check_grant, judge, read_target
from agenthifive.broker.llm import LlmRoute, read_llm_call
from agenthifive.broker.model import Call, Grant, Principal
from agenthifive.broker.target import ParsedTarget
from agenthifive.catalog.catalog import Catalog
from agenthifive.db.database import Database
from agenthifive.edge.context import Context
from agenthifive.edge.gate import LLM_PREFIX
from agenthifive.errors import AppError, not_found
from agenthifive.ids import is_id
from agenthifive.policies import store
from agenthifive.policies.drafts import compile_draft
from agenthifive.policies.model import StoredPolicy
from agenthifive.policy.explain import explain
from agenthifive.policy.rules import METHODS
from agenthifive.words import AGENT_SCOPES, ConnectionStatus, PrincipalType

_NOBODY: Final = Context("explain", "", None, "https")
_FIRST: Final = ("decision", "code", "reason")


@dataclass(frozen=True, slots=True)
class Question:
    """A call to be explained.

    Shapes:
        connection_id, service: one of them is given. request: as the body of `vault/execute`, or
            {llm, method, path, headers, body}. draft: facets in the place of the saved ones.
        at: aware. calls_last_hour: None counts what was used.
    """

    workspace_id: str
    agent_id: str
    request: Mapping[str, Any]
    at: datetime
    connection_id: str | None = None
    service: str | None = None
    draft: Mapping[str, Any] | None = None
    calls_last_hour: int | None = None
    wants_full_fields: bool = False


class Explainer:
    """Answers questions about calls. Reads the database, changes nothing."""

    def __init__(self, database: Database, catalog: Catalog, http_hosts: frozenset[str]) -> None:
        """`http_hosts`: hosts that may be called over plain HTTP, as the broker has them."""
        self._database = database
        self._catalog = catalog
        self._http_hosts = http_hosts

    async def explain(self, question: Question) -> dict[str, Any]:
        """The answer of the explain route.

        Raises: AppError (404 for unknown ids; 400 for what the call itself would be refused with before it is judged:
            invalid_url with its detail, invalid_header, invalid_binary_body, invalid_request, missing_target; 400
            invalid_policy for a draft that could not be saved).
        """
        grants = Grants(self._database, self._catalog, creator_stops=True)
        principal = await self._principal(question)
        call = await _read_call(question, principal, grants)
        grant = await self._resolve(question, call, grants)
        async with self._database.transaction(read_only=True) as connection:
            calls = question.calls_last_hour
            if calls is None:
                calls = await store.count_calls(connection, grant.agent_id, grant.connection_id, question.at)
            saved = await store.find_policy_of_pair(connection, grant.workspace_id, grant.agent_id, grant.connection_id)
        return await asyncio.to_thread(self._answer, question, call, grant, saved, calls)

    async def _principal(self, question: Question) -> Principal:
        agent = None
        if is_id(question.agent_id):
            async with self._database.transaction(read_only=True) as connection:
                agent = await store.find_agent(connection, question.workspace_id, question.agent_id)
        if agent is None:
            raise not_found("agent", "/v1/agents")
        name, org_domains = agent
        return Principal(
            kind=PrincipalType.AGENT,
            id=question.agent_id,
            actor=f"agent:{question.agent_id}",
            workspace_id=question.workspace_id,
            scopes=frozenset(AGENT_SCOPES),
            agent_id=question.agent_id,
            agent_name=name,
            org_domains=org_domains,
        )

    async def _resolve(self, question: Question, call: Call, grants: Grants) -> Grant:
        """The grant the broker would find, from the database and not from its memory."""
        grant = None
        if call.connection_id is not None or self._catalog.get(str(call.service)) is not None:
            grant = await grants.resolve(question.workspace_id, question.agent_id, call.connection_id, call.service)
        if grant is None or (call.connection_id is None and grant.status is not ConnectionStatus.HEALTHY):
            reason = missing(call.service if call.connection_id is None else None, grant is not None)
            raise AppError(reason.code, reason.message, hint=reason.hint)
        if call.service is not None and grant.service.id != call.service:
            raise AppError("invalid_request", f"This connection is of the service {grant.service.id}.")
        return grant

    def _answer(
        self, question: Question, call: Call, grant: Grant, saved: StoredPolicy | None, calls: int
    ) -> dict[str, Any]:
        if question.draft is not None:
            policy = compile_draft(question.draft, saved, grant.binding, grant.facts)
            grant = replace(grant, policy=policy, is_policy_broken=False)
        parsed = read_target(call, grant, self._http_hosts)
        try:
            check_grant(grant, "B")
        except AppError as error:
            return _refused_early(error, call, grant, parsed)
        judged = judge(call, grant, parsed, now=question.at, boundary=secrets.token_hex(16), calls_last_hour=calls)
        assert grant.policy is not None  # check_grant let it pass
        answer = explain(judged.request, grant.policy, question.at).document()
        first = {name: answer[name] for name in _FIRST}
        return {**first, **_policy_of(grant), **answer}


async def _read_call(question: Question, principal: Principal, grants: Grants) -> Call:
    if question.connection_id is not None and not is_id(question.connection_id):
        raise not_found("connection", "/v1/connections")
    if question.request.get("llm") is not None:
        call = await _read_llm(question, principal, grants)
    else:
        call = _read_execute(question, principal)
    return with_members(call, wants_full_fields=call.wants_full_fields or question.wants_full_fields)


def _read_execute(question: Question, principal: Principal) -> Call:
    """The call in a body of `vault/execute`; agent and connection are those of the question."""
    body = {
        "model": "B",
        **{name: value for name, value in question.request.items() if value is not None},
        "agentId": question.agent_id,
        "connectionId": question.connection_id,
        "service": question.service,
    }
    call = read_execute_call({"headers": ()}, strict_json.dumps(body), principal, _NOBODY)
    if call.model != "B":
        raise _invalid("request.model", "must be B: a vended token passes no allowlist and no rule")
    return call


async def _read_llm(question: Question, principal: Principal, grants: Grants) -> Call:
    """The call of a vendor's client to the LLM proxy."""
    request = question.request
    slug, method, path = (request.get(name) for name in ("llm", "method", "path"))
    if not isinstance(slug, str) or not isinstance(path, str) or not path.isascii():
        raise _invalid("request", "needs llm and path, texts as they stand in the address")
    if method not in METHODS:
        raise _invalid("request.method", f"must be one of {', '.join(METHODS)}")
    tail, _, query = path.removeprefix("/").partition("?")
    scope = {
        "method": method,
        "raw_path": f"{LLM_PREFIX}{slug}/{tail}".encode("ascii", "replace"),
        "query_string": query.encode("ascii"),
        "headers": _llm_headers(request),
    }
    call = await read_llm_call(scope, _raw_body(request), principal, _NOBODY, LlmRoute(slug, tail), grants)
    if question.service not in (None, call.service):
        raise _invalid("service", f"is another one than that of the LLM provider {slug}, {call.service}")
    return with_members(call, connection_id=question.connection_id or call.connection_id)


def _llm_headers(request: Mapping[str, Any]) -> list[tuple[bytes, bytes]]:
    sent = request.get("headers") or {}
    if not isinstance(sent, dict) or not all(isinstance(value, str) for value in sent.values()):
        raise _invalid("request.headers", "must be an object of texts")
    try:
        headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in sent.items()]
    except UnicodeEncodeError:
        raise _invalid("request.headers", "must be Latin-1, as HTTP carries them") from None
    if request.get("body") is not None and not any(name == b"content-type" for name, _ in headers):
        headers.append((b"content-type", b"application/json"))
    return headers


def _raw_body(request: Mapping[str, Any]) -> bytes:
    """The bytes a vendor's client would send; a text is sent as it is."""
    body = request.get("body")
    if body is None:
        return b""
    return body.encode("utf-8") if isinstance(body, str) else strict_json.dumps(body)


def _refused_early(error: AppError, call: Call, grant: Grant, parsed: ParsedTarget) -> dict[str, Any]:
    """The answer for a call that is refused before its policy can speak."""
    target = parsed.target
    return {
        "decision": "deny",
        "code": error.code,
        "reason": error.message,
        **_policy_of(grant),
        "rule": None,
        "class": None,
        "trusted": False,
        "canonical": {
            "method": call.method,
            "url": target.url,
            "strictPath": target.strict_path,
            "bodyKind": None,
            "bodyBytes": None,
        },
        "redactions": [],
        "wouldReport": False,
        "trace": [],
        "responseRules": [],
        "hint": error.hint,
    }


def _policy_of(grant: Grant) -> dict[str, Any]:
    known = grant.policy_id is not None
    return {"policyId": grant.policy_id, "version": grant.policy_version if known else None}


def _invalid(path: str, message: str) -> AppError:
    return AppError("invalid_request", f"{path} {message}.", fields=[{"path": path, "message": message}])
