"""What the commands about keys share: the ring of the settings, the job with its progress, the running replicas."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from agenthifive.cli.console import CommandError, Exit, Terminal

if TYPE_CHECKING:
    from agenthifive.cli.database import Desk
    from agenthifive.operations.key_status import KeyStatus
    from agenthifive.operations.key_store import Replica
    from agenthifive.settings import Settings
    from agenthifive.vault.keyring import Keyring

RELOAD_PATIENCE_S: Final = 15.0
_LOOK_AGAIN_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class KeyDesk:
    """A desk with the keys of the settings on it."""

    desk: "Desk"
    keyring: "Keyring"
    terminal: Terminal

    @property
    def mode(self) -> str:
        """Where keys come from."""
        return self.desk.settings.encryption_key_mode

    async def status(self) -> "KeyStatus":
        """How the keys stand."""
        from agenthifive.operations.key_status import read_status

        async with self.desk.database.transaction(read_only=True) as link:
            return await read_status(link, self.keyring, self.mode)

    async def reload_replicas(self) -> Sequence["Replica"]:
        """Tell every replica to load its keys and wait for it; all replicas, empty when none runs.

        Raises: CommandError when one could not.
        """
        from agenthifive.operations import key_store as store
        from agenthifive.operations.reencryption import SILENT_S

        async with self.desk.database.transaction() as link:
            request = await store.announce(link)
        deadline_s = time.monotonic() + RELOAD_PATIENCE_S
        while True:
            async with self.desk.database.transaction(read_only=True) as link:
                replicas = await store.replicas(link, SILENT_S)
            late = [replica for replica in replicas if replica.request < request]
            if not late:
                break
            if time.monotonic() > deadline_s:
                raise CommandError(
                    f"{len(late)} of {len(replicas)} replicas did not answer; if they were killed they leave the list "
                    f"in {SILENT_S:.0f} s.",
                    code="no_answer",
                    hint="Look at their logs, then: agenthifive keys reload",
                )
            await asyncio.sleep(_LOOK_AGAIN_S)
        problems = sorted({replica.problem for replica in replicas if replica.problem is not None})
        if problems:
            raise CommandError(
                "A replica kept the keys it had: " + "; ".join(problems),
                code="keys_not_loaded",
                hint="Correct its settings, then: agenthifive keys reload",
            )
        return replicas

    async def put_in_force(self) -> None:
        """Make the settings' active key the one everybody seals with. Raises: CommandError."""
        from agenthifive.operations.key_check import put_in_force

        status = await self.status()
        if status.replicas:
            await self.reload_replicas()
        else:
            async with self.desk.unit() as unit:
                await put_in_force(unit, self.keyring, self.mode)

    async def reencrypt(self, rows_per_s: int | None, *, waits: bool) -> "KeyStatus":
        """Run the job here, or watch it where it runs; how the keys stand then. Raises: CommandError."""
        from agenthifive.operations.key_admin import require_readers
        from agenthifive.operations.reencryption import Pace, Reencryptor

        settings = self.desk.settings
        pace = Pace(
            settings.reencrypt_batch_size,
            settings.reencrypt_max_rows_per_second if rows_per_s is None else rows_per_s,
        )
        require_readers(await self.status())
        with progress(self.terminal) as show:
            while True:
                worker = Reencryptor(self.desk.database, self.desk.unit, self.keyring, pace)
                run = await worker.run(lambda now: show(now.done, now.total))
                if run is not None:
                    return await self.status()
                if not waits:
                    raise CommandError(
                        "Another process is re-encrypting.", code="conflict", hint="Add --wait to see its end."
                    )
                while (status := await self.status()).job_state == "running":
                    if status.job is not None:
                        show(status.job.done, status.job.total)
                    await asyncio.sleep(_LOOK_AGAIN_S)


def read_ring(settings: "Settings") -> "Keyring":
    """The keys of the settings. Raises: CommandError."""
    from agenthifive.cli.key_modes import key_failures
    from agenthifive.key_reading import load_ring
    from agenthifive.vault.keyring import Keyring

    with key_failures("nothing was changed"):
        return Keyring.of(load_ring(settings))


def at_key_desk(terminal: Terminal, work: Callable[[KeyDesk], Any]) -> Any:
    """Do some work with keys on the database of this invocation's settings. Raises: CommandError."""
    from agenthifive.cli.database import at_desk
    from agenthifive.vault.canary import KeyRefused

    async def sit(desk: "Desk") -> Any:
        return await work(KeyDesk(desk, read_ring(desk.settings), terminal))

    try:
        return at_desk(terminal, sit)
    except KeyRefused as refused:
        raise CommandError(str(refused), exit_code=Exit.INTEGRITY, code="keys") from None


@contextlib.contextmanager
def progress(terminal: Terminal) -> Iterator[Callable[[int, int], None]]:
    """A bar for whoever looks; nothing for a program."""
    if terminal.is_json or not terminal.is_watched:
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("Re-encrypting"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(no_color=not terminal.has_color)) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


async def pages(desk: "Desk", column: Any) -> AsyncIterator[Sequence[Any]]:
    """All sealed records of a column, some at a time."""
    from agenthifive.operations import key_store as store

    after, limit = None, min(500, column.rows_at_once)
    while True:
        async with desk.database.transaction(read_only=True) as link:
            records = await store.page(link, column, after, limit)
        if records:
            yield records
        if len(records) < limit:
            return
        after = records[-1].id
