"""`python -m bench.policy_speed`: what deciding, looking for personal data and filtering replies cost. No server.

    standard preset, no rule about content        decide          a 2 KiB body, all personal data redacted
    1 MiB reply of 2,000 records                  filter_json     the same as one text

Processor time, the median and the best of many runs; the best is what a machine without neighbours gives. The documents
are made with a seed.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from statistics import median
from typing import Any, Final

from agenthifive.policy import presets
from agenthifive.policy.compile import Policy, compile_policy
from agenthifive.policy.decide import decide
from agenthifive.policy.model import NO_BODY, Body, Decision, HostFacts, Request, ServiceFacts
from agenthifive.policy.replies import filter_json, filter_text
from agenthifive.strict_json import dumps
from agenthifive.words import ActionClass
from bench.calibration import measure_core, processor

_NOON: Final = datetime(2026, 11, 23, 12, tzinfo=UTC)
_ALL: Final = [{"type": "all_pii"}]
_GENERIC: Final = ServiceFacts("generic-http", "generic", (HostFacts("api.example.com"),))
_NOTION: Final = ServiceFacts("notion", "notion", (HostFacts("api.notion.com"),))
_SLACK: Final = ServiceFacts("slack", "slack", (HostFacts("slack.com"),), constraints="slack", params_in_query=True)
_TEXT: Final = (
    "the order report was sent to our customer service team in Berlin after lunch please review and call back about "
    "the invoice for next week meeting notes server host number account delivery of all parts is planned"
)
_WORDS: Final = _TEXT.split()
_MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of the table. Units: microseconds of processor time."""

    name: str
    limit_us: float
    median_us: float
    best_us: float


def measure() -> list[Figure]:
    """Every figure, in the order of the table."""
    records = _records(_MIB)
    reading = compile_policy(presets.template_config("notion-read", "standard"), _NOTION)
    listing = _request(_NOTION, "GET", "/v1/pages/p1", NO_BODY)
    redacting = compile_policy(_policy(request=True), _GENERIC)
    replying = compile_policy(_policy(request=False), _GENERIC).replies
    value = {"items": _few(records, 2048)}
    posting = _request(_GENERIC, "POST", "/v1/x", Body("json", value, len(dumps(value))))
    messaging = compile_policy(presets.template_config("slack", "standard"), _SLACK)
    message = {"channel": "C1", "text": " ".join(record["body"] for record in records)[:2048]}
    sending = _request(_SLACK, "POST", "/api/chat.postMessage", Body("json", message, len(dumps(message))))
    text = (". ".join(f"{record['body']} {record['contact']['email']}" for record in records) * 4)[:_MIB]
    rows: Sequence[tuple[str, float, int, Callable[[], Any]]] = (
        ("decide, standard preset, no rule about content", 20, 2000, lambda: decide(listing, reading, _NOON)),
        ("decide, standard preset with its rules, 2 KiB message", 150, 500, lambda: _decide_anew(sending, messaging)),
        ("decide, all personal data redacted in 2 KiB", 150, 500, lambda: _decide_anew(posting, redacting)),
        ("reply of 1 MiB JSON", 150_000, 9, lambda: filter_json({"items": records}, replying)),
        ("reply of 1 MiB text", 150_000, 9, lambda: filter_text(text, replying)),
    )
    return [Figure(name, limit_us, *_time(run, times)) for name, limit_us, times, run in rows]


def table(figures: Sequence[Figure]) -> str:
    """The figures for a person, in milliseconds."""
    lines = ["| what | target ms | median ms | best ms |", "|---|--:|--:|--:|"]
    for one in figures:
        limit, middle, best = (value / 1000 for value in (one.limit_us, one.median_us, one.best_us))
        lines.append(f"| {one.name} | {limit:g} | {middle:.3g} | {best:.3g} |")
    return "\n".join(lines)


def _time(run: Callable[[], Any], times: int) -> tuple[float, float]:
    run()  # what is compiled at first use is not counted
    taken = []
    for _ in range(times):
        started = time.process_time_ns()
        run()
        taken.append((time.process_time_ns() - started) / 1000)
    return median(taken), min(taken)


def _decide_anew(request: Request, policy: Policy) -> Decision:
    """A decision without what earlier ones have read of the body."""
    return decide(request.with_body(request.body), policy, _NOON)


def _policy(*, request: bool) -> dict[str, Any]:
    redact = {"label": "R", "match": {"pii": {"types": _ALL, "fields": ["$body"]}}, "action": "redact"}
    reply = {"label": "R", "match": {}, "filter": {"redact": _ALL}}
    return {
        "allowlists": [{"baseUrl": "https://api.example.com", "methods": ["POST"], "pathPatterns": ["/**"]}],
        "rules": {"request": [redact] if request else [], "response": [] if request else [reply]},
        "defaultMode": "read_write",
        "stepUpApproval": "never",
    }


def _request(facts: ServiceFacts, method: str, path: str, body: Body) -> Request:
    action = ActionClass.READ if method == "GET" else ActionClass.WRITE
    return Request(method, "https", facts.hosts[0].name, 443, path, path, "", body, action, facts)


def _records(size_bytes: int) -> list[dict[str, Any]]:
    """Records as APIs list them: ids, times, links, an address and a number, a few sentences."""
    random = Random(2026)
    records: list[dict[str, Any]] = []
    written = 0
    while written < size_bytes:
        number = len(records)
        price = f"Invoice {random.randint(10**7, 10**8)} of 12.50 EUR"
        record = {
            "id": f"{random.getrandbits(96):024x}",
            "sequence": random.randint(10**8, 10**10),
            "created_at": f"2026-11-{random.randint(1, 28):02d}T{random.randint(0, 23):02d}:15:00Z",
            "contact": {"email": f"bot{number}@example.org", "phone": f"+49 30 {random.randint(100000, 999999)}"},
            "url": f"https://api.example.com/v1/items/{number}",
            "subject": _sentence(random, 9),
            "body": f"{_sentence(random, 14)}. {price}. {_sentence(random, 12)}",
            "labels": ["INBOX", "IMPORTANT"],
            "size": random.randint(100, 99999),
        }
        records.append(record)
        written += len(json.dumps(record)) + 2
    return records


def _few(records: Sequence[dict[str, Any]], size_bytes: int) -> list[dict[str, Any]]:
    count = 1
    while len(json.dumps(records[: count + 1])) <= size_bytes:
        count += 1
    return list(records[:count])


def _sentence(random: Random, longest: int) -> str:
    return " ".join(random.choice(_WORDS) for _ in range(random.randint(6, longest)))


if __name__ == "__main__":
    print(f"{processor()}, {measure_core():.0f} rounds/s of calibration")
    print(table(measure()))
