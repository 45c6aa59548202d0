"""A file that breaks a rule of the schema is refused, and the refusal names file and key."""

from pathlib import Path

import pytest

from agenthifive.catalog.load import read_file
from agenthifive.catalog.schema import CatalogError

# What is written instead of what, the key that must be named, and a word of the reason.
BROKEN = [
    # types and unknown keys
    ("schema = 1", "schema = 2", "schema", ""),
    ("schema = 1", "schema = 1\nnope = 1", "nope", "unknown key"),
    ('provider = "demo"', "", "provider", "missing"),
    ("[headers]", "[headers]\nx = 1", "headers", "str"),
    (
        'name = "api.demo.test"\npaths',
        'name = "api.demo.test"\npath = "/"\npaths',
        "host[0].path",
        "unknown key",
    ),
    ('path_case = "sensitive"', 'path_case = "none"', "host[0].path_case", ""),
    ("default = true\n", "default = true\nx = 1\n", "credential[1].oauth.scope[0].x", "unknown key"),
    ('section = "llm"', 'section = "toys"', "section", ""),
    ('api_style = "graphql"', 'api_style = "soap"', "api_style", ""),
    ("singleton = true", 'singleton = "yes"', "singleton", "bool"),
    ('kind = "api_key"', 'kind = "magic"', "credential[0].kind", ""),
    ('type = "secret"', 'type = "thing"', "credential[0].field[1].type", ""),
    ('in = "query"', 'in = "cookie"', "credential[0].inject[1].in", ""),
    ('how = "manual"', 'how = "later"', "credential[1].revoke.how", ""),
    ('iss = "required"', 'iss = "maybe"', "credential[1].oauth.iss", ""),
    ('pkce = "S256"', 'pkce = "plain"', "credential[1].oauth.pkce", ""),
    ('action = "send"', 'action = "fly"', "classify[1].action", ""),
    ('mode = "read"', 'mode = "own"', "action_template[0].mode", ""),
    ('format = "openai-chat"', 'format = "x"', "llm.format", ""),
    # names
    ('provider = "demo"', 'provider = "De mo"', "provider", "lower-case"),
    ('name = "Demo"', 'name = " "', "name", "empty"),
    ('group = "Demo"', 'group = ""', "group", "empty"),
    ('icon = "DE"', 'icon = "DEMO"', "icon", "1 or 2"),
    ('confidence = "public-docs-knowledge"', 'confidence = "verified-in-original"', "confidence", "belong"),
    ('docs = ["https://docs.demo.test/api"]', "docs = []", "docs", "address"),
    ("https://docs.demo.test/api", "http://docs.demo.test/api", "docs[0]", "https"),
    ('notes = ["A note."]', 'notes = [""]', "notes[0]", "empty"),
    ('strip_params = ["api_key"]', 'strip_params = ["a&b"]', "strip_params[0]", "argument"),
    ('strip_headers = ["x-demo-key"]', 'strip_headers = ["X-Demo"]', "strip_headers[0]", "lower case"),
    # hosts
    (
        'platform_hosts = ["auth.demo.test"]',
        'platform_hosts = ["AUTH.demo.test"]',
        "platform_hosts[0]",
        "host",
    ),
    ('name = "api.demo.test"\npaths', 'name = "api.demo.test:8443"\npaths', "host[0].name", "host name"),
    ('name = "api.demo.test"\npaths', 'name = "10.0.0.1"\npaths', "host[0].name", "host name"),
    ('name = "*.tenant.demo.test"', 'name = "*.test"', "host[1].name", "host name"),
    ('name = "*.tenant.demo.test"', 'name = "*.co.uk"', "host[1].name", "public suffix"),
    ('name = "eu.demo.test"', 'name = "api.demo.test"', "host[2].name", "twice"),
    ('paths = ["/v1/**"]', "paths = []", "host[0].paths", "empty"),
    ('paths = ["/v1/**"]', 'paths = ["v1/**"]', "host[0].paths[0]", "glob"),
    ('paths = ["/v1/**"]', 'paths = ["/v1/../x"]', "host[0].paths[0]", "dot segments"),
    ('paths = ["/v1/**"]', 'paths = ["/v1//x"]', "host[0].paths[0]", "dot segments"),
    ('paths = ["/v1/**"]', 'paths = ["/v1/***"]', "host[0].paths[0]", "***"),
    ('deny_paths = ["/v1/batch"]', 'deny_paths = ["/v1/batch?x"]', "host[0].deny_paths[0]", "glob"),
    ('tenant = "{shop}.tenant.demo.test"', "", "host[1].tenant", "wildcard"),
    ("{shop}.tenant.demo.test", "{store}.tenant.demo.test", "host[1].tenant", "{store}"),
    ("{shop}.tenant.demo.test", "x.tenant.demo.test", "host[1].tenant", "no field"),
    ('variants = ["key"]', 'variants = ["nokey"]', "host[2].variants", "unknown variant"),
    ('accept = "application/json"', 'cookie = "a=b"', "headers.cookie", "cannot be set"),
    ('accept = "application/json"', 'accept = "{apiKey}"', "headers.accept", "template"),
    ('x-demo-version = "7"', 'x-demo-version = "7\\r\\nx: y"', "headers_forced.x-demo-version", "visible"),
    ('x-demo-version = "7"', 'X-Demo = "7"', "headers_forced.X-Demo", "lower case"),
    (
        '"eu.demo.test", "api.demo.test"]',
        '"eu.demo.test", "evil.test"]',
        "credential[0].field[3].options",
        "host",
    ),
    (
        'type = "enum"\noptions = ["eu.demo.test", "api.demo.test"]\ndefault = "eu.demo.test"',
        'type = "text"',
        "credential[0].field[3].type",
        "whole host",
    ),
    # variants
    ('id = "oauth"\nkind', 'id = "key"\nkind', "credential[1].id", "once"),
    ('label = "API key"', 'label = " "', "credential[0].label", "empty"),
    ('models = ["B"]', 'models = ["B", "A"]', "credential[0].models", "['A', 'B']"),
    ('models = ["B"]', 'models = ["A", "B"]', "credential[0].models", "a day"),
    ("access_ttl_s = 3600", "access_ttl_s = 90000", "credential[1].models", "a day"),
    ("access_ttl_s = 3600", "refresh_rotates = true", "credential[1].lifetime.access_ttl_s", "missing"),
    ("max_days = 30", "max_days = -1", "credential[1].lifetime.max_days", ">= 0"),
    (
        'https://demo.test/keys"\n\n[[credential.field',
        'ftp://x"\n\n[[credential.field',
        "credential[0].help_url",
        "",
    ),
    ('kind = "oauth"', 'kind = "api_key"', "credential[1].oauth", "kind oauth"),
    ('name = "apiKey"', 'name = "api_key"', "credential[0].field[1].name", "letters"),
    ('name = "apiKey"', 'name = "shop"', "credential[0].field[2].name", "once"),
    ('label = "Key"', 'label = ""', "credential[0].field[1].label", "empty"),
    ("^dk_[a-z0-9]{8,40}$", "^(?=dk_).*$", "credential[0].field[1].pattern", "RE2"),
    ("^dk_[a-z0-9]{8,40}$", "(a)\\\\1", "credential[0].field[1].pattern", "RE2"),
    ('options = ["eu.demo.test", "api.demo.test"]', "", "credential[0].field[3].options", "enum"),
    ('default = "eu.demo.test"', 'default = "us.demo.test"', "credential[0].field[3].default", "options"),
    (
        'type = "subdomain"\n\n[[credential.field]]\nname = "region"',
        'type = "integer"\ndefault = "x"\n\n[[credential.field]]\nname = "region"',
        "credential[0].field[2].default",
        "integer",
    ),
    (
        'type = "secret"',
        'type = "secret"\ndefault = "dk_12345678"',
        "credential[0].field[1].default",
        "secret",
    ),
    (
        'name = "authorization"\nvalue = "Demo',
        'name = "Authorization"\nvalue = "Demo',
        "credential[0].inject[0].name",
        "lower case",
    ),
    (
        'name = "authorization"\nvalue = "Demo',
        'name = "host"\nvalue = "Demo',
        "credential[0].inject[0].name",
        "set",
    ),
    ('value = "Demo {apiKey}"', 'value = "Demo {key}"', "credential[0].inject[0].value", "{key}"),
    ('value = "Demo {apiKey}"', 'value = "Demo {apiKey"', "credential[0].inject[0].value", "brace"),
    ('value = "Demo {apiKey}"', 'value = ""', "credential[0].inject[0].value", "empty"),
    ('value = "Demo {apiKey}"', "", "credential[0].inject[0].value", "missing"),
    ('in = "query"\nname = "who"', 'in = "basic"', "credential[0].inject[1].username", "missing"),
    ('in = "query"\nname = "who"', 'in = "path"', "credential[0].inject[1].match", "slot"),
    (
        'in = "query"\nname = "who"',
        'in = "path"\nmatch = "^/(?P<slot>a+)+(?!b)/"',
        "credential[0].inject[1].match",
        "RE2",
    ),
    (
        'value = "{shop}"\n',
        'value = "{shop}"\nhosts = ["evil.test"]\n',
        "credential[0].inject[1].hosts",
        "evil",
    ),
    (
        'value = "Bearer {accessToken}"\n',
        'value = "Bearer {accessToken}"\nhosts = ["api.demo.test"]\n',
        "credential[1].inject",
        "*.tenant.demo.test has no injection",
    ),
    # oauth
    (
        "https://auth.demo.test/authorize",
        "http://auth.demo.test/authorize",
        "credential[1].oauth.authorization_endpoint",
        "https",
    ),
    (
        "https://auth.demo.test/token",
        "https://evil.test/token",
        "credential[1].oauth.token_endpoint",
        "evil.test",
    ),
    (
        "https://auth.demo.test/token",
        "https://auth.demo.test:8443/token",
        "credential[1].oauth.token_endpoint",
        "port",
    ),
    (
        "https://auth.demo.test/token",
        "https://u@auth.demo.test/token",
        "credential[1].oauth.token_endpoint",
        "user info",
    ),
    ('issuer = "https://auth.demo.test"\n', "", "credential[1].oauth.issuer", "missing"),
    ('prompt = "consent"', 'state = "x"', "credential[1].oauth.authorize_params.state", "platform"),
    (
        'client_auth = "post"',
        'client_auth = "post"\ntoken_headers = { host = "x" }',
        "credential[1].oauth.token_headers.host",
        "cannot",
    ),
    ('value = "demo.read"', 'value = ""', "credential[1].oauth.scope[0]", "empty"),
    ('key = "write"', 'key = "read"', "credential[1].oauth.scope[1].key", "twice"),
    ("default = true", "default = false", "credential[1].oauth.scope", "default"),
    (
        "https://auth.demo.test/device",
        "https://evil.test/device",
        "credential[1].oauth.device.endpoint",
        "evil",
    ),
    (
        'scopes = ["read"]\n\n[credential.oauth.identity]',
        'scopes = ["x"]\n\n[credential.oauth.identity]',
        "credential[1].oauth.device.scopes[0]",
        "unknown scope",
    ),
    ("https://auth.demo.test/me", "https://evil.test/me", "credential[1].oauth.identity.url", "evil"),
    (
        'id = "id"\n\n[[credential.oauth.param]]',
        "\n[[credential.oauth.param]]",
        "credential[1].oauth.identity.id",
        "missing",
    ),
    ('path = "instance"', 'path = ""', "credential[1].oauth.param[0]", "empty"),
    # revocation
    (
        "https://api.demo.test/v1/keys/{apiKey}",
        "https://evil.test/{apiKey}",
        "credential[0].revoke.url",
        "evil",
    ),
    (
        "https://api.demo.test/v1/keys/{apiKey}",
        "https://api.demo.test/{x}",
        "credential[0].revoke.url",
        "{x}",
    ),
    ('auth = "inject"\n', "", "credential[0].revoke.auth", "missing"),
    ('covers = "token"\n', "", "credential[0].revoke.covers", "missing"),
    ('method = "DELETE"\n', "", "credential[0].revoke.method", "missing"),
    ('manage_url = "https://demo.test/apps"', "", "credential[1].revoke.manage_url", "missing"),
    ("https://demo.test/apps", "http://demo.test/apps", "credential[1].revoke.manage_url", "https"),
    # probes
    ("https://api.demo.test/v1/me", "https://evil.test/v1/me", "test.url", "evil"),
    ("https://api.demo.test/v1/me", "https://api.demo.test/{nope}", "test.url", "{nope}"),
    ('url = "https://api.demo.test/v1/me"', "", "test.url", "missing"),
    ("limited = { status = [403] }", "limited = { status = [42] }", "test.limited.status", "status"),
    ("limited = { status = [403] }", "limited = {}", "test.limited", "status or json"),
    ("present = true }", "present = true, equals = 1 }", "test.ok.json[0]", "exactly one"),
    (
        '{ path = "error", in = ["invalid_auth"] }',
        '{ path = "error" }',
        "auth_failure.json[0]",
        "exactly one",
    ),
    ('json = [{ path = "error", in = ["invalid_auth"] }]', "json = []", "auth_failure.json", "empty"),
    ("page_limit = 5", "page_limit = 11", "lookup[0].page_limit", "1 to 10"),
    ("https://api.demo.test/v1/rooms", "https://evil.test/rooms", "lookup[0].url", "evil"),
    ('items = "rooms"', 'items = ""', "lookup[0]", "empty"),
    # calls
    ('action = "send"\n', "", "classify[1].action", "missing"),
    ('methods = ["*"]', 'methods = ["*", "GET"]', "classify[2].methods", "list"),
    ('methods = ["*"]', 'methods = ["BREW"]', "classify[2].methods[0]", ""),
    ('path = ["/v1/messages"]', 'path = ["messages"]', "classify[1].path[0]", "glob"),
    ('host = "api.demo.test"\nlabel', 'host = "evil.test"\nlabel', "classify[1].host", "evil"),
    ('how = "graphql"', 'action = "write"', "classify", "graphql"),
    ('from = "api.demo.test"', 'from = "evil.test"', "redirect[0].from", "evil"),
    ('to = "*.files.demo.test"', 'to = "*"', "redirect[0].to", "host name"),
    ('paths = ["/d/**"]', "paths = []", "redirect[0].paths", "empty"),
    ('host = "api.demo.test"\nmethods', 'host = "evil.test"\nmethods', "default_allow[0].host", "evil"),
    ('methods = ["GET", "POST"]', "methods = []", "default_allow[0].methods", "empty"),
    (
        'paths = ["/v1/items", "/v1/items/**"]',
        'paths = ["/v1/items", "/**"]',
        "default_allow[0].paths[1]",
        "outside",
    ),
    ('label = "Read"\ndescription', 'label = ""\ndescription', "action_template[0]", "empty"),
    (
        'mode = "read"\nscopes = ["read"]',
        'mode = "read"\nscopes = ["x"]',
        "action_template[0].scopes",
        "unknown",
    ),
    ("singleton = true", "singleton = false", "singleton", "singletons"),
    ('category = "llm"', 'category = "data"', "category", "category llm"),
    ('slug = "demo"', 'slug = ""', "llm.slug", "empty"),
    ('https://api.demo.test/v1"', 'https://evil.test/v1"', "llm.base_url", "evil"),
    ('https://api.demo.test/v1"', 'https://api.demo.test/v1/"', "llm.base_url", "final slash"),
    ('path = "/responses"', 'path = "responses"', "llm.route[0].path[0]", "glob"),
]


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_the_demo_file_is_valid(tmp_path: Path, demo_text: str) -> None:
    assert read_file(write(tmp_path, "demo.toml", demo_text)).id == "demo"


@pytest.mark.parametrize(("old", "new", "key", "reason"), BROKEN)
def test_a_broken_rule_is_refused_naming_file_and_key(
    tmp_path: Path, demo_text: str, old: str, new: str, key: str, reason: str
) -> None:
    assert old in demo_text, "the case no longer touches the file"
    path = write(tmp_path, "demo.toml", demo_text.replace(old, new, 1))

    with pytest.raises(CatalogError) as refused:
        read_file(path)

    assert refused.value.file == "demo.toml"
    assert refused.value.key.startswith(key)
    assert reason in refused.value.fault
    assert str(refused.value).startswith(f"demo.toml: {key}")


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ('[[credential]]\nid = "key"', "credential"),
        ("[[default_allow]]", "default_allow"),
        ("[[action_template]]", "action_template"),
    ],
)
def test_a_file_needs_its_tables(tmp_path: Path, demo_text: str, table: str, key: str) -> None:
    start = demo_text.index(table)
    end = {"credential": demo_text.index("[test]"), "default_allow": demo_text.index("[[action_template]]"),
           "action_template": demo_text.index("[llm]")}[key]  # fmt: skip
    text = demo_text[:start] + demo_text[end:]
    if key == "credential":
        text = text.replace('variants = ["key"]\n', "")
    with pytest.raises(CatalogError) as refused:
        read_file(write(tmp_path, "demo.toml", text))
    assert refused.value.key == key


def test_a_variant_needs_an_injection_fields_and_a_probe(tmp_path: Path, demo_text: str) -> None:
    without_test = demo_text.replace(demo_text[demo_text.index("[test]") : demo_text.index("[auth_failure]")], "")
    with pytest.raises(CatalogError, match="test: is missing for variant key"):
        read_file(write(tmp_path, "demo.toml", without_test))
    start = demo_text.index('[[credential.inject]]\nin = "header"\nname = "authorization"\nvalue = "Bearer')
    without_inject = demo_text[:start] + demo_text[demo_text.index("[credential.oauth]") :]
    with pytest.raises(CatalogError, match=r"credential\[1\].inject: at least one"):
        read_file(write(tmp_path, "demo.toml", without_inject))
    without_fields = demo_text
    for first, behind in (('[[host]]\nname = "*.tenant', '[[host]]\nname = "upload'),
                          ('[[credential.field]]\nname = "baseUrl"', "[[credential.inject]]")):  # fmt: skip
        cut = without_fields[without_fields.index(first) : without_fields.index(behind)]
        without_fields = without_fields.replace(cut, "", 1)
    with pytest.raises(CatalogError, match=r"credential\[0\].field: at least one"):
        read_file(write(tmp_path, "demo.toml", without_fields))


def test_an_rpc_service_ends_with_a_write_for_everything(tmp_path: Path, demo_text: str) -> None:
    rpc = demo_text.replace('api_style = "graphql"', 'api_style = "rpc"')
    assert read_file(write(tmp_path, "demo.toml", rpc))
    for broken in (
        rpc.replace('methods = ["*"]', 'methods = ["POST"]'),
        rpc.replace('path = "/**"', 'path = "/v1/**"'),
    ):
        with pytest.raises(CatalogError, match="classify: an rpc service ends"):
            read_file(write(tmp_path, "demo.toml", broken))


def test_a_self_hosted_service_needs_a_base_address(tmp_path: Path, demo_text: str) -> None:
    text = demo_text.replace(
        'name = "baseUrl"\nlabel = "Own server"\ntype = "base_url"', 'name = "x"\nlabel = "x"\ntype = "text"'
    )
    with pytest.raises(CatalogError, match=r"credential\[0\].field: self_hosted"):
        read_file(write(tmp_path, "demo.toml", text))
    text = demo_text.replace("self_hosted = true", "").replace("https://api.demo.test/v1/me", "{baseUrl}/me")
    with pytest.raises(CatalogError, match=r"test.url: .*self_hosted"):
        read_file(write(tmp_path, "demo.toml", text))


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"schema = ", "no TOML"), (b'name = "\xff"', "no TOML"), (b"", "schema: is missing")],
)
def test_what_is_no_toml_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "demo.toml"
    path.write_bytes(content)
    with pytest.raises(CatalogError, match=reason):
        read_file(path)


def test_the_id_is_the_name_of_the_file(tmp_path: Path, demo_text: str) -> None:
    with pytest.raises(CatalogError, match=r"other\.toml: id"):
        read_file(write(tmp_path, "other.toml", demo_text))
