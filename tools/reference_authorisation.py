"""The page of permissions: every route against every kind of caller, from the declarations the server enforces."""

from collections.abc import Sequence
from typing import Final

from agenthifive.edge.callers import Access, admits_role
from agenthifive.words import Role
from tools.markdown import code, table
from tools.reference_routes import TITLES, Operation, list_operations

_YES: Final = "yes"
_NO: Final = "–"
_HEADING: Final = """\
# Who may do what

One line for each route, one column for each kind of caller; `–` is a refusal. `token` is a personal access token with
the scope that stands there: it acts in its owner's name, so the columns of the roles apply to it as well. `agent` is
an agent's access token with the scope that stands there. The roles are those of a person in the workspace they act in;
`superadmin` is the platform role, and gives no right inside a workspace. The last column says what a person needs
besides: a recent sign-in (at most ten minutes old), the session cookie itself rather than a token made from it.
Where the instance demands a second factor, a person without one reaches only the lines marked `before the factor`.

`GET /metrics` asks for the token of `METRICS_TOKEN`. A test of the repository walks every line of this table with
every kind of caller. What a route does is on the page of [routes](routes.md), what a scope means on the page of
[scopes](scopes.md).

This page is generated (`python -m tools.reference`).
"""
_COLUMNS: Final = ("route", "anybody", "agent", "token", *(str(role) for role in reversed(Role)), "superadmin", "needs")


def render_authorisation() -> str:
    """The Markdown of docs/reference/authorisation.md."""
    parts = [_HEADING]
    operations = list_operations()
    for tag in dict.fromkeys(operation.tag for operation in operations):
        rows = [_row(operation) for operation in operations if operation.tag == tag]
        parts.append(f"\n## {TITLES[tag]}\n\n" + table(_COLUMNS, rows))
    return "".join(parts)


def _row(operation: Operation) -> Sequence[str]:
    access = operation.access
    route = code(f"{operation.method} {operation.path}")
    if access.is_public:
        return (route, _YES, *[_NO] * (len(_COLUMNS) - 3), "")
    agent = code(str(access.agent_scope or access.scope)) if access.agents else _NO
    token = (code(str(access.scope)) if access.scope else "any") if access.pats else _NO
    roles = [_of_role(access, role) for role in reversed(Role)]
    return (route, _NO, agent, token, *roles, _YES if access.superadmin else _NO, ", ".join(_needs(access)))


def _of_role(access: Access, role: Role) -> str:
    is_admitted = not access.superadmin and (access.persons or access.pats) and admits_role(access.role, role)
    return _YES if is_admitted else _NO


def _needs(access: Access) -> Sequence[str]:
    needs = []
    if access.recent_s is not None:
        needs.append("recent sign-in")
    if access.sessions_only:
        needs.append("session")
    if not access.needs_factor:
        needs.append("before the factor")
    return needs
