"""`oauth uris`: contract/operations.md section 6."""

import pytest

from cli.stage import Cli


def test_the_uris_to_register(cli: Cli) -> None:
    client = {"AUTH_GOOGLE_CLIENT_ID": "us.apps.example", "AUTH_GOOGLE_CLIENT_SECRET": "hush"}
    done = cli("oauth", "uris", "--json", WEB_URL="https://ah5.example.com:8443", **client)
    assert done.code == 0
    callback = "https://ah5.example.com:8443/api/auth/callback"
    assert done.data == {
        "uris": [
            {"provider": name, "uri": f"{callback}/{name}", "configured": name == "google"}
            for name in ("google", "microsoft", "apple", "github", "oidc")
        ]
    }


def test_people_can_read_them_and_no_secret(cli: Cli) -> None:
    client = {"AUTH_GITHUB_CLIENT_ID": "us", "AUTH_GITHUB_CLIENT_SECRET": "hush"}
    done = cli("oauth", "uris", **client)
    assert "http://localhost:4000/api/auth/callback/github" in done.out
    assert "hush" not in done.out + done.err


@pytest.mark.parametrize(
    "web_url", ["https://ah5.example.com/", "https://ah5.example.com/x", "https://AH5.example.com"]
)
def test_an_address_that_is_no_bare_origin_is_refused(cli: Cli, web_url: str) -> None:
    done = cli("oauth", "uris", WEB_URL=web_url)
    assert done.code == 3
    assert "WEB_URL" in done.err


def test_the_group_names_its_command(cli: Cli) -> None:
    assert "uris" in cli("oauth", "--help").out
