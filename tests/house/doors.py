"""The doors of the house: what may be done in a few files only, and why in these."""

from collections.abc import Mapping

ENVIRONMENT: Mapping[str, str] = {
    "__main__.py": "hands the process environment to the command line, once",
}

REVEAL: Mapping[str, str] = {
    "vault/secret.py": "defines it, and compares two secrets in constant time",
    "vault/keyring.py": "seals",
    "vault/canary.py": "checks that a key opens what it once sealed",
    "vault/signing.py": "signs with an Ed25519 seed",
    "vault/key_backup.py": "makes a key of a passphrase",
    "people/totp.py": "works out the codes of an authenticator app",
    "broker/outbound.py": "puts the credential into the request that leaves",
    "broker/idempotency.py": "a stored reply is sealed like a credential; it is opened to be answered again",
    "connections/probes.py": "a credential is tried at its provider before and after it is stored",
}

SETTING_VALUES: Mapping[str, str] = {
    "settings_values.py": "checks the values it has read",
    "production.py": "refuses example and weak values in production",
    "app.py": "hands the keys to the keyring",
    "people/assembly.py": "hands the cookie secret to the people room",
    "operations/api.py": "compares the bearer token of /metrics",
    "cli/database.py": "hands the connection strings to the database",
    "cli/key_backup.py": "puts keys and secrets into their encrypted copy",
}
"""Where `get_secret_value()` of a secret setting is called."""

SOCKETS: Mapping[str, str] = {
    "broker/egress.py": "the one way out: resolves, judges and dials",
    "operations/server.py": "the listener, and the datagram to systemd",
    "cli/client.py": "the command line as a user of a server",
    "cli/demo_instance.py": "asks the kernel for a free port on loopback",
    "cli/demo_provider.py": "the provider of the demonstration listens on loopback",
}
SOCKET_CALLS = frozenset(
    {
        "socket.socket", "socket.create_connection", "socket.create_server", "socket.socketpair", "socket.fromfd",
        "socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyname_ex", "socket.getnameinfo",
        "http.client.HTTPConnection", "http.client.HTTPSConnection",
        "asyncio.open_connection", "asyncio.start_server", "asyncio.open_unix_connection",
        "asyncio.start_unix_server", "asyncio.create_datagram_endpoint",
    }
)  # fmt: skip
SOCKET_METHODS = frozenset(
    {"create_connection", "create_server", "create_datagram_endpoint", "create_unix_connection", "sock_connect",
     "getaddrinfo", "getnameinfo", "open_connection"}
)  # fmt: skip
SOCKET_MODULES = frozenset(
    {"http.client", "urllib.request", "http.server", "socketserver", "ftplib", "smtplib", "imaplib", "poplib",
     "telnetlib", "nntplib", "xmlrpc", "httpx", "requests", "aiohttp", "urllib3", "websockets", "dns"}
)  # fmt: skip

TLS: Mapping[str, str] = {
    "broker/egress.py": "TLS to providers",
    "cli/client.py": "TLS to a server",
    "settings_values.py": "checks that EGRESS_CA_BUNDLE holds certificates",
    "cli/serving.py": "names the failure of a bad certificate bundle",
}

COMMIT: Mapping[str, str] = {
    "db/unit.py": "a request or job ends",
    "audit/chains.py": "the rows of a unit become part of the log with its transaction",
    "db/database.py": "the session settings of a fresh connection",
}

PROGRAMS: Mapping[str, str] = {
    "db/embedded.py": "runs the embedded PostgreSQL",
    "db/programs.py": "runs pg_dump, pg_restore and psql",
    "operations/backup.py": "reads what pg_restore unpacks, waits for pg_dump",
    "operations/restore.py": "feeds pg_restore",
    "cli/demo_instance.py": "runs the instance of the demonstration",
}

CATCH_ALL: Mapping[str, str] = {
    "operations/jobs.py": "a job's defect must not end its timer",
    "operations/health.py": "whatever went wrong, the answer is that the check failed",
}
"""Files that may catch every Exception without raising it again."""
