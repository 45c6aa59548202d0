"""What the small bench measures is what its rows say."""

import json

from bench.policy_speed import _GENERIC, Figure, _decide_anew, _few, _policy, _records, _request, table

from agenthifive.policy.compile import compile_policy
from agenthifive.policy.model import Allow, Body


def test_the_documents_have_the_size_they_are_named_by_and_hold_personal_data() -> None:
    records = _records(100_000)
    assert 100_000 <= len(json.dumps(records)) < 101_000
    assert records == _records(100_000)
    few = _few(records, 2048)
    assert 1024 < len(json.dumps(few)) <= 2048
    request = _request(_GENERIC, "POST", "/v1/x", Body("json", {"items": few}, 2048))
    decision = _decide_anew(request, compile_policy(_policy(request=True), _GENERIC))
    assert isinstance(decision, Allow)
    assert {found.type for found in decision.redactions} >= {"email", "phone", "url"}


def test_the_table_shows_milliseconds() -> None:
    assert table([Figure("x", 150, 320, 80.04)]).splitlines()[-1] == "| x | 0.15 | 0.32 | 0.08 |"
