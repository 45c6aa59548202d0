"""What the sign-in routes and pages share about browsers: the session cookie, and where a request came from.

Source: contract/http.md section 8.
"""

from typing import Annotated, Final

from fastapi import Depends, Request, Response

from agenthifive.edge.credentials import read_cookie
from agenthifive.errors import AppError
from agenthifive.people.pending import PENDING_TTL_S
from agenthifive.people.service import People
from agenthifive.people.sessions import Sessions

PENDING_COOKIE: Final = "ah5_pending"
FLOW_COOKIE: Final = "ah5_flow"
FLOW_TTL_S: Final = 900


def people_of(request: Request) -> People:
    """The people room of the application that serves this request."""
    people: People = request.app.state.people
    return people


PeopleOf = Annotated[People, Depends(people_of)]


def session_cookie(request: Request, sessions: Sessions) -> str | None:
    """The value of the first session cookie, as the edge reads it too; None without one. It proves nothing yet."""
    return read_cookie(request.scope["headers"], sessions.cookie_name)


def pending_cookie(request: Request) -> str | None:
    """The sealed value of a half-finished sign-in."""
    return read_cookie(request.scope["headers"], PENDING_COOKIE)


def flow_cookie(request: Request) -> str | None:
    """The sealed value of a flow that leads through another site, or a challenge under way."""
    return read_cookie(request.scope["headers"], FLOW_COOKIE)


def set_pending_cookie(response: Response, sessions: Sessions, sealed: str) -> None:
    """Hand a half-finished sign-in to the browser."""
    _set_cookie(response, sessions, PENDING_COOKIE, sealed, PENDING_TTL_S)


def set_flow_cookie(response: Response, sessions: Sessions, sealed: str) -> None:
    """Bind a flow to this browser."""
    _set_cookie(response, sessions, FLOW_COOKIE, sealed, FLOW_TTL_S)


def clear_cookie(response: Response, sessions: Sessions, name: str) -> None:
    """Let the browser forget a cookie of ours."""
    response.delete_cookie(name, path="/", secure=sessions.is_https, httponly=True, samesite="lax")


def _set_cookie(response: Response, sessions: Sessions, name: str, value: str, max_age_s: int | None) -> None:
    response.set_cookie(
        name, value, max_age=max_age_s, path="/", secure=sessions.is_https, httponly=True, samesite="lax"
    )


def set_session_cookie(response: Response, sessions: Sessions, cookie: str, *, is_kept: bool = True) -> None:
    """Hand a session to the browser. Not kept: the browser forgets it when it closes."""
    _set_cookie(response, sessions, sessions.cookie_name, cookie, int(sessions.max_s) if is_kept else None)


def clear_session_cookie(response: Response, sessions: Sessions) -> None:
    """Let the browser forget its session."""
    clear_cookie(response, sessions, sessions.cookie_name)


def refuse_foreign_origin(request: Request, web_url: str, *, allows_null: bool = False) -> None:
    """Refuse what another site's page sent through the browser of a visitor.

    Shapes:
        web_url: our origin, written as browsers write it. allows_null: for forms of pages that send no referrer;
            browsers give their origin as `null`, and such a form holds a secret of its own.
    Raises: AppError (403 origin_not_allowed).
    """
    origin = request.headers.get("origin")
    is_foreign = origin not in (None, web_url) and not (allows_null and origin == "null")
    if is_foreign or request.headers.get("sec-fetch-site") == "cross-site":
        raise AppError(
            "origin_not_allowed",
            f"This request came from another site and was not carried out. Open {web_url} and repeat it there.",
        )
