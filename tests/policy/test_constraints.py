"""Provider constraints: what cannot be proven to stay inside the lists is refused."""

from typing import Any

import pytest

from agenthifive.policy.compile import Policy, compile_policy
from agenthifive.policy.decide import decide
from agenthifive.policy.model import Allow, Deny
from agenthifive.policy.rules import METHODS
from policy.calls import NOON, OPEN_DEFAULTS, build, call, facts_of

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
TELEGRAM = {"provider": "telegram", "allowedChatIds": ["5", "@news"]}
SLACK = {"provider": "slack", "allowedChannelIds": ["C1"], "allowedUserIds": ["U1"]}
TEAMS = {"provider": "microsoft", "allowedChatIds": ["19:a@thread.v2"], "allowedChannelIds": ["n1"]}
MAIL = {
    "provider": "email",
    "allowedRecipients": ["a@own.example"],
    "allowedRecipientDomains": ["*.sub.example"],
}
SERVICES = {"telegram": "telegram", "slack": "slack", "microsoft": "microsoft-teams", "email": "email-imap"}


def policy_for(constraint: dict[str, Any], *rules: dict[str, Any], **facets: Any) -> Policy:
    facts = facts_of(SERVICES[constraint["provider"]])
    entries = [
        {"baseUrl": f"https://{host.name}", "methods": list(METHODS), "pathPatterns": ["/**"]} for host in facts.hosts
    ]
    document = {
        **OPEN_DEFAULTS,
        "allowlists": entries,
        "rules": {"request": list(rules), "response": []},
        "providerConstraints": constraint,
        **facets,
    }
    return compile_policy(document, facts)


def outcome(constraint: dict[str, Any], method: str, path: str, body: Any = None, **more: Any) -> str | None:
    """The detail of the refusal, None when the call passes."""
    policy = policy_for(constraint)
    decision = decide(call(method, path, body, facts=policy.facts, **more), policy, NOON)
    if isinstance(decision, Deny):
        assert decision.code == "constraint_denied"
        return decision.detail
    return None


@pytest.mark.parametrize(
    ("method", "path", "body", "detail"),
    [
        ("POST", "/bot/sendMessage", {"chat_id": 5}, None),
        ("POST", "/bot/sendMessage", {"chat_id": "@NEWS"}, None),
        ("POST", "/bot/sendMessage", {"chat_id": 5.0}, "chat"),
        ("POST", "/bot/sendMessage", {"chat_id": [5]}, "chat"),
        ("POST", "/bot/sendMessage", {"chat_id": None}, "chat"),
        ("POST", "/bot/sendMessage?chat_id=5&chat_id=6", None, "ambiguous"),
        ("POST", "/bot/sendMessage?chat_id=5", [{"chat_id": 6}], "unreadable"),
        ("POST", "/bot/sendMessage", {"chat_id": 5, "reply_parameters": "junk"}, "unreadable"),
        ("POST", "/bot/sendMessage", {"chat_id": 5, "reply_parameters": [1]}, "unreadable"),
        ("POST", "/bot/editMessageText", {"chat_id": 5, "inline_message_id": "1"}, "missing"),
        ("POST", "/bot/editMessageText", {"inline_message_id": "1"}, "missing"),
        ("POST", "/bot/%73etWebhook", {}, "chat"),
        ("GET", "/bot/getUpdates", None, None),
        ("GET", "/bot/getUpdates/x", None, "missing"),
        ("GET", "/bot/getUpdates%2Fx", None, "missing"),
        ("GET", "/file/bot/photos/1.jpg", None, None),
        ("GET", "/file/bot", None, "missing"),
    ],
)
def test_telegram(method: str, path: str, body: Any, detail: str | None) -> None:
    assert outcome(TELEGRAM, method, path, body) == detail


def test_telegram_sees_an_id_sent_as_bytes() -> None:
    parts = [{"name": "chat_id", "data": "Ng=="}]
    body = {"_multipart": True, "subtype": "form-data", "parts": parts}
    assert outcome(TELEGRAM, "POST", "/bot/sendMessage", body) == "chat"
    hidden = [{"name": "chat_id", "filename": "x", "data": "Ng=="}]
    body = {"_multipart": True, "subtype": "form-data", "parts": hidden}
    assert outcome(TELEGRAM, "POST", "/bot/sendMessage", body) == "unreadable"
    assert outcome(TELEGRAM, "POST", "/bot/sendMessage?chat_id=5", body) == "unreadable"


@pytest.mark.parametrize(
    ("path", "body", "detail"),
    [
        ("chat.postMessage", {"channel": "C1"}, None),
        ("chat.postMessage", {"channel": "U1"}, None),
        ("chat.postMessage", {"channel": "#general"}, "channel"),
        ("chat.postMessage", {"channel": "D9"}, "channel"),
        ("conversations.open", {"users": "U1,U2"}, "channel"),
        ("conversations.open", {"users": '["U1"]'}, None),
        ("conversations.open", {"users": "C1"}, "channel"),
        ("files.upload", {"channels": ["C1", "C2"]}, "channel"),
        ("files.upload", {}, "missing"),
        ("reminders.add", {"text": "x"}, "missing"),
        ("chat.postEphemeral", {"channel": "C1", "user": "U9"}, "channel"),
        ("users.info", {"user": "U1"}, None),
        ("reactions.add", {"user": "U1"}, "missing"),
        ("users.list", None, None),
        ("conversations.list", None, None),
        ("SEARCH.messages", {"query": "x"}, "channel"),
        ("admin.users.list", None, "channel"),
        ("files.list", {"channel": "C1"}, "method"),
    ],
)
def test_slack(path: str, body: Any, detail: str | None) -> None:
    assert outcome(SLACK, "POST", f"/api/{path}", body) == detail


def test_slack_file_downloads_are_closed() -> None:
    facts = facts_of("slack")
    request = build({"method": "GET", "url": "https://files.slack.com/files-pri/T1-F1/a.pdf"}, facts)
    decision = decide(request, policy_for(SLACK), NOON)
    assert isinstance(decision, Deny)
    assert decision.detail == "method"


def test_slack_direct_messages_belong_to_listed_users_only() -> None:
    context = {"connection": {"knownDirectMessages": ["D9"]}}  # known to belong to U1
    assert outcome(SLACK, "POST", "/api/chat.postMessage", {"channel": "D9"}, context=context) is None
    other = {"provider": "slack", "allowedUserIds": ["U2"]}
    assert outcome(other, "POST", "/api/chat.postMessage", {"channel": "D9"}, context=context) == "channel"


def test_slack_with_channels_only_lets_people_be_looked_up_but_not_written_to() -> None:
    channels = {"provider": "slack", "allowedChannelIds": ["C1"]}
    assert outcome(channels, "POST", "/api/users.info", {"user": "U9"}) is None
    assert outcome(channels, "POST", "/api/conversations.open", {"users": "U9"}) == "channel"


@pytest.mark.parametrize(
    ("method", "path", "detail"),
    [
        ("POST", "/v1.0/chats/19%3Aa%40thread.v2/messages", None),
        ("POST", "/beta/users/u/Chats('19%3Aa%40thread.v2')/messages", None),
        ("POST", "/v1.0/chats/19%253Aa%2540thread.v2/messages", "chat"),
        ("POST", "/v1.0/chats('19:b@thread.v2')/messages", "chat"),
        ("GET", "/v1.0/teams/t/channels/n9/messages", "channel"),
        ("GET", "/v1.0/groups/t/team/channels/n9/messages", "channel"),
        ("GET", "/v1.0/teams/t/allChannels/n9/messages", "channel"),
        ("GET", "/v1.0/teams/t/primaryChannel/messages", "missing"),
        ("GET", "/v1.0/me/chats", None),
        ("GET", "/v1.0/teams/t/channels", None),
        ("POST", "/v1.0/chats/", "chat"),
        ("GET", "/v1.0/chats/getAllMessages()", "chat"),
        ("POST", "/v1.0/search/query", "chat"),
        ("GET", "/v1.0/teams/t/channels/n1/messages/microsoft.graph.delta()", "method"),
        ("DELETE", "/v1.0/chats/19:a@thread.v2/members/m", "method"),
        ("GET", "/v1.0/chats/19:a@thread.v2/members", None),
    ],
)
def test_microsoft(method: str, path: str, detail: str | None) -> None:
    assert outcome(TEAMS, method, path, {} if method == "POST" else None) == detail


@pytest.mark.parametrize(("tenant", "detail"), [("T1", None), ("t2", "tenant"), (None, "tenant")])
def test_microsoft_tenants(tenant: str | None, detail: str | None) -> None:
    constraint = {"provider": "microsoft", "allowedTenantIds": ["t1"]}
    context = {"connection": {"tenantId": tenant}}
    assert outcome(constraint, "GET", "/v1.0/me/chats", context=context) == detail


@pytest.mark.parametrize(
    ("path", "body", "detail"),
    [
        ("/messages/send", {"to": ["A <a@OWN.example>"], "text": "x"}, None),
        ("/messages/send", {"to": "x@y.sub.example"}, None),
        ("/messages/send", {"to": "x@sub.example"}, "recipient"),
        ("/messages/send", {"to": "x@z.y.sub.example"}, "recipient"),
        ("/messages/send", {"to": "a@own.example", "bcc": "b@evil.test"}, "recipient"),
        ("/messages/send?bcc=b@evil.test", {"to": "a@own.example"}, "recipient"),
        ("/messages/send", {"to": "a@own.example", "cc": "<<junk"}, "recipient"),
        ("/messages/send", {"subject": "to nobody"}, "recipient"),
        ("/messages/1/reply", {"text": "recipients not composed"}, "recipient"),
        ("/messages/send", "free text", "unreadable"),
        ("/messages/1/move", {"folder": "x"}, None),
    ],
)
def test_mail(path: str, body: Any, detail: str | None) -> None:
    assert outcome(MAIL, "POST", path, body) == detail


def test_the_refusal_names_the_rejected_id_and_not_the_list() -> None:
    policy = policy_for(TELEGRAM)
    decision = decide(call("POST", "/bot/sendMessage", {"chat_id": 77}, facts=policy.facts), policy, NOON)
    assert isinstance(decision, Deny)
    assert decision.ids == {"chatId": "77"}
    assert "77" in decision.message
    assert "@news" not in f"{decision.message}{decision.hint}"


@pytest.mark.parametrize(
    ("constraint", "body", "is_trusted"),
    [
        (TELEGRAM, {"chat_id": 5}, True),
        ({**TELEGRAM, "trustedSkipsApproval": False}, {"chat_id": 5}, False),
        ({"provider": "telegram", "allowedChatIds": []}, {"chat_id": 5}, False),
    ],
)
def test_trust_waives_step_up_of_sends_to_listed_destinations(
    constraint: dict[str, Any], body: Any, is_trusted: bool
) -> None:
    policy = policy_for(constraint, stepUpApproval="always")
    decision = decide(call("POST", "/bot/sendMessage", body, facts=policy.facts), policy, NOON)
    assert isinstance(decision, Allow) is is_trusted
    if isinstance(decision, Allow):
        assert decision.reason == "trusted_recipient"
        assert decision.trusted


def test_reading_is_trusted_but_its_step_up_is_not_waived() -> None:
    policy = policy_for(TELEGRAM, stepUpApproval="always")
    decision = decide(call("POST", "/bot/getChat", {"chat_id": 5}, facts=policy.facts), policy, NOON)
    assert not isinstance(decision, Allow)
    assert decision.code == "step_up"
