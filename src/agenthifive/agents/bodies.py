"""What callers send to the agents routes: the shapes of bodies, nothing looked up yet.

Source: contract/agents.md sections 3, 4 and 6; http.md section 1.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final
from urllib.parse import parse_qsl, urlsplit

from fastapi import Request
from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints
from pydantic.alias_generators import to_camel

from agenthifive.errors import AppError

_FORM: Final = "application/x-www-form-urlencoded"
_FORM_FIELDS_MAX: Final = 32
# control characters, and those that turn the reading direction: a name must not pose as another
_UNSEEN: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_UNSEEN_BUT_LINES: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def _one_line(text: str) -> str:
    if _UNSEEN.search(text):
        raise ValueError("must not contain control characters")
    return text


def _lines(text: str) -> str:
    if _UNSEEN_BUT_LINES.search(text):
        raise ValueError("must not contain control characters")
    return text


def _https(text: str) -> str:
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("must be an https address")
    try:
        parts = urlsplit(text)
    except ValueError:
        raise ValueError("must be an https address") from None
    if parts.scheme != "https" or not parts.hostname or parts.username is not None:
        raise ValueError("must be an https address")
    return text


Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100), AfterValidator(_one_line)]
Description = Annotated[str, StringConstraints(max_length=2000), AfterValidator(_lines)]
IconUrl = Annotated[str, StringConstraints(max_length=2048), AfterValidator(_https)]
Reason = Annotated[str, StringConstraints(max_length=500), AfterValidator(_lines)]


class _Body(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", alias_generator=to_camel)


class NewAgent(_Body):
    """Body of POST /v1/agents."""

    name: Name
    description: Description | None = None
    icon_url: IconUrl | None = None


class AgentChange(_Body):
    """Body of PUT /v1/agents/{id}: a null clears the icon, and means absent elsewhere."""

    name: Name | None = None
    description: Description | None = None
    icon_url: IconUrl | None = None

    @property
    def clears_icon(self) -> bool:
        """Whether the icon is to go."""
        return "icon_url" in self.model_fields_set and self.icon_url is None


class Disabling(_Body):
    """Body of POST /v1/agents/{id}/disable."""

    reason: Reason | None = None
    forget_key: bool | None = None


class Bootstrap(BaseModel):
    """Body of POST /v1/agents/bootstrap; what the members hold is judged by the enrolment."""

    model_config = ConfigDict(strict=True, extra="ignore", alias_generator=to_camel)

    bootstrap_secret: Any
    public_key: dict[str, Any]


async def read_parameters(request: Request) -> Mapping[str, Any]:
    """The members of a JSON object or the fields of a form, each at most once. Raises: AppError (400)."""
    if request.headers["content-type"].partition(";")[0].strip().lower() != _FORM:
        members = await request.json()
        if not isinstance(members, dict):
            raise AppError("invalid_request", "Send the parameters as members of one JSON object.")
        return members
    try:
        text = (await request.body()).decode("ascii")
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=_FORM_FIELDS_MAX)
    except ValueError:
        raise AppError("invalid_request", "The form cannot be read. Send UTF-8 fields, percent-encoded.") from None
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise AppError("invalid_request", "A parameter occurs twice. Send each parameter once.")
    return fields
