"""What people send to the connections routes: the shapes of bodies, nothing looked up yet.

Members that belong to the credential are not listed here: the catalog entry of the service knows them.
Source: contract/connections.md sections 5, 8 and 9; http.md section 15.6.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

from agenthifive.connections.model import is_label

CURSOR_MAX: Final = 1024
_INSTANT: Final = re.compile(r"20\d\d-\d\d-\d\d(?:T\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:Z|[+-]\d\d:\d\d))?")


def _read_label(text: str) -> str:
    label = text.strip()
    if not is_label(label):
        raise ValueError("must be 1 to 100 characters without control characters")
    return label


def _read_instant(value: Any) -> datetime | None:
    if value is None:
        return None
    try:
        if isinstance(value, str) and _INSTANT.fullmatch(value):
            at = datetime.fromisoformat(value)
            return at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    except ValueError:
        pass
    raise ValueError("must be a date such as 2027-01-31 or an instant such as 2027-01-31T09:00:00Z")


Label = Annotated[str, AfterValidator(_read_label)]
Instant = Annotated[datetime | None, BeforeValidator(_read_instant)]


class _Body(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", alias_generator=to_camel)


class _Members(BaseModel):
    """A body whose further members are read by the catalog entry of the service."""

    model_config = ConfigDict(strict=True, extra="allow", alias_generator=to_camel)

    @property
    def members(self) -> Mapping[str, Any]:
        """The members that are not of the route itself."""
        return self.model_extra or {}


class NewApiKey(_Members):
    """Body of POST /v1/connections/api-key. Fields of the service stand beside these or in `fields`."""

    service: str
    provider: str | None = None
    variant: str | None = None
    named_fields: dict[str, Any] | None = Field(None, alias="fields")
    label: Label | None = None
    expires_at: Instant = None
    skip_validation: bool | None = None


class NewBotToken(_Body):
    """Body of POST /v1/connections/bot-token."""

    service: str
    bot_token: str
    label: Label | None = None


class NewHttp(_Members):
    """Body of POST /v1/connections/http."""

    label: Label


class CredentialChange(_Members):
    """Body of PUT /v1/connections/{id}/credentials: members of the kind; absent ones keep their value."""

    allow_account_change: bool | None = None


class LabelChange(_Body):
    """Body of PUT /v1/connections/{id}/label."""

    label: Label
    version: Annotated[int, Field(ge=1)] | None = None


class LookupBody(_Body):
    """Body of POST /v1/connections/{id}/lookup."""

    type: str
    cursor: Annotated[str, StringConstraints(max_length=CURSOR_MAX)] | None = None
    q: Annotated[str, StringConstraints(max_length=200)] | None = None
