"""The doors of the house: what may be done in a few files only, and why in these."""

from collections.abc import Mapping

ENVIRONMENT: Mapping[str, str] = {
    "__main__.py": "hands the process environment to the command line, once",
}

REVEAL: Mapping[str, str] = {
    "vault/secret.py": "defines it, and compares two secrets in constant time",
    "vault/keyring.py": "seals",
    "vault/canary.py": "checks that a key opens what it once sealed",
    "vault/kms/vault_transit.py": "signs in to Vault",
    "vault/signing.py": "signs with an Ed25519 seed",
    "vault/key_backup.py": "makes a key of a passphrase",
    "vault/token_keys.py": "reads the key that signs tokens",
    "secrets_env.py": "writes a fresh signing key into the file of secrets",
    "cli/jwt.py": "prints a fresh signing key, once",
    "people/totp.py": "works out the codes of an authenticator app",
    "broker/outbound.py": "puts the credential into the request that leaves",
    "broker/idempotency.py": "a stored reply is sealed like a credential; it is opened to be answered again",
    "connections/probes.py": "a credential is tried at its provider before and after it is stored",
}

SETTING_VALUES: Mapping[str, str] = {
    "settings_values.py": "checks the values it has read",
    "settings_keys.py": "the same, for wrapped keys",
    "production.py": "refuses example and weak values in production",
    "production_tokens.py": "the same",
    "app.py": "reads the addresses of our own databases, which no call may reach",
    "key_reading.py": "hands the keys to the keyring, wrapped ones and sign-ins to the key services",
    "people/assembly.py": "hands the cookie secret to the people room",
    "notify/assembly.py": "hands the password of the mail server to the relay",
    "jwt/assembly.py": "hands the signing key to the tokens",
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
    "vault/kms/gcp_kms.py": "a key service; names the failures of what its client library sends with",
    "vault/kms/vault_transit.py": "the same",
}
KEY_SERVICES: Mapping[str, str] = {
    "vault/kms/azure_kv.py": "Azure Key Vault, and the identity endpoint of the cloud",
    "vault/kms/aws_kms.py": "AWS KMS, and the identity endpoint of the cloud",
    "vault/kms/gcp_kms.py": "Google Cloud KMS, and the identity endpoint of the cloud",
    "vault/kms/vault_transit.py": "the Vault of VAULT_ADDR",
}
"""The exception to the one way out: client libraries of key services open sockets of their own. They run before the
port opens, when keys are loaded again and in the command line, never for a call; the list of what may import them is
kept by tests/house/test_doors.py."""
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
