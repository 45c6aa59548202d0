"""The words of our mails: both forms say the same, names cannot become markup, nothing is loaded."""

import re

import pytest

from agenthifive.notify import texts
from agenthifive.notify.mail import Mail

TO = "adam@example.com"
LINK = "https://agents.example.com/x?token=" + "t" * 43 + "&a=b"
EVIL = 'Olga <b onclick="x()">&amp;</b>'
MAILS = [
    texts.verify_address(TO, LINK),
    texts.reset_password(TO, LINK),
    texts.set_password(TO, LINK),
    texts.finish_registration(TO, LINK),
    texts.address_in_use(TO, LINK, LINK),
    texts.password_changed(TO, LINK),
    texts.sign_in_method_added(TO, EVIL, LINK),
    texts.invitation(TO, EVIL, EVIL, "approver", LINK),
    texts.trial(TO, "https://agents.example.com"),
]


@pytest.mark.parametrize("mail", MAILS, ids=lambda mail: mail.subject[:20])
def test_every_mail(mail: Mail) -> None:
    assert mail.to == TO
    assert mail.subject
    assert "\n" not in mail.subject
    assert (LINK in mail.text) == (LINK.replace("&", "&amp;") in mail.html)
    assert re.findall(r"<(?:script|img|link|iframe|b|style)\b", mail.html) == []
    assert re.findall(r"(?:src|@import|url\()", mail.html) == []
    assert set(re.findall(r'href="([^"]*)"', mail.html)) <= {LINK.replace("&", "&amp;")}


def test_only_links_that_let_somebody_in_are_for_the_log() -> None:
    assert [mail.link for mail in MAILS] == [LINK] * 4 + [None] * 3 + [LINK, None]


def test_a_name_stands_in_a_mail_as_it_is() -> None:
    mail = texts.invitation(TO, "Acme", EVIL, "viewer", LINK)
    assert f"{EVIL} invites you to the workspace “Acme” as viewer." in mail.text
    assert "Olga &lt;b onclick=" in mail.html
