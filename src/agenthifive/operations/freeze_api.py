"""The kill switch over HTTP, for superadmins. Source: contract/http.md 3.1 and 15.11, operations.md section 11."""

from typing import Annotated, Any, Final

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from agenthifive.edge.answers import JsonAnswer
from agenthifive.edge.callers import RECENT_S, Caller
from agenthifive.edge.frozen import Freeze, FreezeScope
from agenthifive.edge.routing import Routes, UnitOfRequest, may
from agenthifive.operations import freeze
from agenthifive.words import AuditAction

routes: Final = Routes("admin")


class FreezeBody(BaseModel):
    """What to stop, or to let go on."""

    model_config = ConfigDict(extra="forbid", alias_generator=to_camel)

    scope: FreezeScope
    target_id: str | None = None

    @model_validator(mode="after")
    def _name_the_target(self) -> "FreezeBody":
        if (self.scope is FreezeScope.INSTANCE) != (self.target_id is None):
            raise ValueError("targetId goes with the scopes workspace and agent, and only with them")
        return self


class FreezeReasonBody(FreezeBody):
    """The same, with a reason for other administrators."""

    reason: Annotated[str, Field(max_length=freeze.REASON_MAX)] | None = None


@routes.get("/v1/admin/freeze")
async def list_frozen(
    caller: Annotated[Caller, may(superadmin=True)], request: Request, unit: UnitOfRequest
) -> JsonAnswer:
    """What is stopped: on every replica by the database, and on this machine by its FREEZE file."""
    return await _standing(request, unit)


@routes.post("/v1/admin/freeze", audit=[AuditAction.FREEZE_ACTIVATED], errors=["invalid_request", "not_found"])
async def activate(
    caller: Annotated[Caller, may(superadmin=True, recent_s=RECENT_S)],
    body: FreezeReasonBody,
    request: Request,
    unit: UnitOfRequest,
) -> JsonAnswer:
    """Stop an agent, a workspace or the whole instance, on every replica within a second."""
    await freeze.activate(unit, body.scope, body.target_id, body.reason)
    return await _standing(request, unit)


@routes.post(
    "/v1/admin/unfreeze", audit=[AuditAction.FREEZE_LIFTED], errors=["conflict", "invalid_request", "not_found"]
)
async def lift(
    caller: Annotated[Caller, may(superadmin=True, recent_s=RECENT_S)],
    body: FreezeBody,
    request: Request,
    unit: UnitOfRequest,
) -> JsonAnswer:
    """Let something go on. A FREEZE file is removed on its machine: agenthifive unfreeze --all --local."""
    await freeze.lift(unit, body.scope, body.target_id)
    return await _standing(request, unit)


async def _standing(request: Request, unit: UnitOfRequest) -> JsonAnswer:
    """What the database says in this transaction, and what the file of this machine says."""
    files = [one for one in request.app.state.edge.frozen.freezes if one.is_file]
    return JsonAnswer({"freezes": [_members(one) for one in (*files, *await freeze.list_freezes(await unit.begin()))]})


def _members(one: Freeze) -> dict[str, Any]:
    return {
        "scope": one.scope,
        "targetId": one.target_id,
        "reason": one.reason,
        "by": one.by,
        "at": one.at,
        "source": "file" if one.is_file else "database",
    }
