"""`jwt generate`, `jwt list`, `jwt retire`: the keys that sign tokens.

Source: contract/operations.md section 15, http.md section 13 "Keys".
"""

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from agenthifive.cli.console import CommandError, Exit, begin, framed, table

if TYPE_CHECKING:
    from agenthifive.cli.database import Desk
    from agenthifive.jwt.model import ListedKey
    from agenthifive.settings import Settings

_BITS_MIN: Final = 2048
_BITS_MAX: Final = 4096


def register(app: typer.Typer) -> None:
    """Add these commands."""
    group = typer.Typer(help="The keys that sign tokens.", rich_markup_mode=None)
    group.command("generate")(generate)
    group.command("list")(list_keys)
    group.command("retire")(retire)
    app.add_typer(group, name="jwt")


def generate(
    context: typer.Context,
    bits: Annotated[int, typer.Option(min=_BITS_MIN, max=_BITS_MAX, help="Size of the RSA modulus.")] = _BITS_MIN,
) -> None:
    """Print a new signing key and its kid. Nothing is stored."""
    from agenthifive.vault.signing import new_rsa_pem
    from agenthifive.vault.token_keys import one_line, read_signing_key

    terminal = begin(context)
    pem = new_rsa_pem(bits)
    kid = read_signing_key(pem).kid
    line = f"JWT_PRIVATE_KEY={one_line(pem).reveal()}\nJWT_KID={kid}"
    terminal.finish(
        {"privateKey": pem.reveal(), "kid": kid},
        framed("For the env file", line, "Shown this once. The old key needs no place: its public half is kept."),
    )


def list_keys(context: typer.Context) -> None:
    """Show the keys that signed tokens here."""
    from agenthifive.cli.database import at_desk
    from agenthifive.ids import wire_time
    from agenthifive.jwt.api import key_members

    terminal = begin(context)
    keys = at_desk(terminal, _list)
    rows = [
        (key.kid, key.alg, _state(key), wire_time(key.first_seen_at) or "", wire_time(key.last_signed_at) or "never")
        for key in keys
    ]
    headings = ("KID", "ALG", "STATE", "FIRST SEEN", "LAST SIGNED")
    terminal.finish(
        {"keys": [key_members(key) for key in keys]},
        table(headings, rows) if rows else "No key has signed here yet. Start the server: agenthifive up",
    )


def retire(
    context: typer.Context,
    kid: Annotated[str, typer.Argument(metavar="KID", help="Name of the key.")],
    now: Annotated[bool, typer.Option("--now", help="End every token it signed too, at once: it leaked.")] = False,
) -> None:
    """End a key that another one has replaced."""
    from agenthifive.cli.database import at_desk

    terminal = begin(context)
    at_desk(terminal, lambda desk: _retire(desk, kid, at_once=now))
    what = "is accepted by nobody any more." if now else "signs nothing more; what it signed ends in its time."
    terminal.finish({"kid": kid, "now": now}, f"{kid} {what}")


async def _list(desk: "Desk") -> "list[ListedKey]":
    from agenthifive.jwt import store
    from agenthifive.jwt.keys import overlap_s

    async with desk.unit() as unit:
        overlap = overlap_s(desk.settings.agent_token_ttl_seconds)
        return await store.list_keys(await unit.begin(), _own_kid(desk.settings), overlap)


async def _retire(desk: "Desk", kid: str, *, at_once: bool) -> None:
    from agenthifive.jwt import keys

    async with desk.unit() as unit:
        await keys.retire(unit, kid, _own_kid(desk.settings), at_once=at_once)


def _own_kid(settings: "Settings") -> str | None:
    """The kid of the key these settings sign with; None without one. Raises: CommandError."""
    from agenthifive.jwt.assembly import read_own_key

    if settings.jwt_private_key is None:
        return None
    try:
        return read_own_key(settings).kid
    except ValueError as error:
        raise CommandError(str(error), exit_code=Exit.REFUSED, code="settings_refused") from None


def _state(key: Any) -> str:
    if key.is_active:
        return "active"
    if key.removed_at is not None:
        return "removed"
    return "retired" if key.retired_at is not None else "published"
