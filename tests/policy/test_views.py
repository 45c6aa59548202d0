"""What rules see of a call: query, members, texts, mail and file names."""

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agenthifive.policy.mail import UNREADABLE
from agenthifive.policy.model import Body, Part, Request
from agenthifive.policy.query import decoded_query, parse_query
from agenthifive.policy.texts import fold, plain, prompt_text
from policy.calls import call, facts_of

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
words = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


def mime(text: str) -> str:
    return base64.urlsafe_b64encode(text.replace("\n", "\r\n").encode()).decode()


def gmail(body: Any, path: str = "/gmail/v1/users/me/messages/send", **more: Any) -> Request:
    return call("POST", path, body, facts=facts_of("google-gmail"), **more)


def outlook(body: Any, **more: Any) -> Request:
    return call("POST", "/v1.0/me/sendMail", body, facts=facts_of("microsoft-outlook-mail"), **more)


def mailbox(body: Any, **more: Any) -> Request:
    return call("POST", "/messages/send", body, facts=facts_of("email-imap"), **more)


# ---- query -------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(words, words), max_size=4))
def test_the_decoded_query_tells_pairs_apart_whatever_they_hold(pairs: list[tuple[str, str]]) -> None:
    """Reading the text again gives the pairs back: no value can pretend to be a parameter."""
    text = decoded_query(tuple(pairs))
    split = [part.partition("=") for part in text[1:].split("&")] if text else []
    restored = [
        (
            n.replace("%3D", "=").replace("%26", "&").replace("%25", "%"),
            v.replace("%26", "&").replace("%25", "%"),
        )
        for n, _, v in split
    ]
    assert restored == pairs


def test_query_bytes_that_are_no_text_match_no_text() -> None:
    assert parse_query("?a=%FF&b") == (("a", "\ufffd"), ("b", ""))


def test_a_query_parameter_is_a_member_only_where_the_provider_reads_it_there() -> None:
    trello = facts_of("trello")
    request = call("PUT", "/1/cards/c?closed=true&name=a", {"name": "b"}, facts=trello)
    assert request.members == {"name": ["b", "a"], "closed": "true"}
    assert call("PUT", "/v1/x?closed=true", {"name": "b"}).members == {"name": "b"}


def test_an_array_body_next_to_arguments_in_the_query_hides_arguments() -> None:
    request = call("POST", "/bot/sendMessage?chat_id=1", [{"chat_id": 2}], facts=facts_of("telegram"))
    assert request.hides_members
    assert "2" in (request.text("$text") or "")


# ---- texts -------------------------------------------------------------------------------------------


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_folding_twice_changes_nothing_more(text: str) -> None:
    once = fold(text)
    assert fold(once) == once or any(char in once for char in "\u0345\u037a\u1fbe")


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("ｆｏｒbidden", "forbidden"),
        ("f\u043erb\u0456dd\u0435n", "forbidden"),
        ("for\u200bbid\u00ad\u2060den", "forbidden"),
        ("\U000e0066\U000e006frbidden", "forbidden"),
        (" a\u00a0\u2028b\t\n c ", "a b c"),
        ("\u3164x\u034f", "x"),
        ("naïve été", "naïve été"),
    ],
)
def test_folding_undoes_disguises(text: str, folded: str) -> None:
    assert fold(text) == folded


def test_markup_vanishes_and_blocks_end_lines() -> None:
    assert plain("for<b></b>bid<i>den</i><br/>x</P>y &lt;z&#33;") == "forbidden\nx\ny <z!"
    assert plain("1 < 2 & 3 > 2") == "1 < 2 & 3 > 2"


def test_a_prompt_is_what_the_caller_says_not_what_the_model_said() -> None:
    body = {
        "model": "m",
        "system": [{"type": "text", "text": "S", "cache_control": {"type": "x"}}],
        "messages": [
            {
                "role": "user",
                "content": [{"type": "text", "text": "U"}, {"type": "image", "source": {"data": "AAAA"}}],
            },
            {"role": "assistant", "content": "no"},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "R"}]},
            {"role": "user", "content": [{"type": "thinking", "thinking": "no", "signature": "s"}]},
        ],
        "input": [{"type": "function_call", "arguments": "no"}, "I", {"type": "message", "content": "J"}],
        "systemInstruction": {"parts": [{"text": "G"}]},
        "contents": [{"role": "model", "parts": [{"text": "no"}]}, {"parts": [{"text": "C"}]}],
        "tools": [{"name": "f", "description": "D", "parameters": {"properties": {"q": {"description": "E"}}}}],
        "image": {"url": "data:image/png;base64,AAAA"},
    }
    assert prompt_text(body).split("\n") == ["S", "G", "U", "R", "I", "J", "C", "D", "E"]
    assert prompt_text("raw text") == "raw text"


# ---- mail --------------------------------------------------------------------------------------------

LETTER = (
    'From: Me <ME@own.example>\nTo: "Berg, Anna" <Anna@a.example>, b@b.example\nCc: c@c.example\n'
    "Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=x\n\n"
    "--x\nContent-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: base64\n\nPHA+aGVsbG88L3A+\n"
    '--x\nContent-Type: application/zip\nContent-Disposition: attachment; filename="a.zip"\n\nABC\n--x--\n'
)


@pytest.mark.parametrize("wrap", [lambda raw: {"raw": raw}, lambda raw: {"message": {"raw": raw}}])
def test_a_gmail_message_is_read_from_its_mime(wrap: Any) -> None:
    mail = gmail(wrap(mime(LETTER))).mail
    assert isinstance(mail, dict)
    assert mail["from"] == ["me@own.example"]
    assert mail["recipients"] == ["anna@a.example", "b@b.example", "c@c.example"]
    assert (mail["subject"], mail["text"]) == ("Grüße", "hello\n")
    assert [(file["name"], file["contentType"]) for file in mail["attachments"]] == [("a.zip", "application/zip")]


def test_an_uploaded_mail_is_read_whatever_its_label() -> None:
    data = base64.b64encode(LETTER.replace("\n", "\r\n").encode()).decode()
    for kind in ("message/rfc822", "application/octet-stream"):
        mail = gmail(
            {"_binary": True, "data": data, "contentType": kind}, "/upload/gmail/v1/users/me/messages/send"
        ).mail
        assert isinstance(mail, dict)
        assert mail["subject"] == "Grüße"
    parts = (
        Part(None, content_type="application/json", value="{}"),
        Part(None, content_type="message/rfc822", value=LETTER),
    )
    mail = gmail({}).with_body(Body("multipart", parts, 1, subtype="related")).mail
    assert isinstance(mail, dict)
    assert mail["subject"] == "Grüße"


@pytest.mark.parametrize(
    "body",
    [
        {"raw": "***"},
        {"raw": 5},
        {"raw": ["a"]},
        {"raw": mime("To: a@b.example\n\nx"), "message": {"raw": mime("To: c@d.example\n\nx")}},
        {"_binary": True, "data": "AAEC", "contentType": "image/png"},
    ],
)
def test_a_mail_that_cannot_be_read_with_certainty_is_unreadable(body: Any) -> None:
    assert gmail(body).mail is UNREADABLE
    assert gmail(body).text("$text") is None
    assert gmail(body).files is None


def test_a_call_without_a_mail_has_none() -> None:
    assert gmail({"ids": ["1"]}, "/gmail/v1/users/me/messages/batchModify").mail is None
    assert call("POST", body={"raw": mime(LETTER)}).mail is None


def test_an_outlook_message_is_read_from_its_members() -> None:
    def person(address: str) -> dict[str, Any]:
        return {"emailAddress": {"address": address}}

    message = {
        "subject": "s",
        "body": {"contentType": "HTML", "content": "<p>hi</p>"},
        "toRecipients": [person("A@a.example"), "junk"],
        "attachments": [{"name": "a.exe", "contentBytes": "AAAA"}],
    }
    mail = outlook({"message": message, "comment": "see", "toRecipients": [person("b@b.example")]}).mail
    assert isinstance(mail, dict)
    assert mail["to"] == ["a@a.example", "", "b@b.example"]
    assert mail["text"] == "hi\n\nsee"
    assert mail["attachmentBytes"] == 3
    assert outlook({"isRead": True}).mail is None


def test_a_mail_outlook_takes_as_text_is_read_or_unreadable() -> None:
    """Graph accepts whole mails as base64 text: a text body must not hide one."""
    text = base64.b64encode(LETTER.encode()).decode()
    mail = outlook(text, headers={"content-type": "text/plain"}).mail
    assert isinstance(mail, dict)
    assert "anna@a.example" in mail["recipients"]
    assert outlook("no mail at all!").mail is UNREADABLE


def test_a_mail_of_the_mail_service_is_read_from_its_fields() -> None:
    mail = mailbox(
        {
            "to": [{"name": "A", "address": "A@a.example"}, "B <b@b.example>"],
            "cc": "c@c.example, d@d.example",
            "bcc": ["not an address <"],
            "subject": "s",
            "textBody": "t",
            "htmlBody": "<b>h</b>",
            "attachments": [
                {"filename": "x.pdf", "content": "AAAA", "size": 1},
                {"filename": "y", "size": 9},
            ],
        }
    ).mail
    assert isinstance(mail, dict)
    assert mail["recipients"] == [
        "a@a.example",
        "b@b.example",
        "c@c.example",
        "d@d.example",
        "?",
    ]
    assert mail["text"] == "t\nh"
    assert mail["attachmentBytes"] == 12


# ---- files -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("service", "method", "path", "body", "names"),
    [
        ("google-drive", "POST", "/drive/v3/files", {"name": "a.exe"}, ["a.exe"]),
        ("slack", "POST", "/api/files.upload", {"filename": "b", "files": [{"title": "c"}]}, ["b", "c"]),
        ("telegram", "POST", "/bot/sendDocument", {"document": "https://x.test/d/e.exe?x"}, ["e.exe"]),
        (
            "telegram",
            "POST",
            "/bot/sendMediaGroup",
            {"media": '[{"media":"https://x.test/f.exe"}]'},
            ["f.exe"],
        ),
        ("microsoft-onedrive", "PUT", "/v1.0/me/drive/root:/d/g.exe:/content", None, ["g.exe"]),
        ("microsoft-onedrive", "PUT", "/v1.0/me/drive/items/i/children/h.exe/content", None, ["h.exe"]),
        ("notion", "GET", "/v1/pages/p", None, []),
    ],
)
def test_file_names(service: str, method: str, path: str, body: Any, names: list[str]) -> None:
    request = call(method, path, body, facts=facts_of(service))
    assert request.files == [{"name": name} for name in names]


def test_file_names_of_parts_are_seen_in_opaque_uploads() -> None:
    part = {"name": "document", "filename": "run.exe", "data": "AAEC"}
    request = call("POST", body={"_multipart": True, "subtype": "form-data", "parts": [part]})
    assert request.files == [{"name": "run.exe"}]


def test_a_new_body_brings_new_views() -> None:
    request = call("POST", body={"a": "old"})
    assert "old" in (request.text("$text") or "")
    changed = request.with_body(call("POST", body={"a": "new"}).body)
    assert (changed.text("$text"), changed.members, changed.path) == ("new", {"a": "new"}, request.path)
