"""The shape of a service file: one frozen type per table, unknown keys refused.

    file -> hosts, credentials (fields, injections, oauth, lifetime, revocation), test, classes, llm, look-ups

What a type cannot say (a host that must be named elsewhere, a glob that must lie inside another) is said in
`checks.py` and `checks_credential.py`. Source: contract/catalog/SCHEMA.md sections 1 to 11.
"""

from typing import Any, Final, Literal

from msgspec import UNSET, Struct, UnsetType, field

from agenthifive.words import ActionClass

Method = Literal["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"]
Place = Literal["header", "query", "basic", "path", "mail", "none"]
Kind = Literal["oauth", "api_key", "bot_token", "email", "token_pair", "http"]
Mode = Literal["read", "manage", "use"]
LlmFormat = Literal["openai-chat", "openai-responses", "anthropic-messages", "gemini", "cohere", "raw"]
FieldType = Literal[
    "secret", "text", "email", "host", "subdomain", "base_url", "enum", "integer", "password", "boolean",
    "mail_host",
]  # fmt: skip
Section = Literal[
    "llm", "chat", "google", "microsoft", "developer", "project", "crm", "support", "payments", "files",
    "design", "marketing", "monitoring", "search", "media", "ecommerce", "home", "infra", "custom", "mail",
]  # fmt: skip

SEALED_TYPES: Final = frozenset({"secret", "password"})
"""Fields of these types stand in the sealed payload only; all others are also shown as `metadata.params`."""


class CatalogError(Exception):
    """The catalog cannot be used. Names the file and the key; the start-up stops with it."""

    def __init__(self, file: str, key: str, fault: str) -> None:
        super().__init__(f"{file}: {key}: {fault}" if key else f"{file}: {fault}")
        self.file = file
        self.key = key
        self.fault = fault


class Table(Struct, frozen=True, forbid_unknown_fields=True):
    """A table of a service file."""


class HostSpec(Table, frozen=True):
    """`[[host]]`: where the credential may go. Source: SCHEMA section 2."""

    name: str
    paths: tuple[str, ...] = ("/**",)
    deny_paths: tuple[str, ...] = ()
    path_case: Literal["sensitive", "insensitive"] = "sensitive"
    credential: bool = True
    tenant: str | None = None
    shared: bool = False
    variants: tuple[str, ...] = ()


class FieldSpec(Table, frozen=True):
    """`[[credential.field]]`: one thing a person enters. Source: SCHEMA section 4.1."""

    name: str
    label: str
    type: FieldType
    required: bool = True
    pattern: str | None = None
    options: tuple[str, ...] | None = None
    default: str | int | bool | None = None
    placeholder: str | None = None

    @property
    def is_sealed(self) -> bool:
        """Whether the value may be kept in the sealed payload only."""
        return self.type in SEALED_TYPES


class InjectSpec(Table, frozen=True):
    """`[[credential.inject]]`: where the secret stands in a request. Source: SCHEMA section 4.2."""

    place: Place = field(name="in")
    name: str | None = None
    value: str | None = None
    username: str | None = None
    password: str | None = None
    match: str | None = None
    hosts: tuple[str, ...] = ()


class ScopeSpec(Table, frozen=True):
    """`[[credential.oauth.scope]]`."""

    key: str
    value: str
    label: str
    default: bool = False


class DeviceSpec(Table, frozen=True):
    """`[credential.oauth.device]`: RFC 8628 is offered."""

    endpoint: str
    scopes: tuple[str, ...] = ()


class IdentitySpec(Table, frozen=True):
    """`[credential.oauth.identity]`: whose account was connected."""

    source: Literal["id_token", "url", "token_response", "test"] = field(name="from")
    url: str | None = None
    id: str | None = None
    name: str | None = None
    tenant: str | None = None


class LearntSpec(Table, frozen=True):
    """`[[credential.oauth.param]]`: a value learnt after the exchange."""

    name: str
    source: Literal["token_response", "url"] = field(name="from")
    path: str
    url: str | None = None


class TenantSpec(Table, frozen=True):
    """`tenant` of an OAuth variant: how `{tenant}` is filled."""

    field_name: str = field(name="field")
    default: str
    values: tuple[str, ...] = ()


class OAuthSpec(Table, frozen=True):
    """`[credential.oauth]`. Source: SCHEMA section 4.3."""

    authorization_endpoint: str
    token_endpoint: str
    iss: Literal["required", "optional", "absent"]
    pkce: Literal["S256", "none"]
    client_auth: Literal["post", "basic", "none"]
    identity: IdentitySpec
    refresh_endpoint: str | None = None
    issuer: str | None = None
    body: Literal["form", "json"] = "form"
    scope_separator: Literal[" ", ","] = " "
    authorize_params: dict[str, str] = {}
    token_params: dict[str, str] = {}
    refresh_params: dict[str, str] = {}
    token_headers: dict[str, str] = {}
    always_scopes: tuple[str, ...] = ()
    tenant: TenantSpec | None = None
    dead_errors: tuple[str, ...] = ()
    no_scopes: bool = False
    scopes: tuple[ScopeSpec, ...] = field(default=(), name="scope")
    device: DeviceSpec | None = None
    learnt: tuple[LearntSpec, ...] = field(default=(), name="param")


class LifetimeSpec(Table, frozen=True):
    """`[credential.lifetime]`. Source: SCHEMA section 4.4."""

    access_ttl_s: int | None = None
    refresh_rotates: bool = False
    refresh_idle_days: int = 0
    refresh_max_days: int = 0
    max_days: int = 0
    expiry_header: str | None = None
    note: str | None = None


class RevokeSpec(Table, frozen=True):
    """`[credential.revoke]`. Source: SCHEMA section 4.5."""

    how: Literal["rfc7009", "request", "manual", "none"]
    url: str | None = None
    method: Method | None = None
    body: str | None = None
    params: dict[str, str] = {}
    auth: Literal["client_basic", "client_post", "inject", "none"] | None = None
    token: Literal["refresh", "access"] = "refresh"
    covers: Literal["token", "grant"] | None = None
    manage_url: str | None = None


class Condition(Table, frozen=True):
    """A fact about a JSON reply: exactly one of `equals`, `in` and `present` is given."""

    path: str
    equals: str | int | float | bool | UnsetType | None = UNSET
    one_of: tuple[Any, ...] | UnsetType = field(default=UNSET, name="in")
    present: bool | UnsetType = UNSET


class OutcomeSpec(Table, frozen=True):
    """A class of replies to a probe; all that is given must hold."""

    status: tuple[int, ...] = ()
    json: tuple[Condition, ...] = ()


class TestSpec(Table, frozen=True):
    """`[test]`: the validation probe. Source: SCHEMA section 5."""

    __test__ = False  # the name is no test of ours

    method: Method = "GET"
    url: str | None = None
    headers: dict[str, str] = {}
    body: str | None = None
    ok: OutcomeSpec | None = None
    limited: OutcomeSpec | None = None
    bad: OutcomeSpec | None = None
    account_id: str | None = None
    account_name: str | None = None
    cost: Literal["free", "counted"] = "free"
    none: bool = False


class AuthFailureSpec(Table, frozen=True):
    """`[auth_failure]`: how a dead credential shows in an ordinary reply."""

    json: tuple[Condition, ...]


class ClassifySpec(Table, frozen=True):
    """`[[classify]]`: what a call does. Source: SCHEMA section 6."""

    methods: tuple[Method | Literal["*"], ...]
    path: str | tuple[str, ...]
    action: ActionClass | None = None
    host: str | None = None
    how: Literal["graphql"] | None = None
    label: str | None = None

    @property
    def globs(self) -> tuple[str, ...]:
        """The path globs as a list."""
        return (self.path,) if isinstance(self.path, str) else self.path


class RedirectSpec(Table, frozen=True):
    """`[[redirect]]`: a hop that is followed once, without the credential. Source: SCHEMA section 7."""

    source: str = field(name="from")
    to: str
    paths: tuple[str, ...] = ("/**",)


class AllowSpec(Table, frozen=True):
    """`[[default_allow]]`. Source: SCHEMA section 8."""

    host: str
    methods: tuple[Method, ...]
    paths: tuple[str, ...]


class TemplateSpec(Table, frozen=True):
    """`[[action_template]]`. Source: SCHEMA section 9."""

    id: str
    label: str
    description: str
    mode: Mode
    scopes: tuple[str, ...] = ()


class RouteSpec(Table, frozen=True):
    """`[[llm.route]]`: a path whose shape differs from the service's."""

    path: str
    format: LlmFormat


class LlmSpec(Table, frozen=True):
    """`[llm]`. Source: SCHEMA section 10."""

    slug: str
    base_url: str
    format: LlmFormat
    routes: tuple[RouteSpec, ...] = field(default=(), name="route")
    model_path: str = "model"
    openai_compatible: bool = False


class LookupSpec(Table, frozen=True):
    """`[[lookup]]`: a picker of policy editors. Source: SCHEMA section 11."""

    type: str
    method: Method
    url: str
    items: str
    id: str
    name: str
    query: dict[str, str] = {}
    display: str | None = None
    private: str | None = None
    bot: str | None = None
    members: str | None = None
    cursor_in: str | None = None
    cursor_out: str | None = None
    page_limit: int = 5


class CredentialSpec(Table, frozen=True):
    """`[[credential]]`: one way to connect, a variant. Source: SCHEMA section 4."""

    id: str
    kind: Kind
    label: str
    models: tuple[Literal["A", "B"], ...]
    revoke: RevokeSpec
    help_url: str | None = None
    fields: tuple[FieldSpec, ...] = field(default=(), name="field")
    injects: tuple[InjectSpec, ...] = field(default=(), name="inject")
    oauth: OAuthSpec | None = None
    lifetime: LifetimeSpec = LifetimeSpec()
    test: TestSpec | None = None


class ServiceFile(Table, frozen=True):
    """A whole file. Source: SCHEMA section 1."""

    schema: Literal[1]
    id: str
    provider: str
    name: str
    icon: str
    group: str
    description: str
    category: Literal["llm", "communication", "data"]
    section: Section
    singleton: bool
    confidence: Literal["verified-in-original", "public-docs-knowledge"]
    docs: tuple[str, ...]
    constraints: Literal["telegram", "slack", "microsoft", "email"] | None = None
    args_anywhere: bool = False
    strip_params: tuple[str, ...] = ()
    strip_headers: tuple[str, ...] = ()
    platform_hosts: tuple[str, ...] = ()
    self_hosted: bool = False
    notes: tuple[str, ...] = ()
    api_style: Literal["rest", "rpc", "graphql", "virtual"] = "rest"
    override: bool = False
    hosts: tuple[HostSpec, ...] = field(default=(), name="host")
    headers: dict[str, str] = {}
    headers_forced: dict[str, str] = {}
    credentials: tuple[CredentialSpec, ...] = field(default=(), name="credential")
    test: TestSpec | None = None
    auth_failure: AuthFailureSpec | None = None
    classes: tuple[ClassifySpec, ...] = field(default=(), name="classify")
    redirects: tuple[RedirectSpec, ...] = field(default=(), name="redirect")
    default_allow: tuple[AllowSpec, ...] = ()
    templates: tuple[TemplateSpec, ...] = field(default=(), name="action_template")
    llm: LlmSpec | None = None
    lookups: tuple[LookupSpec, ...] = field(default=(), name="lookup")
