"""Credentials as the server seals them, for commands about keys and backups."""

from agenthifive.ids import new_id
from agenthifive.vault.keyring import Keyring
from cli.stage import KEY, Ground

OTHER_KEY = "0b" * 15 + "c4" * 17


def add_connection(ground: Ground, workspace_id: str, key: str = KEY) -> str:
    """A sealed credential."""
    connection_id = new_id()
    sealed = Keyring.parse(key, "").seal(b'{"token":"x"}', "t_connections", "encrypted_tokens", connection_id,
                                         workspace_id)  # fmt: skip
    ground.ask(
        "INSERT INTO t_connections (id, workspace_id, provider, service, variant, label, status, encrypted_tokens,"
        " encrypted_tokens_kid) VALUES (%s, %s, 'http', 'generic-http', 'bearer', 'Works', 'healthy', %s, %s)",
        connection_id, workspace_id, sealed.text, sealed.kid,
    )  # fmt: skip
    return connection_id
