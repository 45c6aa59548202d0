"""What administrators of an instance see. Source: contract/http.md section 15.11."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class KnownUser:
    """An account as administrators see it. Shapes: workspaces: id, name and role of each membership."""

    id: str
    email: str
    name: str
    platform_role: str
    is_verified: bool
    disabled_at: datetime | None
    created_at: datetime
    has_factor: bool
    last_seen_at: datetime | None
    workspaces: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class KnownWorkspace:
    """A workspace as administrators see it: counts and identities, nothing of what it holds."""

    id: str
    name: str
    owner_id: str
    members: int
    agents: int
    connections: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Slice:
    """Which part of a list is wanted. Shapes: search: None for all."""

    search: str | None
    limit: int
    offset: int

    def values(self) -> dict[str, Any]:
        """What the statements of lists are bound to; letters compare equal in either case."""
        search = None if self.search is None else self.search.casefold()
        return {"search": search, "limit": self.limit, "offset": self.offset}
