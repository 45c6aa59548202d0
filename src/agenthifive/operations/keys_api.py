"""Keys as administrators of the instance see them: `/v1/admin/encryption`, `/v1/admin/keys`.

Source: contract/http.md section 15.11.
"""

from typing import Annotated, Any, Final

from fastapi import Depends, Request

from agenthifive.edge.answers import JsonAnswer
from agenthifive.edge.callers import RECENT_S, Caller
from agenthifive.edge.routing import Routes, UnitOfRequest, may
from agenthifive.operations.key_admin import KeyAdmin
from agenthifive.words import AuditAction

routes: Final = Routes("keys")


def _keys_of(request: Request) -> Any:
    return request.app.state.keys


KeysOf = Annotated[KeyAdmin, Depends(_keys_of)]
Superadmin = Annotated[Caller, may(superadmin=True, needs_workspace=False)]
RecentSuperadmin = Annotated[Caller, may(superadmin=True, needs_workspace=False, recent_s=RECENT_S)]


@routes.get("/v1/admin/encryption")
async def encryption(caller: Superadmin, keys: KeysOf, unit: UnitOfRequest) -> JsonAnswer:
    """The encryption keys by name, how many records each seals, and how far re-encryption is."""
    return JsonAnswer((await keys.encryption(await unit.begin())).wire())


@routes.post("/v1/admin/encryption/reencrypt", audit=[AuditAction.KEY_REENCRYPTION_STARTED], errors=["conflict"])
async def reencrypt(caller: RecentSuperadmin, keys: KeysOf, unit: UnitOfRequest) -> JsonAnswer:
    """Start to seal every record with the active key."""
    return JsonAnswer((await keys.reencrypt(unit)).wire())


@routes.get("/v1/admin/keys")
async def every_key(caller: Superadmin, keys: KeysOf, unit: UnitOfRequest) -> JsonAnswer:
    """The public parts of every key of the instance."""
    return JsonAnswer(dict(await keys.every_key(await unit.begin())))
