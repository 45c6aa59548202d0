"""`keys wrap`, `keys rewrap` and the managed half of `keys rotate`: wrapped keys, printed as the variables to set.

    present keys --wrap------> the same keys at a key service: no record is touched
    wrapped keys --rewrap----> the same keys under the newest version of the service's key: no record is touched
    present keys --rotate----> a new active key; the present ones become previous

Nothing is written and no key is printed; what is printed is worth nothing without the key service.
Source: contract/operations.md sections 1.4, 1.5 and 15.
"""

import contextlib
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from agenthifive.cli.console import CommandError, Exit, Terminal, begin, refused_settings

if TYPE_CHECKING:
    from agenthifive.settings import Settings
    from agenthifive.vault.envelope import Key

_VERSION_TAG: Final = "kek-version"
_HINT: Final = "docs/security-secrets-architecture.md has a section about each key service."


class ManagedMode(StrEnum):
    """The key modes with a key service."""

    AZURE_KV = "azure-kv"
    AWS_KMS = "aws-kms"
    GCP_KMS = "gcp-kms"
    VAULT_TRANSIT = "vault-transit"


ModeOption = Annotated[ManagedMode, typer.Option("--mode", help="The key service.")]


@dataclass(frozen=True, slots=True)
class StoredSecret:
    """A secret to put into an Azure Key Vault."""

    name: str
    blob: str
    version: str


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """One key as its variable holds it: a blob, or the name of the secret the blob is to be stored in."""

    value: str
    secret: StoredSecret | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """The ring to set on every replica before the next restart, the active key first."""

    mode: ManagedMode
    keys: Sequence[WrappedKey]

    @property
    def variables(self) -> Mapping[str, str]:
        """What to set."""
        from agenthifive.vault.canary import ACTIVE_VARIABLES

        active, values = ACTIVE_VARIABLES[self.mode], [key.value for key in self.keys]
        previous = {f"{active}_PREVIOUS": ",".join(values[1:])} if len(values) > 1 else {}
        return {"ENCRYPTION_KEY_MODE": str(self.mode), active: values[0], **previous}

    @property
    def secrets(self) -> Sequence[StoredSecret]:
        """What to store before."""
        return [key.secret for key in self.keys if key.secret is not None]


def add_commands(group: typer.Typer) -> None:
    """Add these commands to the group `keys`."""
    group.command("wrap")(wrap)
    group.command("rewrap")(rewrap)


def wrap(context: typer.Context, mode: ModeOption) -> None:
    """Wrap the present keys at a key service and print the variables to set; records stay as they are."""
    terminal = begin(context)
    settings = terminal.load().settings
    with key_failures("nothing was changed"):
        step = plan_wrap(settings, mode)
    _finish(terminal, settings, mode, [step], "Then remove ENCRYPTION_KEY and ENCRYPTION_KEY_PREVIOUS, and restart.")


def rewrap(context: typer.Context, mode: ModeOption) -> None:
    """Wrap the same keys again after the service's key was rotated; records stay as they are."""
    terminal = begin(context)
    settings = terminal.load().settings
    with key_failures("nothing was changed"):
        step = plan_rewrap(settings, mode)
    _finish(terminal, settings, mode, [step], "Then restart. The former version of the service's key may end after it.")


def rotate_managed(terminal: Terminal, mode: ManagedMode) -> None:
    """`keys rotate --mode M`: print the values with a new active key, for several replicas and for one."""
    settings = terminal.load().settings
    with key_failures("nothing was changed"):
        staged, final = plan_rotation(settings, mode)
    _finish(
        terminal, settings, mode, [staged, final],
        "Several replicas: set step 1 and restart them all, then step 2. One replica: step 2 alone. The previous keys "
        "stay until no record is sealed under them.",
    )  # fmt: skip


def plan_wrap(settings: "Settings", mode: ManagedMode) -> Step:
    """The present ring at a key service. Raises: KeyServiceError, CommandError."""
    from agenthifive.key_reading import load_ring, make_service, named
    from agenthifive.vault.envelope import Key
    from agenthifive.vault.kms import unwrapping

    _require(settings, settings.encryption_key_mode, with_keys=True)
    _require(settings, mode, with_keys=False)
    keys = [Key(material) for material in load_ring(settings)]
    with named(mode):
        service = make_service(settings, mode)
        blobs = [unwrapping.wrap(service, key.material) for key in keys]
    names = [settings.azure_kv_wrapped_dek_secret.partition("/")[0], *(_secret_name(key) for key in keys[1:])]
    return Step(mode, _wrapped(mode, blobs, names))


def plan_rewrap(settings: "Settings", mode: ManagedMode) -> Step:
    """The wrapped keys of the settings, wrapped again. Raises: KeyServiceError, CommandError."""
    from agenthifive.key_reading import list_blobs, make_service, named
    from agenthifive.vault.kms import unwrapping

    _require(settings, mode, with_keys=True)
    old = list_blobs(settings, mode)
    with named(mode):
        service = make_service(settings, mode)
        blobs = [unwrapping.rewrap(service, blob) for blob in old]
    return Step(mode, _wrapped(mode, blobs, [name.replace("/", "-") for name in old]))


def plan_rotation(settings: "Settings", mode: ManagedMode) -> tuple[Step, Step]:
    """A new data key: first as a previous one everywhere, then as the active one.

    Present keys that are at this service already stay as they are; those of another mode are wrapped too.

    Raises: KeyServiceError, CommandError.
    """
    from agenthifive.key_reading import list_blobs, make_service, named
    from agenthifive.settings_values import MAX_RING_KEYS
    from agenthifive.vault.envelope import Key
    from agenthifive.vault.kms import unwrapping

    if settings.encryption_key_mode == mode:
        _require(settings, mode, with_keys=True)
        active, *previous = [WrappedKey(blob) for blob in list_blobs(settings, mode)]
    else:
        active, *previous = plan_wrap(settings, mode).keys
    if len(previous) + 2 > MAX_RING_KEYS:
        raise CommandError(
            f"The ring holds {len(previous) + 1} keys; with a new one it would be more than {MAX_RING_KEYS}.",
            hint="Retire keys under which no record is sealed, then try again.",
        )
    with named(mode):
        made = unwrapping.generate(make_service(settings, mode))
    (new,) = _wrapped(mode, [made.blob], [_secret_name(Key(made.material))])
    known = [WrappedKey(key.value) for key in (new, active, *previous)]  # stored in the first step
    return Step(mode, (active, new, *previous)), Step(mode, known)


@contextlib.contextmanager
def key_failures(ending: str) -> Iterator[None]:
    """What loading or wrapping keys may raise in the block, as a CommandError with its exit code."""
    from agenthifive.vault.kms.model import KeyServiceDenied, KeyServiceError, KeyServiceUnreachable

    try:
        yield
    except KeyServiceError as error:
        exits = {KeyServiceUnreachable: Exit.UNREACHABLE, KeyServiceDenied: Exit.NOT_PERMITTED}
        code = exits.get(type(error), Exit.REFUSED)
        raise CommandError(f"{error}; {ending}", exit_code=code, code="key_service", hint=_HINT) from None
    except ValueError as error:
        raise CommandError(str(error), exit_code=Exit.REFUSED, code="settings_refused") from None


def _require(settings: "Settings", mode: str, *, with_keys: bool) -> None:
    """Raises: CommandError naming every variable that is missing."""
    missing = settings.list_missing(mode, with_keys=with_keys)
    if missing:
        raise refused_settings([f"{variable}: missing; the key mode {mode} needs it" for variable in missing])


def _wrapped(mode: ManagedMode, blobs: Sequence[str], names: Sequence[str]) -> Sequence[WrappedKey]:
    """Keys as variables hold them; at Azure they lie in secrets of these names."""
    if mode is not ManagedMode.AZURE_KV:
        return [WrappedKey(blob) for blob in blobs]
    stored = []
    for name, blob in zip(names, blobs, strict=True):
        version, _, text = blob.partition(":")
        stored.append(WrappedKey(name, StoredSecret(name, text, version)))
    return stored


def _secret_name(key: "Key") -> str:
    """A name of its own for each key: a secret that is read now is never overwritten with another key."""
    return f"WRAPPED-DATA-KEY-{key.kid}"


def _finish(terminal: Terminal, settings: "Settings", mode: ManagedMode, steps: Sequence[Step], note: str) -> None:
    lines: list[str] = []
    for number, step in enumerate(steps, 1):
        if len(steps) > 1:
            lines.append(f"# step {number}")
        lines += [_store_command(settings, secret) for secret in step.secrets]
        lines += [f"{name}={value}" for name, value in step.variables.items()]
    members = [
        {"variables": dict(step.variables), "secrets": [_member(each) for each in step.secrets]} for step in steps
    ]
    terminal.finish({"mode": str(mode), "steps": members}, "\n".join(lines))
    terminal.say(note)


def _store_command(settings: "Settings", secret: StoredSecret) -> str:
    vault = (settings.azure_key_vault_uri or "").removeprefix("https://").partition(".")[0]
    return shlex.join(
        ["az", "keyvault", "secret", "set", "--vault-name", vault, "--name", secret.name, "--value", secret.blob,
         "--tags", f"{_VERSION_TAG}={secret.version}"]
    )  # fmt: skip


def _member(secret: StoredSecret) -> dict[str, Any]:
    return {"name": secret.name, "value": secret.blob, "tags": {_VERSION_TAG: secret.version}}
