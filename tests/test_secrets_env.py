"""secrets.env: made once, closed to others, only ever added to."""

import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from agenthifive.secrets_env import GENERATED_NAMES, init_secrets, read_secrets_env
from agenthifive.settings import SettingsRefused, load_settings
from agenthifive.vault.secret import Secret
from agenthifive.vault.token_keys import read_signing_key


def counting_random() -> Callable[[int], bytes]:
    """Bytes that differ at every call."""
    calls = iter(range(1, 1000))
    return lambda size: bytes([next(calls) % 256]) * (size - 1) + b"\xf7"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_everything_missing_is_made_and_closed_to_others(tmp_path: Path) -> None:
    home = tmp_path / "a/home"
    assert init_secrets(home, counting_random()) == GENERATED_NAMES
    assert (mode(home), mode(home / "secrets.env")) == (0o700, 0o600)
    assert [path.name for path in home.iterdir()] == ["secrets.env"]
    values = read_secrets_env(home)
    assert tuple(values) == GENERATED_NAMES
    assert len(set(values.values())) == len(GENERATED_NAMES)


def test_what_is_made_is_what_settings_read(tmp_path: Path) -> None:
    init_secrets(tmp_path / "home", os.urandom)
    loaded = load_settings({"AGENTHIFIVE_HOME": str(tmp_path / "home")}, cwd=tmp_path)
    made = read_secrets_env(tmp_path / "home")
    assert loaded.settings.encryption_key is not None
    assert loaded.settings.encryption_key.get_secret_value() == made["ENCRYPTION_KEY"]
    assert loaded.settings.better_auth_secret is not None
    assert loaded.settings.better_auth_secret.get_secret_value() == made["BETTER_AUTH_SECRET"]
    assert loaded.warnings == ()


def test_a_value_that_is_there_is_never_changed(tmp_path: Path) -> None:
    old = "# mine\nENCRYPTION_KEY='old key'\nBETTER_AUTH_SECRET=\nEXTRA=1"
    path = tmp_path / "secrets.env"
    path.write_text(old)
    created = init_secrets(tmp_path, counting_random())
    assert created == tuple(name for name in GENERATED_NAMES if name != "ENCRYPTION_KEY")
    assert path.read_text().startswith(old + "\n")
    values = read_secrets_env(tmp_path)
    assert (values["ENCRYPTION_KEY"], values["EXTRA"]) == ("old key", "1")
    assert values["BETTER_AUTH_SECRET"]
    before = path.read_text()
    assert init_secrets(tmp_path, counting_random()) == ()
    assert path.read_text() == before


def test_the_signing_key_signs_and_is_named_by_its_thumbprint(tmp_path: Path) -> None:
    init_secrets(tmp_path, os.urandom)
    loaded = load_settings({"AGENTHIFIVE_HOME": str(tmp_path)}, cwd=tmp_path)
    assert loaded.settings.jwt_private_key is not None
    key = read_signing_key(Secret(loaded.settings.jwt_private_key.get_secret_value()))
    assert (key.alg, key.bits, key.kid) == ("RS256", 2048, loaded.settings.jwt_kid)


@pytest.mark.parametrize("name", ["JWT_PRIVATE_KEY", "JWT_PRIVATE_KEY_FILE", "JWT_KID"])
def test_a_signing_key_and_its_name_are_made_together_or_not_at_all(name: str, tmp_path: Path) -> None:
    (tmp_path / "secrets.env").write_text(f"{name}=mine\n")
    assert not {"JWT_PRIVATE_KEY", "JWT_KID"} & set(init_secrets(tmp_path, counting_random()))
    assert read_secrets_env(tmp_path)[name] == "mine"


def test_a_pointer_to_a_file_counts_as_a_value(tmp_path: Path) -> None:
    (tmp_path / "secrets.env").write_text("ENCRYPTION_KEY_FILE=/run/secrets/key\n")
    assert "ENCRYPTION_KEY" not in init_secrets(tmp_path, counting_random())


def test_a_file_or_directory_left_open_is_closed(tmp_path: Path) -> None:
    home = tmp_path / "home"
    init_secrets(home, counting_random())
    home.chmod(0o755)
    (home / "secrets.env").chmod(0o644)
    init_secrets(home, counting_random())
    assert (mode(home), mode(home / "secrets.env")) == (0o700, 0o600)


@pytest.mark.parametrize("bits", [0o770, 0o707, 0o1777])
def test_a_directory_others_may_write_into_is_refused(bits: int, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(bits)
    with pytest.raises(SettingsRefused, match="others may write into it"):
        init_secrets(home, counting_random())
    assert mode(home) == bits
    assert not list(home.iterdir())


def test_a_file_that_is_no_env_file_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "secrets.env").write_text("canary secret\n")
    with pytest.raises(SettingsRefused) as refused:
        init_secrets(tmp_path, counting_random())
    assert "canary" not in str(refused.value)
    assert (tmp_path / "secrets.env").read_text() == "canary secret\n"
    with pytest.raises(SettingsRefused):
        read_secrets_env(tmp_path)


def test_a_home_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    with pytest.raises(SettingsRefused, match="cannot be used"):
        init_secrets(tmp_path / "home", counting_random())


def test_no_file_means_no_secrets(tmp_path: Path) -> None:
    assert dict(read_secrets_env(tmp_path / "absent")) == {}


def test_several_starts_at_once_agree_on_one_set(tmp_path: Path) -> None:
    home = tmp_path / "home"
    gate, created = threading.Barrier(8), []

    def start() -> None:
        gate.wait()
        created.append(init_secrets(home, os.urandom))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(created, key=len) == [()] * 7 + [GENERATED_NAMES]
    assert tuple(read_secrets_env(home)) == GENERATED_NAMES


def test_a_key_of_a_key_service_is_not_made_here(tmp_path: Path) -> None:
    created = init_secrets(tmp_path, lambda size: bytes(range(1, size + 1)), has_key_service=True)
    assert "ENCRYPTION_KEY" not in created
    assert "BETTER_AUTH_SECRET" in created
    assert "ENCRYPTION_KEY" not in read_secrets_env(tmp_path)
