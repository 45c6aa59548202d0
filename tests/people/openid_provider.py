"""Providers people sign in with, on loopback and behind TLS: one that speaks OpenID Connect, and GitHub.

They check what a provider checks: client, redirect URI, that a code is used once, and PKCE. `twist` names what is wrong
with one.
"""

import hashlib
import hmac
import html
import json
import re
import ssl
import time
from asyncio import StreamWriter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
from joserfc import jws
from joserfc.jwk import RSAKey

from agenthifive.broker.address import Guard, parse_allowlist
from agenthifive.broker.egress import Egress
from agenthifive.broker.wire import Wire
from agenthifive.vault import base64url
from agenthifive.vault.hashing import new_token
from fakes import Provider, Received, raw, respond

CLIENT_ID, CLIENT_SECRET = "agenthifive-sign-in", "s3cret/of+the:client"
OTHER_ISSUER = "https://evil.example.net"
HOSTS = (
    "id.example.com",
    "accounts.google.com",
    "login.microsoftonline.com",
    "appleid.apple.com",
    "github.com",
    "api.github.com",
)


@cache
def rsa_key(number: int) -> RSAKey:
    """One of the keys of these tests; made once."""
    return RSAKey.generate_key(2048, parameters={"kid": f"key-{number}", "use": "sig", "alg": "RS256"})


class Doors(Egress):
    """The real egress; the hosts of the cast lead to the doubles, every other name to where it says."""

    def __init__(self, tls: ssl.SSLContext, port: int) -> None:
        guard = Guard(allowlist=parse_allowlist(",".join(f"{host}=127.0.0.1/32" for host in HOSTS)))
        super().__init__(guard, tls, _resolve)
        self._port = port

    async def _dial(self, scheme: str, host: str, port: int) -> Wire:
        return await super()._dial(scheme, host, self._port if host in HOSTS else port)


async def _resolve(host: str, port: int) -> Sequence[str]:
    return ["127.0.0.1"] if host in HOSTS else [host]


@dataclass
class Code:
    """A code that was handed out."""

    asked: dict[str, str]
    is_used: bool = False


@dataclass
class OpenIdServer:
    """A provider. Shapes: base: where its paths begin. issuer: how it calls itself in its document and its tokens."""

    base: str = "https://id.example.com"
    issuer: str = ""
    claims: dict[str, Any] = field(default_factory=dict)
    twist: str = ""
    key: RSAKey = field(default_factory=lambda: rsa_key(1))
    is_basic: bool = False
    access_token: str = "provider-access-token"
    codes: dict[str, Code] = field(default_factory=dict)
    server: Provider = field(default_factory=Provider)

    @property
    def document(self) -> dict[str, Any]:
        """The discovery document."""
        origin = "https://" + urlsplit(self.base).netloc
        document: dict[str, Any] = {
            "issuer": OTHER_ISSUER if self.twist == "document of another issuer" else self.issuer or self.base,
            "authorization_endpoint": f"{origin}/authorize",
            "token_endpoint": f"{origin}/token",
            "jwks_uri": f"{origin}/jwks",
            "userinfo_endpoint": f"{origin}/userinfo",
            "response_types_supported": ["code"],
        }
        if not self.is_basic:
            document["token_endpoint_auth_methods_supported"] = ["client_secret_post"]
        if self.twist == "iss is promised and missing":
            document["authorization_response_iss_parameter_supported"] = True
        if self.twist == "token endpoint at the metadata address":
            document["token_endpoint"] = "https://169.254.169.254/token"
        if self.twist == "plain http endpoint":
            document["token_endpoint"] = document["token_endpoint"].replace("https", "http")
        if self.twist == "script as authorization endpoint":
            document["authorization_endpoint"] = "javascript:alert(1)"
        return document

    def requests(self, path: str) -> list[Received]:
        """What reached a path of this provider."""
        return [request for request in self.server.received if urlsplit(request.target).path == path]

    async def serve(self, request: Received, writer: StreamWriter) -> None:
        """Answer one request as a provider does."""
        path = urlsplit(request.target).path
        if path == urlsplit(self.base).path + "/.well-known/openid-configuration":
            await self._answer_discovery(request, writer)
        elif path == "/jwks":
            await _say(request, writer, {"keys": [self.key.as_dict(private=False)]})
        elif path == "/authorize":
            await self._answer_authorize(request, writer)
        elif path in ("/token", "/login/oauth/access_token"):
            status, answer = self._answer_token(request)
            await _say(request, writer, answer, status)
        elif path == "/userinfo" and request.header("authorization") == f"Bearer {self.access_token}":
            told = {"sub": "somebody-else"} if self.twist == "userinfo of somebody else" else {}
            await _say(request, writer, {"email_verified": True, **self.claims.get("userinfo", {}), **told})
        else:
            await _say(request, writer, {"error": "not_found"}, 404)

    async def _answer_discovery(self, request: Received, writer: StreamWriter) -> None:
        body = json.dumps(self.document).encode()
        script = {
            "redirecting discovery": respond(302, b"", ("location", f"{self.base}/elsewhere")),
            "huge discovery": respond(200, body + b" " * 300_000),
            "compressed discovery": respond(200, body, ("content-encoding", "gzip")),
            "discovery that is no JSON": respond(200, b"<html>"),
            "discovery that breaks off": raw(b"HTTP/1.1 200 X\r\ncontent-length: 999\r\n\r\n{"),
            "failing discovery": respond(500, body),
        }.get(self.twist, respond(200, body))
        if self.twist != "silent discovery":
            await script(request, writer)

    async def _answer_authorize(self, request: Received, writer: StreamWriter) -> None:
        asked = dict(parse_qsl(urlsplit(request.target).query))
        assert (asked["response_type"], asked["client_id"]) == ("code", CLIENT_ID)
        assert asked["code_challenge_method"] == "S256"
        code = new_token("")
        self.codes[code] = Code(asked)
        reply = {"code": code, "state": asked["state"], "iss": self.issuer or self.base}
        if self.twist == "iss of another provider":
            reply["iss"] = OTHER_ISSUER
        if self.twist == "iss is promised and missing" or "{" in reply["iss"]:
            del reply["iss"]
        if self.twist == "error":
            reply = {"error": "access_denied", "error_description": "<b>no</b>", "state": asked["state"]}
        if asked.get("response_mode") == "form_post":
            fields = "".join(f'<input name="{name}" value="{html.escape(value)}">' for name, value in reply.items())
            await respond(200, fields.encode(), ("content-type", "text/html"))(request, writer)
        else:
            location = f"{asked['redirect_uri']}?{urlencode(reply)}"
            await respond(302, b"", ("location", location))(request, writer)

    def _answer_token(self, request: Received) -> tuple[int, dict[str, Any]]:
        sent = dict(parse_qsl(request.body.decode(), strict_parsing=True))
        basic = "Basic YWdlbnRoaWZpdmUtc2lnbi1pbjpzM2NyZXQlMkZvZiUyQnRoZSUzQWNsaWVudA=="
        is_known = (
            (request.header("authorization") == basic and "client_secret" not in sent)
            if self.is_basic
            else (sent.get("client_id"), sent.get("client_secret")) == (CLIENT_ID, CLIENT_SECRET)
        )
        code = self.codes.get(sent["code"])
        digest = base64url.encode(hashlib.sha256(sent["code_verifier"].encode()).digest())
        if not is_known or code is None or code.is_used or sent["grant_type"] != "authorization_code":
            return 400, {"error": "invalid_grant"}
        if digest != code.asked["code_challenge"] or sent["redirect_uri"] != code.asked["redirect_uri"]:
            return 400, {"error": "invalid_grant"}
        code.is_used = True
        answer = {"access_token": self.access_token, "token_type": "Bearer", "refresh_token": "provider-refresh-token"}
        if "nonce" in code.asked and self.twist != "no id_token":
            answer["id_token"] = self._sign(code.asked["nonce"])
        return 200, answer

    def _sign(self, nonce: str) -> str:
        now = int(time.time())
        half = hashlib.sha256(self.access_token.encode()).digest()[:16]
        issuer = (self.issuer or self.base).replace("{tenantid}", str(self.claims.get("tid")))
        claims = {
            "iss": issuer, "aud": CLIENT_ID, "exp": now + 300, "iat": now, "nonce": nonce, "sub": "subject-1",
            "at_hash": base64url.encode(half),
            **{name: value for name, value in self.claims.items() if name != "userinfo"},
        }  # fmt: skip
        claims |= {
            "another nonce": {"nonce": "n" * 43},
            "another audience": {"aud": "somebody-else"},
            "two audiences without a party": {"aud": [CLIENT_ID, "somebody-else"]},
            "another party": {"azp": "somebody-else"},
            "expired": {"exp": now - 120},
            "issued long ago": {"iat": now - 3600},
            "issued in the future": {"iat": now + 600, "exp": now + 900},
            "another issuer": {"iss": OTHER_ISSUER},
            "another access token": {"at_hash": base64url.encode(bytes(16))},
            "no subject": {"sub": ""},
        }.get(self.twist, {})
        return self._protect({"kid": self.key.kid}, json.dumps(claims))

    def _protect(self, header: dict[str, Any], claims: str) -> str:
        if self.twist == "alg none":
            head = base64url.encode(json.dumps({**header, "alg": "none"}).encode())
            return f"{head}.{base64url.encode(claims.encode())}."
        if self.twist == "HS256 under the public key":
            head = base64url.encode(json.dumps({**header, "alg": "HS256"}).encode())
            message = f"{head}.{base64url.encode(claims.encode())}"
            mac = hmac.digest(self.key.as_pem(private=False), message.encode(), "sha256")
            return f"{message}.{base64url.encode(mac)}"
        signer = rsa_key(9) if self.twist == "another key" else self.key
        alg = "RS512" if self.twist == "another algorithm" else "RS256"
        plain = RSAKey.import_key(signer.as_pem(private=True))
        return jws.serialize_compact({**header, "alg": alg}, claims, plain, algorithms=[alg])


@dataclass
class GithubServer(OpenIdServer):
    """GitHub, whose API says who somebody is."""

    user: dict[str, Any] = field(default_factory=lambda: {"id": 583231, "login": "olga", "name": "Olga"})
    emails: list[dict[str, Any]] = field(default_factory=list)

    async def serve(self, request: Received, writer: StreamWriter) -> None:
        """Answer one request as GitHub does."""
        path = urlsplit(request.target).path
        told = {"/user": self.user, "/user/emails": self.emails}.get(path)
        if path == "/login/oauth/authorize":
            await self._answer_authorize(request, writer)
        elif told is None:
            await super().serve(request, writer)
        elif request.header("authorization") == f"Bearer {self.access_token}":
            await _say(request, writer, told)
        else:
            await _say(request, writer, {"message": "Bad credentials"}, 401)


async def visit(tls: ssl.SSLContext, port: int, url: str) -> httpx.Response:
    """Open a provider's page as a browser does."""
    parts = urlsplit(url)
    async with httpx.AsyncClient(verify=tls) as client:
        return await client.get(
            parts._replace(netloc=f"127.0.0.1:{port}").geturl(),
            headers={"host": parts.netloc},
            extensions={"sni_hostname": parts.hostname},
        )


def read_form(page: str) -> dict[str, str]:
    """The fields of a page that posts itself."""
    return {name: html.unescape(value) for name, value in re.findall(r'name="([^"]+)" value="([^"]*)"', page)}


async def _say(request: Received, writer: StreamWriter, value: Any, status: int = 200) -> None:
    await respond(status, json.dumps(value).encode())(request, writer)
