"""The start checks: what is refused although every single setting can be read.

    LoadedSettings --always--> mode, missing secrets, unreadable DSNs, SECURITY_LEVEL=high
                   --production--> example values, TLS, exposure, proxies, committed env files
                        refuses        ids of ALLOW_INSECURE and everything in development: a warning instead

Source: contract/operations.md section 14, rows marked R and (R), as far as settings and files alone decide them.
The database, certificates and name resolution are judged where they are reached.
"""

import ipaddress
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from agenthifive.database_url import STRONG_PASSWORD_CHARACTERS, DatabaseUrl, read_database_url
from agenthifive.git_index import GitIndexUnreadable, is_tracked
from agenthifive.settings import OVERRIDABLE, LoadedSettings, Settings
from agenthifive.settings_values import NEW_SECRET, Network, is_loopback_host, origin_host, ring_keys

HIGH_SECURITY_TOKEN_TTL_S: Final = 900
MIN_DISTINCT_CHARACTERS: Final = 10

_PLACEHOLDERS: Final = (
    "dev-only-secret",
    "change-in-production",
    "changeme",
    "change-me",
    "change_me",
    "better-auth-secret",
    "your-secret",
    "placeholder",
)
_DATABASE_FIELDS: Final = ("database_url", "database_migration_url", "database_listen_url")
_EVERYONE_IN_IPV6: Final = (ipaddress.IPv6Network("2000::/3"), ipaddress.IPv6Network("::ffff:0:0/96"))
_WIDEST_PROXY_PREFIX: Final = {4: 16, 6: 32}


@dataclass(frozen=True, slots=True)
class StartProblem:
    """One reason not to start.

    Shapes:
        id: of the doctor check. variable: the setting, or the path of a file.
        message: `what is wrong; what is expected; example`, no secret values.
        overridable: whether ALLOW_INSECURE may name the id.
    """

    id: str
    variable: str
    message: str
    overridable: bool

    @property
    def line(self) -> str:
        """The problem as it is printed."""
        return f"{self.variable}: {self.message} [{self.id}]"


def check_start(loaded: LoadedSettings) -> tuple[StartProblem, ...]:
    """Everything that forbids the start; empty when it may go on. The process exits 3 otherwise.

    Reads the settings and, for ENV-GIT, the git index around the env files.
    """
    settings = loaded.settings
    problems = [problem for check in _ALWAYS for problem in check(loaded)]
    if settings.is_production:
        problems += (problem for problem in _production_problems(loaded) if not _is_allowed(problem, settings))
    return tuple(problems)


def list_start_warnings(loaded: LoadedSettings) -> tuple[str, ...]:
    """One WARN line for each problem let pass and each choice that lowers security, besides `loaded.warnings`."""
    settings = loaded.settings
    lines = [
        f"{problem.line} (let pass by {'ALLOW_INSECURE' if settings.is_production else 'development'})"
        for problem in _production_problems(loaded)
        if settings.is_development or _is_allowed(problem, settings)
    ]
    lines.extend(_warn_of_open_doors(settings))
    if settings.is_production:
        lines.extend(_warn_of_weak_choices(settings))
        lines.extend(_warn_of_files(loaded))
    return tuple(lines)


def _production_problems(loaded: LoadedSettings) -> Iterator[StartProblem]:
    for check in _PRODUCTION:
        yield from check(loaded)


def _is_allowed(problem: StartProblem, settings: Settings) -> bool:
    return problem.overridable and problem.id in settings.allow_insecure


def _problem(check: str, variable: str, message: str) -> StartProblem:
    return StartProblem(check, variable, message, check in OVERRIDABLE)


def _check_mode(loaded: LoadedSettings) -> Iterator[StartProblem]:
    settings = loaded.settings
    if settings.is_development and not is_loopback_host(origin_host(settings.web_url)):
        yield _problem(
            "ENV-MODE",
            "AH5_ENV",
            "development with a WEB_URL that others can reach; expected production; AH5_ENV=production",
        )


def _check_secrets_exist(loaded: LoadedSettings) -> Iterator[StartProblem]:
    if loaded.settings.encryption_key is None:
        message = f"missing; expected 64 hexadecimal characters (32 bytes); {NEW_SECRET}"
        yield _problem("ENC-KEY", "ENCRYPTION_KEY", message)
    if loaded.settings.better_auth_secret is None:
        yield _problem("AUTH-SECRET", "BETTER_AUTH_SECRET", f"missing; expected at least 32 characters; {NEW_SECRET}")


def _check_dsns_parse(loaded: LoadedSettings) -> Iterator[StartProblem]:
    for variable, url in _databases(loaded.settings):
        if url is None:
            message = (
                "libpq cannot read it; expected postgresql://user:password@host:5432/name; "
                "percent-encode / + = @ : # ? and % in the password"
            )
            yield StartProblem("DB-TLS", variable, message, overridable=False)


def _check_high_security(loaded: LoadedSettings) -> Iterator[StartProblem]:
    settings = loaded.settings
    if settings.security_level != "high":
        return
    if settings.agent_token_ttl_seconds > HIGH_SECURITY_TOKEN_TTL_S:
        message = "above 900 with SECURITY_LEVEL=high; expected 60–900; AGENT_TOKEN_TTL_SECONDS=900"
        yield _problem("TOKEN-TTL", "AGENT_TOKEN_TTL_SECONDS", message)
    if settings.ssrf_allow_private:
        message = "on with SECURITY_LEVEL=high; expected off; SSRF_ALLOWLIST_HOSTS=name=10.1.2.0/24"
        yield _problem("SSRF-PRIVATE", "SSRF_ALLOW_PRIVATE", message)


def _check_example_keys(loaded: LoadedSettings) -> Iterator[StartProblem]:
    for field in ("encryption_key", "encryption_key_previous"):
        if any(_is_predictable(bytes.fromhex(key)) for key in ring_keys(getattr(loaded.settings, field))):
            message = f"this is an example value; expected 32 random bytes as 64 hexadecimal characters; {NEW_SECRET}"
            yield _problem("ENC-KEY", field.upper(), message)


def _check_example_secret(loaded: LoadedSettings) -> Iterator[StartProblem]:
    if loaded.settings.better_auth_secret is None:
        return
    secret = loaded.settings.better_auth_secret.get_secret_value()
    wrong = ""
    if any(word in secret.lower() for word in _PLACEHOLDERS):
        wrong = "this is an example value"
    elif len(set(secret)) < MIN_DISTINCT_CHARACTERS:
        wrong = f"fewer than {MIN_DISTINCT_CHARACTERS} distinct characters"
    if wrong:
        message = f"{wrong}; expected at least 32 random characters; {NEW_SECRET}"
        yield _problem("AUTH-SECRET", "BETTER_AUTH_SECRET", message)


def _check_databases(loaded: LoadedSettings) -> Iterator[StartProblem]:
    for variable, url in _databases(loaded.settings):
        if url is None:
            continue  # refused by _check_dsns_parse
        if not url.is_encrypted:
            message = "does not require TLS; expected sslmode=verify-full; append ?sslmode=verify-full&sslrootcert=FILE"
            yield _problem("DB-TLS", variable, message)
        if url.names_public_address and not url.is_authenticated:
            message = "the host is a public address; expected a private one, or sslmode=verify-full; host=10.0.0.5"
            yield _problem("DB-EXPOSED", variable, message)
        if url.has_known_password:
            message = (
                "the password is empty, an example value or the user's name; expected a random one; "
                "generate one with: openssl rand -base64 24 (percent-encode / + = in a URI)"
            )
            yield _problem("DB-PASSWORD", variable, message)


def _check_web_url(loaded: LoadedSettings) -> Iterator[StartProblem]:
    web_url = loaded.settings.web_url
    if web_url.startswith("http://") and not is_loopback_host(origin_host(web_url)):
        yield _problem("WEB-HTTPS", "WEB_URL", "is http; expected https; WEB_URL=https://agents.example.com")


def _check_listener(loaded: LoadedSettings) -> Iterator[StartProblem]:
    settings = loaded.settings
    if not settings.trusted_proxies and not is_loopback_host(settings.api_bind_host):
        message = (
            f"{settings.api_bind_host} without TRUSTED_PROXIES; expected 127.0.0.1, or the proxy's network; "
            "TRUSTED_PROXIES=172.30.0.0/24"
        )
        yield _problem("BIND-HOST", "API_BIND_HOST", message)
    if _trusts_everyone(settings.trusted_proxies):
        message = "trusts everyone; expected the networks of the proxies; TRUSTED_PROXIES=172.30.0.0/24"
        yield _problem("BIND-HOST", "TRUSTED_PROXIES", message)


def _check_env_files(loaded: LoadedSettings) -> Iterator[StartProblem]:
    for path in _env_files(loaded):
        try:
            is_committed = is_tracked(path)
        except GitIndexUnreadable:
            continue  # said by _warn_of_files: what cannot be read is no evidence
        if is_committed:
            message = (
                "is committed; expected a file outside version control; "
                f"git rm --cached {path.name} and rotate every secret in it"
            )
            yield _problem("ENV-GIT", str(path), message)


Check = Callable[[LoadedSettings], Iterator[StartProblem]]

_ALWAYS: Final[tuple[Check, ...]] = (_check_mode, _check_secrets_exist, _check_dsns_parse, _check_high_security)
_PRODUCTION: Final[tuple[Check, ...]] = (
    _check_example_keys,
    _check_example_secret,
    _check_databases,
    _check_web_url,
    _check_listener,
    _check_env_files,
)


def _warn_of_open_doors(settings: Settings) -> Iterator[str]:
    if settings.ssrf_allow_private:
        yield "SSRF_ALLOW_PRIVATE: agents reach private, loopback, CGNAT and unique-local addresses of every name"
    if settings.catalog_extra_hosts:
        yield "CATALOG_EXTRA_HOSTS: credentials may go to hosts the built-in catalog does not know"
    if settings.catalog_dir is not None:
        yield "CATALOG_DIR: services beyond the built-in catalog are loaded"


def _warn_of_weak_choices(settings: Settings) -> Iterator[str]:
    if settings.web_url.startswith("http://") and is_loopback_host(origin_host(settings.web_url)):
        yield "WEB_URL: is http on a loopback host [WEB-HTTPS]"
    if settings.log_level == "debug":
        yield "LOG_LEVEL: debug in production"
    if settings.password_min_length < 12:
        yield "PASSWORD_MIN_LENGTH: below 12"
    if settings.two_factor_rule == "off":
        yield "REQUIRE_TWO_FACTOR: off; a password alone opens every account [SECOND-FACTOR]"
    if settings.bootstrap_secret_ttl_hours > 24:
        yield "BOOTSTRAP_SECRET_TTL_HOURS: above 24"
    if settings.agent_token_ttl_seconds > 7200:
        yield "AGENT_TOKEN_TTL_SECONDS: above 7200 s [TOKEN-TTL]"
    for network in settings.trusted_proxies:
        if network.prefixlen < _WIDEST_PROXY_PREFIX[network.version]:
            yield f"TRUSTED_PROXIES: {network} is larger than /{_WIDEST_PROXY_PREFIX[network.version]} [BIND-HOST]"
    for field, info in Settings.model_fields.items():
        if field.startswith("rate_limit_") and getattr(settings, field) > 10 * info.default:
            yield f"{field.upper()}: more than 10 times the default of {info.default} [RATE-LIMITS]"
    yield from _warn_of_databases(settings)


def _warn_of_databases(settings: Settings) -> Iterator[str]:
    for variable, url in _databases(settings):
        if url is None:
            continue
        if url.is_encrypted and not url.is_authenticated:
            yield f"{variable}: sslmode={url.sslmode} encrypts but does not authenticate; use verify-full [DB-TLS]"
        if url.has_short_password and not url.has_known_password:
            yield f"{variable}: the password is shorter than {STRONG_PASSWORD_CHARACTERS} characters [DB-PASSWORD]"


def _warn_of_files(loaded: LoadedSettings) -> Iterator[str]:
    for path in _env_files(loaded):
        try:
            if path.stat().st_mode & 0o077:
                yield f"{path}: others may read it; chmod 600 {path} [ENV-GIT]"
            is_tracked(path)
        except GitIndexUnreadable as problem:
            yield f"{path}: cannot say whether git tracks it: {problem} [ENV-GIT]"
        except OSError:
            continue  # gone since it was read: nothing is left to protect


def _env_files(loaded: LoadedSettings) -> tuple[Path, ...]:
    """The env files that were read and the `.env` beside each."""
    beside = (path.with_name(".env") for path in loaded.env_files)
    return tuple(dict.fromkeys(path for path in (*loaded.env_files, *beside) if path.exists()))


def _databases(settings: Settings) -> Iterator[tuple[str, DatabaseUrl | None]]:
    """The distinct connection strings, each under the first variable that holds it; None when unreadable."""
    seen = set()
    for field in _DATABASE_FIELDS:
        dsn: SecretStr | None = getattr(settings, field)
        if dsn is not None and dsn.get_secret_value() not in seen:
            seen.add(dsn.get_secret_value())
            yield field.upper(), read_database_url(dsn.get_secret_value())


def _trusts_everyone(networks: tuple[Network, ...]) -> bool:
    old = ipaddress.collapse_addresses(net for net in networks if isinstance(net, ipaddress.IPv4Network))
    new = ipaddress.collapse_addresses(net for net in networks if isinstance(net, ipaddress.IPv6Network))
    return any(net.prefixlen == 0 for net in old) or any(
        everyone.subnet_of(net) for net in new for everyone in _EVERYONE_IN_IPV6
    )


def _is_predictable(key: bytes) -> bool:
    """Whether a key is a short pattern repeated, or its bytes or hexadecimal digits rise by a constant step."""
    repeats = any(key == key[:size] * (len(key) // size) for size in (1, 2, 4, 8, 16))
    digits = [int(digit, 16) for digit in key.hex()]
    steps = {(right - left) % 256 for left, right in pairwise(key)}
    digit_steps = {(right - left) % 16 for left, right in pairwise(digits)}
    return repeats or len(steps) == 1 or len(digit_steps) == 1
