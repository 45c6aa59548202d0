"""How people and what is theirs are shown in JSON. Source: contract/http.md section 14.1."""

from datetime import datetime
from typing import Any

from agenthifive.ids import wire_time
from agenthifive.people.model import LiveSession, RunningSession, User


def user_members(user: User) -> dict[str, Any]:
    """A user as the sign-in routes show one."""
    return {
        "id": user.id,
        "name": user.name,
        "email": user.email,
        "emailVerified": user.email_verified_at is not None,
        "image": user.image,
        "createdAt": wire_time(user.created_at),
        "updatedAt": wire_time(user.updated_at),
    }


def registered_members(user_id: str, name: str, email: str, now: datetime) -> dict[str, Any]:
    """Somebody who registered, as they said they are: the same whether or not the address was known."""
    return user_members(User(user_id, email, name, "user", None, now, now))


def session_members(session: LiveSession) -> dict[str, Any]:
    """The session of a cookie, with its user."""
    return {
        "session": {
            "id": session.id,
            "expiresAt": wire_time(session.ends_at),
            "token": session.id,
            "userId": session.user.id,
            "createdAt": wire_time(session.created_at),
            "updatedAt": wire_time(session.last_seen_at),
            "ipAddress": session.ip,
            "userAgent": session.user_agent,
        },
        "user": user_members(session.user),
    }


def running_members(session: RunningSession, current_id: str | None) -> dict[str, Any]:
    """One of a person's sessions in the list of them."""
    return {
        "id": session.id,
        "createdAt": wire_time(session.created_at),
        "updatedAt": wire_time(session.last_seen_at),
        "expiresAt": wire_time(session.ends_at),
        "ipAddress": session.ip,
        "userAgent": session.user_agent,
        "current": session.id == current_id,
    }
