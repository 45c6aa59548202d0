"""`create-user`, `setup-link`: accounts, made on the database by whoever runs the instance.

Source: contract/operations.md section 15 (`user create`, `setup-link`), http.md sections 11, 12 and 14.1.
"""

import secrets
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from agenthifive.cli.arguments import misused
from agenthifive.cli.console import CommandError, Exit, Terminal, begin, framed
from agenthifive.words import PAT_SCOPES, Role, Scope

if TYPE_CHECKING:
    from agenthifive.cli.database import Desk
    from agenthifive.db.unit import Unit
    from agenthifive.people.model import Account
    from agenthifive.people.service import People
    from agenthifive.people.tokens import IssuedToken

# without the letters and digits that look alike; 20 of these are 98 bits
_LETTERS: Final = "abcdefghijkmnpqrstuvwxyz23456789"
_GROUPS: Final = 4
_GROUP_LENGTH: Final = 5
_VIA: Final = "cli"


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command("create-user")(create_user)
    app.command("setup-link")(setup_link)


@dataclass(frozen=True, slots=True)
class Wish:
    """An account to be.

    Shapes: password: None for a link that sets it. scopes: of its token; none means every scope.
    """

    email: str
    name: str
    password: str | None
    workspace: str | None = None
    role: Role | None = None
    is_superadmin: bool = False
    has_token: bool = False
    scopes: Sequence[Scope] = ()

    def __repr__(self) -> str:
        return f"Wish({self.email!r})"


def create_user(
    context: typer.Context,
    email: Annotated[str, typer.Argument(metavar="EMAIL", help="Address the person signs in with.")],
    name: Annotated[str, typer.Option(help="Name of the person.")],
    workspace: Annotated[str | None, typer.Option(help="Id of a workspace to join; without it, a new one.")] = None,
    role: Annotated[Role | None, typer.Option(help="Role in that workspace (default: viewer).")] = None,
    superadmin: Annotated[bool, typer.Option("--superadmin", help="May administer the instance.")] = False,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from standard input; else one is made.")
    ] = False,
    token: Annotated[
        bool, typer.Option("--token", help="Issue a personal access token too, with every scope or the named ones.")
    ] = False,
    scope: Annotated[
        list[Scope] | None, typer.Option(metavar="SCOPE", help="A scope of that token; may be repeated.")
    ] = None,
) -> None:
    """Create a verified account."""
    terminal = begin(context)
    if role is not None and workspace is None:
        raise misused("--role goes with --workspace: in a workspace of their own, people are owner.")
    foreign = [word for word in scope or () if word not in PAT_SCOPES]
    if foreign or (scope and not token):
        raise misused(f"{foreign[0]} is not for people's tokens." if foreign else "--scope goes with --token.")
    password = read_password() if password_stdin else generate_password()
    wish = Wish(email, name, password, workspace, role, superadmin, token, scope or ())
    account, issued, _ = create_account(terminal, wish)
    tell_account(terminal, account, None if password_stdin else password, issued)


def setup_link(context: typer.Context) -> None:
    """Print a new one-time set-up link; earlier ones are void. Only while nobody has an account."""
    from agenthifive.cli.database import at_desk

    terminal = begin(context)
    link = at_desk(terminal, _issue_link)
    note = "Open it to create the first account. It works once, for 24 hours; earlier links are void."
    terminal.finish({"setupLink": link}, framed("Set-up link", link, note))


def create_account(terminal: Terminal, wish: Wish) -> "tuple[Account, IssuedToken | None, str | None]":
    """Create the account, its token if one is wished for, and the link that sets a missing password.

    Raises: CommandError.
    """
    from agenthifive.cli.database import at_desk

    return at_desk(terminal, lambda desk: _create(desk, wish))


def generate_password() -> str:
    """A password nobody guesses and a person can type."""
    groups = ("".join(secrets.choice(_LETTERS) for _ in range(_GROUP_LENGTH)) for _ in range(_GROUPS))
    return "-".join(groups)


async def _create(desk: "Desk", wish: Wish) -> "tuple[Account, IssuedToken | None, str | None]":
    from agenthifive.people.links import SET_PASSWORD_TTL_S

    async with open_people(desk) as people, desk.unit() as unit:
        account = await people.accounts.create_user(
            unit,
            wish.email,
            wish.name,
            wish.password,
            wish.workspace,
            wish.role or Role.VIEWER,
            is_superadmin=wish.is_superadmin,
        )
        issued = await _issue_token(people, unit, account, wish) if wish.has_token else None
        if wish.password is not None:
            return account, issued, None
        return account, issued, await people.admin.issue_link(unit, account.user.id, SET_PASSWORD_TTL_S)


async def _issue_token(people: "People", unit: "Unit", account: "Account", wish: Wish) -> "IssuedToken":
    from agenthifive.people.model import Owner
    from agenthifive.people.tokens import NewToken

    if not wish.scopes:
        return await people.setup.create_first_token(unit, account, via=_VIA)
    new = NewToken("Command line", [word for word in PAT_SCOPES if word in wish.scopes])
    owner = Owner(account.user.id, account.workspace_id)
    return await people.tokens.create(unit, owner, account.role, new, via=_VIA)


async def _issue_link(desk: "Desk") -> str:
    async with open_people(desk) as people, desk.unit() as unit:
        return await people.setup.issue_link(unit)


@asynccontextmanager
async def open_people(desk: "Desk") -> "AsyncIterator[People]":
    """The people room of a desk, for the length of a block. Raises: CommandError."""
    from agenthifive.audit.flood import FloodGate
    from agenthifive.key_reading import read_keyring
    from agenthifive.operations.ratelimit import RateLimiter
    from agenthifive.people.assembly import read_options
    from agenthifive.people.service import People

    try:
        options, keyring = read_options(desk.settings), read_keyring(desk.settings)
    except ValueError as error:
        raise CommandError(str(error), exit_code=Exit.REFUSED, code="settings_refused") from None
    people = People(desk.database, RateLimiter(desk.database, {}), FloodGate(), options, keyring)
    try:
        yield people
    finally:
        people.close()


def tell_account(
    terminal: Terminal,
    account: "Account",
    password: str | None,
    issued: "IssuedToken | None",
    link: str | None = None,
) -> None:
    """Say what was made; secrets are shown this once."""
    from agenthifive.ids import wire_time

    user = account.user
    data: dict[str, Any] = {
        "user": {"id": user.id, "email": user.email, "name": user.name, "platformRole": user.platform_role},
        "workspaceId": account.workspace_id,
        "role": account.role,
        "password": password,
        "token": None,
    } | ({} if link is None else {"setPasswordUrl": link})
    lines = [f"{user.name} <{user.email}> is {account.role} of workspace {account.workspace_id}."]
    if user.platform_role == "superadmin":
        lines.append("They may administer the instance.")
    if password is not None:
        lines += ["", framed("Password", password, "Shown this once. Hand it over safely.")]
    if link is not None:
        lines += ["", framed("Set the password", link, "It works once, for 24 hours. Hand it over safely.")]
    if issued is not None:
        expires_at = wire_time(issued.token.expires_at)
        data["token"] = {"plainToken": issued.plain, "scopes": list(issued.token.scopes), "expiresAt": expires_at}
        note = f"Shown this once. It expires {expires_at}."
        lines += ["", framed("Personal access token", issued.plain, note), f"Scopes: {', '.join(issued.token.scopes)}"]
    terminal.finish(data, "\n".join(lines))


def read_password() -> str:
    """The password on standard input. Raises: CommandError."""
    password = sys.stdin.readline().rstrip("\r\n")
    if not password:
        raise misused("--password-stdin found no password on standard input.")
    return password
