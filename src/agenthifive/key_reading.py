"""From the settings to the keys: the one place that knows where a mode keeps them.

`env`: ENCRYPTION_KEY and ENCRYPTION_KEY_PREVIOUS are the keys. Read at start and whenever keys are loaded again, by the
server and by the commands. Source: contract/operations.md sections 1.3 and 1.4.
"""

from agenthifive.settings import Settings
from agenthifive.vault.keyring import Keyring


def read_keyring(settings: Settings) -> Keyring:
    """The keys of the settings. Raises: ValueError naming the variable."""
    active = settings.encryption_key
    previous = settings.encryption_key_previous
    return Keyring.parse(
        active.get_secret_value() if active is not None else "",
        previous.get_secret_value() if previous is not None else "",
    )
