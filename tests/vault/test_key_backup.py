"""The encrypted copy of the keys: only its passphrase opens it, and only as it was written."""

import json
from hashlib import sha256

import pytest

from agenthifive.vault.key_backup import KeyBackupError, Keys, read_key_backup, write_key_backup
from agenthifive.vault.secret import Secret

PASSPHRASE = Secret("orchid lantern gravel")
RING = ["5f" * 15 + "a1" * 17, "0b" * 15 + "c4" * 17]
KEYS = Keys(
    ring=RING,
    sign_in_secret='a secret with "quotes" and $ signs',
    jwt_private_key="-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----\n",
    jwt_kid="2026-11",
    created_at="2026-11-23T15:00:01.250Z",
)


def _counting(size: int) -> bytes:
    return bytes(range(size))


@pytest.fixture(scope="module")
def file() -> bytes:
    return write_key_backup(KEYS, PASSPHRASE, _counting)


def test_what_was_written_is_read(file: bytes) -> None:
    assert read_key_backup(file, PASSPHRASE) == KEYS


def test_the_file_has_the_members_of_the_format_and_no_key(file: bytes) -> None:
    members = json.loads(file)
    kids = [sha256(bytes.fromhex(key)).hexdigest()[:16] for key in RING]
    assert members.pop("ciphertext")
    assert members.pop("tag")
    assert members == {
        "format": "agenthifive-key-backup", "v": 1, "kdf": "scrypt", "n": 131072, "r": 8, "p": 1,
        "salt": "AAECAwQFBgcICQoLDA0ODw", "iv": "AAECAwQFBgcICQoL", "kids": kids,
        "createdAt": "2026-11-23T15:00:01.250Z",
    }  # fmt: skip
    assert [each for each in (*RING, "quotes", "PRIVATE") if each.encode() in file] == []


def test_no_key_is_shown_by_accident() -> None:
    assert repr(KEYS) == "Keys(***)"


def test_each_file_has_its_own_salt_and_iv() -> None:
    drawn: list[int] = []

    def draw(size: int) -> bytes:
        drawn.append(size)
        return bytes(size)

    write_key_backup(KEYS, PASSPHRASE, draw)
    assert drawn == [16, 12]


def test_another_passphrase_does_not_open_it(file: bytes) -> None:
    with pytest.raises(KeyBackupError, match="passphrase is wrong"):
        read_key_backup(file, Secret("orchid lantern Gravel"))


@pytest.mark.parametrize("member", ["salt", "iv", "ciphertext", "tag"])
def test_a_changed_byte_is_found(file: bytes, member: str) -> None:
    members = json.loads(file)
    text = members[member]
    members[member] = ("A" if text[3] != "A" else "B").join((text[:3], text[4:]))
    with pytest.raises(KeyBackupError):
        read_key_backup(json.dumps(members).encode(), PASSPHRASE)


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("format", "agenthifive-backup"), ("v", 2), ("kdf", "argon2id"), ("n", 2), ("n", 2**30), ("r", 1), ("p", 9),
        ("salt", "AAEC"), ("salt", "====" * 5), ("iv", ""), ("tag", "AAEC"), ("more", 1), ("ciphertext", None),
    ],
)  # fmt: skip
def test_another_format_is_refused_before_any_work(file: bytes, member: str, value: object) -> None:
    with pytest.raises(KeyBackupError) as caught:
        read_key_backup(json.dumps({**json.loads(file), member: value}).encode(), PASSPHRASE)
    assert "passphrase" not in str(caught.value)


@pytest.mark.parametrize(("member", "value"), [("kids", ["0" * 16]), ("createdAt", "2027-01-01T00:00:00.000Z")])
def test_what_stands_outside_must_be_what_is_inside(file: bytes, member: str, value: object) -> None:
    with pytest.raises(KeyBackupError, match="was changed"):
        read_key_backup(json.dumps({**json.loads(file), member: value}).encode(), PASSPHRASE)


@pytest.mark.parametrize("content", [b"", b"{}", b"not json", b"[1]", b"\xff\xfe"])
def test_any_other_file_is_refused(content: bytes) -> None:
    with pytest.raises(KeyBackupError):
        read_key_backup(content, PASSPHRASE)


def test_a_short_passphrase_is_refused() -> None:
    with pytest.raises(ValueError, match="14 characters"):
        write_key_backup(KEYS, Secret("thirteen char"), _counting)
