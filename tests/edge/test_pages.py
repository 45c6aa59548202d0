"""Pages: our own files only, small, escaped, under a policy without inline script or style."""

import re
from pathlib import Path

import pytest
from jinja2 import UndefinedError

import agenthifive
from agenthifive.edge.pages import read_static, render

WEB = Path(agenthifive.__file__).parent / "web"
TEMPLATES = sorted(WEB.glob("templates/**/*.html"))
SCRIPTS = sorted(WEB.glob("static/*.js"))


def test_every_file_is_served_as_what_it_is() -> None:
    static = read_static()
    assert set(static) == {path.name for path in WEB.glob("static/*")}
    assert {media for name, (_, media) in static.items() if name.endswith(".js")} == {"text/javascript"}
    assert static["site.css"][1] == "text/css"


def test_the_style_is_light_and_dark_and_loads_nothing() -> None:
    style = (WEB / "static/site.css").read_text()
    assert "prefers-color-scheme: dark" in style
    assert not re.search(r"url\(|@import", style)


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_a_template_is_short_calls_nobody_and_holds_no_inline_code(template: Path) -> None:
    text = template.read_text()
    assert len(text.splitlines()) <= 200
    assert not re.search(r"(?:https?:)?//[a-z]", text)
    assert not re.search(r"<style|<script(?! src=\"/static/)|\sstyle=|\son[a-z]+=|javascript:", text)
    assert text.startswith("{#"), "a template says first what it is for"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_is_short_strict_and_writes_no_html(script: Path) -> None:
    text = script.read_text()
    assert len(text.splitlines()) <= 100
    assert '"use strict";' in text
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|https?://", text)


def test_what_people_typed_is_escaped_and_what_is_missing_is_a_defect() -> None:
    page = render("verify-email.html", token='"><script>alert(1)</script>')
    assert b"<script>" not in bytes(page.body)
    assert b"&lt;script&gt;" in bytes(page.body)
    with pytest.raises(UndefinedError):
        render("verify-email.html")


@pytest.mark.parametrize(("has_token", "policy"), [(True, "no-referrer"), (False, None)])
def test_a_page_whose_address_holds_a_token_sends_no_referrer(has_token: bool, policy: str | None) -> None:
    page = render("forgot-password.html", has_token=has_token, email_max=254)
    assert page.headers.get("referrer-policy") == policy
    assert page.headers["cache-control"] == "no-store"
    assert "unsafe-inline" not in page.headers["content-security-policy"]
