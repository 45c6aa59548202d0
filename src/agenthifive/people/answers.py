"""People as the sign-in routes show them. Source: contract/http.md section 14.1."""

from typing import Any

from agenthifive.ids import wire_time
from agenthifive.people.model import User


def user_members(user: User) -> dict[str, Any]:
    """A user as the sign-in routes show one."""
    return {
        "id": user.id,
        "name": user.name,
        "email": user.email,
        "emailVerified": user.email_verified_at is not None,
        "image": None,
        "createdAt": wire_time(user.created_at),
        "updatedAt": wire_time(user.updated_at),
    }
