"""What the sign-in routes and pages share about browsers: the session cookie, and where a request came from.

Source: contract/http.md section 8.
"""

from typing import Annotated

from fastapi import Depends, Request, Response

from agenthifive.errors import AppError
from agenthifive.people.service import People
from agenthifive.people.sessions import Sessions


def people_of(request: Request) -> People:
    """The people room of the application that serves this request."""
    people: People = request.app.state.people
    return people


PeopleOf = Annotated[People, Depends(people_of)]


def session_cookie(request: Request, sessions: Sessions) -> str | None:
    """The value of the first session cookie, as the edge reads it too; None without one. It proves nothing yet."""
    for line in request.headers.getlist("cookie"):
        for pair in line.split(";"):
            name, _, value = pair.strip().partition("=")
            if name == sessions.cookie_name and value:
                return value
    return None


def set_session_cookie(response: Response, sessions: Sessions, cookie: str, *, is_kept: bool = True) -> None:
    """Hand a session to the browser. Not kept: the browser forgets it when it closes."""
    response.set_cookie(
        sessions.cookie_name,
        cookie,
        max_age=int(sessions.max_s) if is_kept else None,
        path="/",
        secure=sessions.is_https,
        httponly=True,
        samesite="lax",
    )


def clear_session_cookie(response: Response, sessions: Sessions) -> None:
    """Let the browser forget its session."""
    response.delete_cookie(sessions.cookie_name, path="/", secure=sessions.is_https, httponly=True, samesite="lax")


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
