"""`demo`: the README's promise, kept on a real server, and cleaned up after however it ends."""

import base64
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agenthifive.cli import demo_instance, demo_story
from agenthifive.cli.console import CommandError
from agenthifive.cli.demo_instance import DemoInstance, starting_instance
from agenthifive.cli.demo_story import Facts, Refusal, Story, forms_of
from agenthifive.db import embedded
from cli.stage import Cli

STEPS = [
    "1. A person gets an account",
    "2. She connects a service",
    "3. She creates an agent and says what it may do",
    "4. The agent enrols with a key of its own",
    "5. A call the policy allows",
    "6. A call the policy does not name",
    "7. Addresses inside",
    "8. The audit log",
    "9. The proof",
]


def test_the_whole_story(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs the product once; everything the demonstration claims is looked at here, and nothing of it is left."""
    told: list[Story] = []

    class RememberedStory(Story):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            told.append(self)

    monkeypatch.setattr(demo_story, "Story", RememberedStory)
    done = cli("demo", PATH=os.environ["PATH"])
    assert done.code == 0, done.err
    [story] = told
    facts = story.facts.wire()

    assert [line for line in done.out.splitlines() if re.match(r"\d\. ", line)] == STEPS
    assert facts["brokenPromises"] == []
    assert facts["allowed"]["status"] == 200
    assert facts["allowed"]["providerSawKey"] is True
    assert facts["allowed"]["agentSawInstead"] == "Bearer [REDACTED:credential]"
    assert (facts["denied"]["code"], facts["denied"]["reachedProvider"]) == ("allowlist_denied", 0)
    assert [(one["code"], one["reachedProvider"]) for one in facts["guarded"]] == [
        ("allowlist_denied", 0),
        ("egress_blocked", 0),
    ]
    assert (facts["detour"]["code"], facts["detour"]["reachedProvider"]) == ("redirect_blocked", 1)
    for refusal in (facts["denied"], *facts["guarded"], facts["detour"]):
        assert refusal["error"] in done.out
    actions = [event["action"] for event in reversed(facts["audit"]["events"])]
    assert actions[3:9] == [
        "connection_created", "agent_created", "agent_bootstrap_secret_issued", "policy_created",
        "agent_bootstrapped", "agent_token_issued",
    ]  # fmt: skip
    for action in actions:
        assert f" {action} " in done.out
    assert facts["audit"]["verification"]["ok"] is True
    assert facts["secret"]["findsAtAgent"] == 0
    assert facts["secret"]["findsAtProvider"] == 2
    assert story._key not in done.out + done.err

    instance = story._instance
    assert not instance.home.exists()
    assert instance.process.poll() == 0
    assert not embedded.is_running(instance.home)


def test_an_interrupt_before_the_server_leaves_nothing_behind(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "agenthifive", "demo"],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    assert process.stderr.readline() == b"Starting a temporary instance with a database of its own\n"
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    assert process.communicate()[1] == b""
    assert process.returncode == 130
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_while_the_server_starts_leaves_nothing_behind(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[DemoInstance] = []

    def interrupt(instance: DemoInstance) -> None:
        started.append(instance)
        assert instance.process.poll() is None
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(DemoInstance, "wait_until_ready", interrupt)
    assert cli("demo", PATH=os.environ["PATH"]).code == 130
    [instance] = started
    assert instance.process.poll() is not None
    assert not instance.home.exists()


def test_a_server_that_does_not_start_is_quoted(cli: Cli) -> None:
    with starting_instance({}, {"API_PORT": "99999"}) as instance, pytest.raises(CommandError) as caught:
        instance.wait_until_ready()
    assert caught.value.exit_code == 4
    assert "API_PORT: 99999 is out of bounds" in caught.value.message
    assert not instance.home.exists()


def test_a_broken_promise_ends_with_1_and_the_facts(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def nothing(*_: object) -> Iterator[Any]:
        yield SimpleNamespace(wait_until_ready=lambda: None)

    facts = good_facts()
    facts.finds_at_agent = 1
    monkeypatch.setattr(demo_instance, "starting_instance", nothing)
    monkeypatch.setattr(demo_story, "Story", lambda *_: SimpleNamespace(tell=lambda: facts))
    done = cli("demo", "--json")
    assert (done.code, done.json["code"]) == (1, "demo_failed")
    assert done.json["data"]["brokenPromises"] == ["the agent never saw the key"]
    facts.finds_at_agent = 0
    assert cli("demo", "--json").data["secret"] == {"findsAtProvider": 0, "findsAtAgent": 0, "bytesHeardByAgent": 1}


def good_facts() -> Facts:
    return Facts(
        allowed_status=200,
        provider_saw_key=True,
        echoed="Bearer [REDACTED:credential]",
        denied=Refusal("POST", "allowlist_denied", "No.", 0),
        guarded=[Refusal("GET", "allowlist_denied", "No.", 0), Refusal("connect", "egress_blocked", "No.", 0)],
        detour=Refusal("GET", "redirect_blocked", "No.", 1),
        verified={"ok": True},
        heard_bytes=1,
    )


@pytest.mark.parametrize(
    ("changes", "promise"),
    [
        ({"allowed_status": 403}, "the allowed call was answered"),
        ({"provider_saw_key": False}, "the provider was sent the key"),
        ({"echoed": "Bearer wx_live_x"}, "the key in the reply was masked"),
        ({"echoed": ""}, "the key in the reply was masked"),
        ({"denied": None}, "the call outside the policy was refused"),
        ({"denied": Refusal("POST", "allowlist_denied", "No.", 1)}, "refused calls reached nobody"),
        ({"guarded": []}, "addresses inside were refused"),
        ({"detour": None}, "the detour ended at the provider"),
        ({"detour": Refusal("GET", "redirect_blocked", "No.", 2)}, "the detour ended at the provider"),
        ({"verified": {"ok": False}}, "the log is whole"),
        ({"finds_at_agent": 1}, "the agent never saw the key"),
        ({"heard_bytes": 0}, "the agent never saw the key"),
    ],
)
def test_each_promise_can_be_broken(changes: dict[str, Any], promise: str) -> None:
    facts = good_facts()
    assert facts.broken_promises == []
    for name, value in changes.items():
        setattr(facts, name, value)
    assert facts.broken_promises == [promise]


@given(st.text("abcdefghijklmnopqrstuvwxyz0123456789_", min_size=20, max_size=60), st.binary(max_size=9), st.binary())
def test_a_secret_is_found_in_each_of_its_forms(secret: str, before: bytes, after: bytes) -> None:
    plain = secret.encode()
    hiding_places = (
        before + plain + after,
        (before + plain + after).hex().encode(),
        base64.b64encode(before + plain + after),
    )
    for place in hiding_places:
        assert any(form in place for form in forms_of(secret))


@given(st.text("abcdefghijklmnopqrstuvwxyz0123456789_", min_size=20, max_size=60), st.binary(max_size=40))
def test_a_secret_is_not_found_where_it_is_not(secret: str, elsewhere: bytes) -> None:
    for place in (elsewhere, base64.b64encode(elsewhere)):
        if secret.encode() not in place:
            assert not any(form in place for form in forms_of(secret))
