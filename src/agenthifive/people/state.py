"""What the routes and pages of this room find in the application, besides the room itself (`browser.PeopleOf`)."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from agenthifive.people.device import DeviceLogins
from agenthifive.people.exchange import SessionTokens
from agenthifive.people.social import Social


@dataclass(frozen=True, slots=True)
class Programs:
    """How programs come to act for people (`app.state.programs`)."""

    session_tokens: SessionTokens
    device_logins: DeviceLogins


def programs_of(request: Request) -> Programs:
    """The ways of programs, of the application that serves this request."""
    programs: Programs = request.app.state.programs
    return programs


def social_of(request: Request) -> Social:
    """Sign-in with accounts elsewhere, of the application that serves this request (`app.state.social`)."""
    social: Social = request.app.state.social
    return social


ProgramsOf = Annotated[Programs, Depends(programs_of)]
SocialOf = Annotated[Social, Depends(social_of)]
