"""The stage of sign-in with accounts elsewhere: the people stage, one provider, and browsers that go there and back."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx

from agenthifive.people import providers
from agenthifive.people.github import GithubProvider
from agenthifive.people.oidc import OpenIdProvider, Provider
from agenthifive.people.provider_http import ProviderHttp
from agenthifive.people.providers import Client, OpenIdRule
from agenthifive.people.social import Social
from people.openid_provider import CLIENT_ID, CLIENT_SECRET, Doors, OpenIdServer, read_form, visit
from people.stage import OLGA, WEB_URL, Browser, Stage

TENANT = "5f3c1d2e-0000-4000-8000-00000000000a"
PERSON = "0a1b2c3d-0000-4000-8000-00000000000b"
GENERIC = providers.generic("Example ID", "https://id.example.com", "openid email profile")


@dataclass
class SocialStage:
    """A provider that was started, and ways through it."""

    stage: Stage
    tls: ssl.SSLContext
    server: OpenIdServer
    doors: Doors
    made: dict[str, Any] = field(default_factory=dict)

    def provider(self, rule: OpenIdRule = GENERIC) -> Provider:
        """The provider as this instance knows it; made once, so that it keeps what it fetched."""
        client, http = Client(CLIENT_ID, CLIENT_SECRET), ProviderHttp(self.doors)
        uri = providers.redirect_uri(WEB_URL, rule.id)
        if rule.id not in self.made:
            is_github = rule.id == providers.GITHUB
            self.made[rule.id] = (
                GithubProvider(client, http, uri) if is_github else OpenIdProvider(rule, client, http, uri)
            )
        made: Provider = self.made[rule.id]
        return made

    def social(self, rule: OpenIdRule = GENERIC, registration: str = "open") -> Social:
        """Sign-in with this provider alone."""
        return self.stage.social({rule.id: self.provider(rule)}, registration)

    def browser(self, rule: OpenIdRule = GENERIC, registration: str = "open") -> Browser:
        """Somebody who is not signed in."""
        return self.stage.browser(social=self.social(rule, registration))

    async def begin(
        self, browser: Browser, provider: str = "oidc", *, link: bool = False, callback: str = "/dashboard"
    ) -> httpx.Response:
        """Ask for the provider's address."""
        path = "/api/auth/link-social" if link else "/api/auth/sign-in/social"
        return await browser.post(path, json={"provider": provider, "callbackURL": callback})

    async def reply(self, browser: Browser, provider: str = "oidc", *, link: bool = False) -> str:
        """Begin, go to the provider, and stop before coming back: the address it sends the browser to."""
        begun = await self.begin(browser, provider, link=link)
        assert begun.status_code == 200, begun.text
        page = await visit(self.tls, self.server.server.port, begun.json()["url"])
        assert page.status_code == 302, page.text
        return page.headers["location"]

    async def go(self, browser: Browser, provider: str = "oidc", *, link: bool = False) -> httpx.Response:
        """There and back."""
        return await browser.get(await self.reply(browser, provider, link=link))

    async def go_posted(self, browser: Browser) -> httpx.Response:
        """There, and back by a form that another site posts: the browser keeps its cookies from it."""
        begun = await self.begin(browser, "apple")
        page = await visit(self.tls, self.server.server.port, begun.json()["url"])
        stranger = self.stage.browser(social=self.social(providers.apple()))
        posted = await stranger.post(
            "/api/auth/callback/apple",
            data=read_form(page.text),
            headers={"origin": "https://appleid.apple.com", "sec-fetch-site": "cross-site"},
        )
        assert posted.status_code == 303
        assert [line for line in posted.headers.get_list("set-cookie") if not line.startswith("ah5sid=")] == []
        return await browser.get(posted.headers["location"])

    async def counts(self) -> Mapping[str, int]:
        """What a refused sign-in must leave as it was."""
        tables = ("t_users", "t_accounts", "t_sessions", "t_workspaces")
        return {table: (await self.stage.fetch(f"SELECT count(*) FROM {table}"))[0][0] for table in tables}


def error_of(answer: httpx.Response) -> str:
    """The word a refused browser is sent to the sign-in page with; it carries nothing else, and no session."""
    assert answer.status_code == 302, answer.text
    location = urlsplit(answer.headers["location"])
    assert (location.netloc, location.path) == ("", "/login"), answer.headers["location"]
    name, _, code = location.query.partition("=")
    assert name == "error"
    assert not any(line.startswith(("ah5_session", "ah5_pending")) for line in answer.headers.get_list("set-cookie"))
    return code


def olga_at(subject: str = "subject-1", **others: Any) -> dict[str, Any]:
    """What a provider says of Olga."""
    return {"sub": subject, "email": OLGA, "email_verified": True, "name": "Olga", **others}
