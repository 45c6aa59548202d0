"""Which room may import which, from the ground up, and the exceptions with their reasons.

ground <- policy, vault <- catalog <- db, audit <- edge <- rooms <- assembly <- app <- cli
"""

from collections.abc import Mapping

GROUND = frozenset({"", "words", "errors", "ids", "strict_json"})
"""What everybody may import: the closed vocabularies, refusals, identifiers, one reading of JSON, the version."""

SETTINGS = frozenset(
    {
        "settings",
        "settings_values",
        "settings_calls",
        "settings_instance",
        "settings_keys",
        "settings_people",
        "settings_later",
        "settings_sources",
        "secrets_env",
        "database_url",
        "git_index",
        "production",
        "production_tokens",
    }
)
"""Reading and judging the settings: imports nothing of ours outside itself."""

BASE = frozenset({"vault", "db", "audit", "edge"})

ROOMS: Mapping[str, frozenset[str]] = {
    **dict.fromkeys(GROUND - {""}, frozenset()),
    "": frozenset(),
    "web": frozenset(),
    **dict.fromkeys(SETTINGS, SETTINGS),
    "policy": frozenset({"words", "strict_json"}),
    "vault": GROUND,
    "catalog": GROUND | {"policy"},
    "db": GROUND,
    "audit": GROUND | {"vault", "db"},
    "edge": GROUND | {"vault", "db", "audit"},
    "operations": GROUND | BASE,
    "broker": GROUND | BASE | {"policy", "catalog"},
    "jwt": GROUND | BASE,
    "agents": GROUND | BASE | {"catalog", "jwt"},
    "notify": GROUND | BASE | {"operations"},
    "people": GROUND | BASE | {"operations", "notify", "jwt"},
    "policies": GROUND | BASE | {"policy", "catalog"},
    "connections": GROUND | BASE | {"policy", "catalog", "operations"},
    "assembly": GROUND | BASE | {"settings", "catalog", "broker", "agents", "people", "policies", "connections",
                                 "operations", "notify", "jwt"},
    "key_reading": {"settings", "settings_keys", "settings_values", "vault"},
    "app": GROUND | BASE | {"settings", "database_url", "key_reading", "catalog", "operations", "jwt", "assembly"},
    "cli": GROUND | BASE | SETTINGS | {"catalog", "broker", "agents", "people", "policies", "connections",
                                       "notify", "operations", "jwt", "key_reading", "app"},
    "__main__": frozenset({"cli"}),
}  # fmt: skip
"""Room -> rooms it may import besides itself."""

EXCEPTIONS: Mapping[tuple[str, str], str] = {
    ("catalog.catalog", "broker.host"): "host names of the settings are read by the reader that reads those of calls",
    ("catalog.fields", "broker.target"): "base addresses are read by the one strict parser of addresses",
    ("catalog.generic_http", "broker.target"): "the same",
    ("db.unit", "audit.chains"): "a change and its audit rows are one transaction",
    ("db.unit", "audit.model"): "the same",
    ("edge.gatekeeper", "operations.ratelimit"): "failed credentials are counted before anybody is known",
    ("edge.gatekeeper", "operations.tally"): "what each principal sends is counted before anything is done for it",
    ("audit.api", "edge.answers"): "the routes of the audit room",
    ("audit.api", "edge.body"): "the same",
    ("audit.api", "edge.callers"): "the same",
    ("audit.api", "edge.routing"): "the same",
    ("audit.service", "operations.ratelimit"): "exports are limited",
    (
        "notify.assembly",
        "broker.address",
    ): "the mail server's address is judged by the table that judges those of calls",
    ("notify.assembly", "broker.egress"): "it is dialled by the one way out",
    ("notify.assembly", "settings"): "part of the assembly",
    ("notify.assembly", "settings_values"): "the same",
    ("notify.smtp", "broker.egress"): "the mail server is dialled by the one way out",
    ("production_tokens", "vault.secret"): "a signing key is read by what signs with it",
    ("production_tokens", "vault.signing"): "the same",
    ("production_tokens", "vault.token_keys"): "the same",
    ("secrets_env", "vault.signing"): "makes the signing key of a new installation",
    ("secrets_env", "vault.token_keys"): "the same",
    ("jwt.assembly", "settings"): "part of the assembly",
    ("jwt.fetch", "broker.address"): "the one address an operator names is dialled by the one dialler",
    ("jwt.fetch", "broker.egress"): "the same",
    ("jwt.fetch", "broker.wire"): "the same",
    ("operations.instance", "settings"): "the first address and mode of an installation are kept with its identity",
    ("operations.reference", "settings"): "writes the page about the settings",
    ("operations.server", "app"): "runs the application; only the command line imports it",
    ("people.assembly", "settings"): "part of the assembly",
    ("people.turnstile", "broker.egress"): "the bot check is asked by the one way out",
    ("people.turnstile", "broker.wire"): "the same",
    ("people.assembly", "broker.egress"): "sign-in at providers leaves by the one way out, bounded as calls are",
    ("people.provider_http", "broker.egress"): "the same",
    ("people.provider_http", "broker.target"): "addresses are read by the one strict parser of addresses",
    ("people.provider_http", "broker.wire"): "replies arrive by the one way out",
    ("policies.explain", "broker.grants"): "what would happen is decided by what decides in earnest",
    ("policies.explain", "broker.http"): "the same",
    ("policies.explain", "broker.judge"): "the same",
    ("policies.explain", "broker.llm"): "the same",
    ("policies.explain", "broker.model"): "the same",
    ("policies.explain", "broker.target"): "the same",
    ("connections.answers", "broker.host"): "host names are read by the reader that reads those of calls",
    ("connections.calls", "broker.decompress"): "probes and revocations leave by the one way out, bounded as calls are",
    ("connections.calls", "broker.egress"): "the same",
    ("connections.calls", "broker.inject"): "the same",
    ("connections.calls", "broker.scrub"): "the same",
    ("connections.calls", "broker.target"): "the same",
    ("connections.calls", "broker.wire"): "the same",
    ("connections.checkup", "broker.egress"): "the same",
    ("connections.probes", "broker.egress"): "the same",
    ("connections.revocation", "broker.egress"): "the same",
    ("connections.service", "broker.egress"): "the same",
    ("connections.watch", "broker.egress"): "the same",
    ("connections.watch", "broker.model"): "learns from the replies of calls that a credential has died",
}
"""(module, imported module) -> why this once the direction is another."""

WEB_FRAMEWORKS = frozenset({"fastapi", "starlette", "uvicorn", "jinja2"})

WEB_FILES: Mapping[str, str] = {
    "edge/answers.py": "the shape of answers",
    "edge/gatekeeper.py": "reads the credential of a request",
    "edge/listener.py": "the server's protocol",
    "edge/management.py": "the FastAPI application",
    "edge/routing.py": "declared routes",
    "operations/server.py": "runs the server",
    "notify/texts.py": "mails are rendered from a template as pages are",
    "people/browser.py": "cookies of the sign-in routes and pages",
    "people/state.py": "finds the parts of the room for its routes",
    "agents/bodies.py": "the token exchange takes forms as well as JSON",
    "assembly.py": "puts the application together",
    "app.py": "the same",
    "cli/instance.py": "prints the OpenAPI document without a server",
}
"""Files besides `api.py`, `*_api.py`, `pages.py` and `*_pages.py` that may know the web framework, and why."""
