"""The refusals of this room, each with its next step. Source: contract/http.md section 3.3, connections.md."""

from typing import Final

from agenthifive.catalog.service import Service
from agenthifive.connections.model import Held
from agenthifive.errors import AppError, not_found
from agenthifive.ids import is_id
from agenthifive.words import ConnectionStatus

LIST_ROUTE: Final = "/v1/connections"


def known_form(connection_id: str) -> str:
    """An id that could exist. Raises: AppError (404)."""
    if not is_id(connection_id):
        raise no_connection()
    return connection_id


def live(held: Held | None) -> Held:
    """A connection that exists and is not revoked. Raises: AppError (404, 409)."""
    if held is None:
        raise no_connection()
    if held.status is ConnectionStatus.REVOKED:
        raise AppError("connection_revoked", "The connection is revoked for good. Connect the service again.")
    return held


def no_connection() -> AppError:
    """The one answer for an unknown, malformed or foreign id."""
    return not_found("connection", LIST_ROUTE)


def connection_limit(limit: int) -> AppError:
    """The workspace is full."""
    return AppError(
        "conflict",
        f"The workspace already has {limit} connections. Revoke one that is no longer used first.",
        detail="connection_limit",
    )


def singleton_exists(service: Service, existing: str | None) -> AppError:
    """The service has its one connection already."""
    return AppError(
        "singleton_exists",
        f"The workspace already has a {service.file.name} connection. Replace its credential, reconnect it, or "
        "revoke it first.",
        extra=None if existing is None else {"connectionId": existing},
    )


def use_reauth() -> AppError:
    """A credential that no person ever saw cannot be typed in."""
    return AppError(
        "conflict",
        "This connection was made by signing in at its provider. Reconnect it there instead.",
        detail="use_reauth",
    )


def host_in_use() -> AppError:
    """Live policies were written for the old host."""
    return AppError(
        "conflict",
        "The host of a connection cannot change while policies use it. Delete its policies first, or connect the "
        "other host as a connection of its own.",
        detail="host_in_use",
    )


def account_mismatch() -> AppError:
    """The new credential is somebody else's."""
    return AppError(
        "account_mismatch",
        "This credential belongs to another account at the provider. Send allowAccountChange:true if the connection "
        "is to change hands, or connect the account on its own.",
        hint="allowAccountChange",
    )


def changed_meanwhile(code: str) -> AppError:
    """Somebody else was faster."""
    return AppError(code, "The connection was changed by somebody else meanwhile. Read it again, then repeat.")
