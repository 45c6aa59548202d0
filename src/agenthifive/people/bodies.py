"""What the bodies of this room's routes have in common. Source: contract/http.md section 1 (unknown fields)."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from agenthifive.people.model import NAME_MAX, read_name


def _accept_name(text: str) -> str:
    name = read_name(text)
    if name is None:
        raise ValueError(f"must be 1 to {NAME_MAX} characters without control characters")
    return name


Name = Annotated[str, AfterValidator(_accept_name)]


class SignInBody(BaseModel):
    """A body of the sign-in routes: members we do not know are ignored, browsers and old clients send some."""

    model_config = ConfigDict(strict=True, extra="ignore", alias_generator=to_camel)


class ManagementBody(BaseModel):
    """A body of the management routes: members we do not know are refused."""

    model_config = ConfigDict(strict=True, extra="forbid", alias_generator=to_camel)
