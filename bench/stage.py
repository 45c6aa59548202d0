"""Everything a scenario needs, put up once: providers, baseline, instance, agents, meter."""

import contextlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.account import Agent, Connection, call_body, egress_settings, open_account
from bench.client import bearer
from bench.failures import BenchError
from bench.instance import Instance, running_instance
from bench.measure import Meter, Parties
from bench.nginx import DOCUMENT_PATH, Server, running_provider, running_proxy
from bench.provider import running_own_provider

EXECUTE_PATH: Final = "/v1/vault/execute"
MAX_PER_HOUR: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says. seconds: of one run."""

    seconds: float
    runs: int
    grown_rows: int
    is_strict: bool
    log: Path | None


@dataclass(frozen=True, slots=True)
class Stage:
    """A running set-up.

    Shapes:
        documents, events: connections to nginx and to our own provider. lean, limited: agents that may read both; the
        second has an hourly limit. exchanger: an agent that only asks for tokens.
    """

    options: Options
    say: Callable[[str], None]
    folder: Path
    instance: Instance
    meter: Meter
    provider: Server
    proxy: Server
    documents: Connection
    events: Connection
    lean: Agent
    limited: Agent
    exchanger: Agent

    @property
    def execute_url(self) -> str:
        """Where calls go."""
        return f"{self.instance.base}{EXECUTE_PATH}"

    def write_bodies(self, name: str, body: Mapping[str, Any]) -> Path:
        """A file with one body."""
        path = self.folder / f"{name}.json"
        path.write_text(json.dumps(body) + "\n")
        return path

    def prove_call(self, agent: Agent) -> None:
        """A fast refusal is no result: the document must really arrive. Raises: BenchError."""
        body = call_body(self.documents, DOCUMENT_PATH)
        answer = self.instance.client.post(EXECUTE_PATH, body, bearer(agent.token)).body
        if answer.get("status") != 200 or answer["body"].get("object") != "list":
            raise BenchError(f"A call did not bring the provider's document: {str(answer)[:300]}")


@contextlib.contextmanager
def set_stage(options: Options, say: Callable[[str], None]) -> Iterator[Stage]:
    """A fresh instance between its providers and load, for the length of a block. Raises: BenchError."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ah5-bench-")))
        provider = stack.enter_context(running_provider(folder))
        proxy = stack.enter_context(running_proxy(folder, provider))
        events_origin = stack.enter_context(running_own_provider(folder))
        settings = egress_settings(provider.origin, events_origin)
        instance = stack.enter_context(running_instance(settings, options.log))
        account = open_account(instance)
        documents = account.connect("Documents", provider.origin)
        events = account.connect("Events", events_origin)
        lean, limited, exchanger = (account.create_agent(name) for name in ("Lean", "Limited", "Exchanger"))
        account.allow(lean, documents)
        account.allow(lean, events)
        account.allow(limited, documents, MAX_PER_HOUR)
        postgres = instance.postgres_pid()
        if postgres is None:
            raise BenchError("The embedded PostgreSQL is not where it should be.")
        meter = Meter(Parties(instance.pid, postgres, proxy.pid), say, is_strict=options.is_strict)
        yield Stage(options, say, folder, instance, meter, provider, proxy, documents, events, lean, limited, exchanger)
