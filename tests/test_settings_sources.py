"""Where a setting comes from: the order of the places, files, names that look like mistakes."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agenthifive.settings import LoadedSettings, SettingsRefused, load_settings
from agenthifive.settings_later import LATER_NAMES
from agenthifive.settings_sources import Place, find_near_misses, is_within_distance, parse_env, replace_entry

SECRET = "k3Yq8-vN1x_Zb5Rt7Lm0Wp4Sd9Gh2Jc6"
OTHER_SECRET = "Zz3Yq8-vN1x_Zb5Rt7Lm0Wp4Sd9Gh2Jc"
HERE = Path("file.env")


class House:
    """A user's home, a working directory and a data directory, and settings loaded among them."""

    def __init__(self, root: Path) -> None:
        self.root, self.cwd, self.data = root, root / "work", root / ".local/share/agenthifive"
        self.cwd.mkdir()
        self.data.mkdir(parents=True)

    def load(self, env_file: Path | None = None, **environ: str) -> LoadedSettings:
        return load_settings({"HOME": str(self.root), **environ}, env_file, self.cwd)

    def problems(self, env_file: Path | None = None, **environ: str) -> tuple[str, ...]:
        with pytest.raises(SettingsRefused) as refused:
            self.load(env_file, **environ)
        return refused.value.problems


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_each_place_yields_to_the_one_above_it(house: House) -> None:
    """process environment > NAME_FILE > env file > secrets.env > default"""
    seen = [house.load()]
    (house.data / "secrets.env").write_text("API_PORT=1001\n")
    seen.append(house.load())
    (house.cwd / ".env").write_text("API_PORT=1002\n")
    seen.append(house.load())
    (house.cwd / "port").write_text("1003\n")
    seen.append(house.load(API_PORT_FILE="port"))
    seen.append(house.load(API_PORT="1004"))
    assert [loaded.settings.api_port for loaded in seen] == [4000, 1001, 1002, 1003, 1004]
    assert [loaded.sources["API_PORT"] for loaded in seen] == [
        "default",
        str(house.data / "secrets.env"),
        str(house.cwd / ".env"),
        f"file {house.cwd / 'port'}",
        "process environment",
    ]
    assert seen[-1].env_files == (house.cwd / ".env", house.data / "secrets.env")


def test_one_env_file_counts(house: House) -> None:
    """--env-file, else ./.env, else $AGENTHIFIVE_HOME/.env"""
    (house.data / ".env").write_text("API_PORT=1001\n")
    assert house.load().settings.api_port == 1001
    (house.cwd / ".env").write_text("LOG_LEVEL=error\n")
    assert house.load().settings.api_port == 4000
    (house.cwd / "given").write_text("API_PORT=1003\n")
    given = house.load(Path("given")).settings
    assert (given.api_port, given.log_level) == (1003, "info")


def test_the_data_directory_may_be_named_by_either_place(house: House) -> None:
    elsewhere = house.root / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "secrets.env").write_text("API_PORT=1001\n")
    (elsewhere / ".env").write_text("LOG_LEVEL=error\n")
    loaded = house.load(AGENTHIFIVE_HOME="../elsewhere/")
    assert (loaded.settings.api_port, loaded.settings.log_level) == (1001, "error")
    (house.cwd / ".env").write_text("AGENTHIFIVE_HOME=~/elsewhere\n")
    loaded = house.load()
    assert (loaded.settings.api_port, loaded.settings.agenthifive_home) == (1001, elsewhere)


def test_an_empty_value_is_no_value(house: House) -> None:
    (house.cwd / ".env").write_text("API_PORT=1001\nLOG_LEVEL=\n")
    loaded = house.load(API_PORT="", API_PORT_FILE="", LOG_LEVEL="")
    assert (loaded.settings.api_port, loaded.settings.log_level) == (1001, "info")


def test_an_empty_file_sets_nothing_and_is_said(house: House) -> None:
    (house.cwd / "empty").write_text("\n")
    loaded = house.load(METRICS_TOKEN_FILE="empty")
    assert loaded.settings.metrics_token is None
    assert loaded.warnings == (f"METRICS_TOKEN_FILE: {house.cwd / 'empty'} is empty, so it sets nothing",)


@pytest.mark.parametrize(("content", "kept"), [("x", ""), ("x\n", ""), ("x\r\n", ""), ("x\n\n", "\n"), ("x ", " ")])
def test_one_trailing_newline_of_a_file_is_removed(content: str, kept: str, house: House) -> None:
    (house.cwd / "secret").write_bytes((SECRET + content).encode())
    if kept == "\n":
        assert "cannot be printed" in house.problems(BETTER_AUTH_SECRET_FILE="secret")[0]
        return
    secret = house.load(BETTER_AUTH_SECRET_FILE="secret").settings.better_auth_secret
    assert secret is not None
    assert secret.get_secret_value() == f"{SECRET}x{kept}"


def test_a_name_and_its_file_in_one_place_are_refused(house: House) -> None:
    (house.cwd / "port").write_text("1003")
    (line,) = house.problems(API_PORT="1004", API_PORT_FILE="port")
    assert line.startswith("API_PORT: API_PORT and API_PORT_FILE are both set in the process environment; expected")
    (house.cwd / ".env").write_text("LOG_LEVEL=info\nLOG_LEVEL_FILE=port\n")
    (line,) = house.problems()
    assert line.startswith("LOG_LEVEL: ")


@pytest.mark.parametrize("make", ["missing", "directory", "binary", "huge"])
def test_a_file_that_cannot_be_read_is_refused(make: str, house: House) -> None:
    target = house.cwd / "target"
    if make == "directory":
        target.mkdir()
    elif make == "binary":
        target.write_bytes(b"\xff\xfe")
    elif make == "huge":
        target.write_bytes(b"x" * (256 * 1024 + 1))
    (line,) = house.problems(API_PORT_FILE="target")
    assert line.startswith(f"API_PORT_FILE: {target} ")
    if make != "missing":
        assert len(house.problems(Path("target"))) == 1


def test_an_env_file_that_was_asked_for_must_exist(house: House) -> None:
    assert house.problems(Path("absent"))[0].startswith(f"--env-file: {house.cwd / 'absent'} does not exist")


def test_an_env_file_that_exists_but_cannot_be_read_never_yields_to_another(house: House) -> None:
    (house.cwd / ".env").mkdir()
    (house.data / ".env").write_text("API_PORT=1001\n")
    (line,) = house.problems()
    assert line.startswith(f"{house.cwd / '.env'}: cannot be read")


def test_the_session_secret_has_two_names_and_one_value(house: House) -> None:
    (house.data / "secrets.env").write_text(f"BETTER_AUTH_SECRET={OTHER_SECRET}\n")
    (house.cwd / ".env").write_text(f"SESSION_SECRET={SECRET}\n")
    loaded = house.load()
    assert loaded.settings.better_auth_secret is not None
    assert loaded.settings.better_auth_secret.get_secret_value() == SECRET
    assert loaded.sources["BETTER_AUTH_SECRET"] == f"{house.cwd / '.env'} (SESSION_SECRET)"
    assert house.load(BETTER_AUTH_SECRET=SECRET).settings == loaded.settings
    (line,) = house.problems(BETTER_AUTH_SECRET=OTHER_SECRET)
    assert line.startswith("BETTER_AUTH_SECRET: SESSION_SECRET, its other name, is set to a different value")
    assert house.problems(SESSION_SECRET="short")[0].startswith("SESSION_SECRET: 5 characters")


def test_a_home_without_any_home_directory_must_be_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def no_entry(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr("pwd.getpwuid", no_entry)
    with pytest.raises(SettingsRefused) as refused:
        load_settings({}, cwd=tmp_path)
    assert refused.value.problems[0].startswith("AGENTHIFIVE_HOME: not set, and this user has no home directory")
    assert load_settings({"AGENTHIFIVE_HOME": str(tmp_path)}, cwd=tmp_path).settings.agenthifive_home == tmp_path


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("API_PRT", "API_PORT"),
        ("WEBURL", "WEB_URL"),
        ("ENCRYPTON_KEYS", "ENCRYPTION_KEY"),
        ("ENCRYPTION_KEY_FIL", "ENCRYPTION_KEY_FILE"),
        ("api_port", "API_PORT"),
        ("DB_POOL_MAY", "DB_POOL_MAX"),
        ("SESION_SECRET", "SESSION_SECRET"),
    ],
)
def test_a_name_that_nearly_is_a_setting_is_warned_about(name: str, meant: str, house: House) -> None:
    expected = (f"{name} is not a setting; did you mean {meant}?",)
    assert house.load(**{name: "x"}).warnings == expected
    (house.cwd / ".env").write_text(f"{name}=x\n")
    assert house.load().warnings == expected


@pytest.mark.parametrize("name", ["PATH", "HOSTNAME", "WEB_JWKS", "PORT", "AGENTHIFIVE_DB_APP_PASSWORD", "LC_ALL"])
def test_other_names_are_nobodys_business(name: str, house: House) -> None:
    assert house.load(**{name: "x"}).warnings == ()


def test_a_setting_of_a_later_release_is_warned_about_once(house: House) -> None:
    (house.cwd / ".env").write_text("VAPID_SUBJECT=mail\n")
    loaded = house.load(VAPID_SUBJECT="mail", VAPID_PRIVATE_KEY_FILE="/run/x", AUDIT_ANCHOR_FILE="/x", AUDIT_SINK="")
    assert loaded.warnings == tuple(
        f"{name} is not used by this version"
        for name in ("AUDIT_ANCHOR_FILE", "VAPID_PRIVATE_KEY_FILE", "VAPID_SUBJECT")
    )
    assert "QUICK_ACTIONS" in LATER_NAMES


def test_a_name_set_twice_in_an_env_file_is_warned_about(house: House) -> None:
    (house.cwd / ".env").write_text("API_PORT=1001\nexport API_PORT=1002\n")
    loaded = house.load()
    assert loaded.settings.api_port == 1002
    assert loaded.warnings == (f"API_PORT is set more than once in {house.cwd / '.env'}; the last one counts",)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("A=x", "x"),
        ("  export A = x y  \r\n", "x y"),
        ("A=x # comment", "x"),
        ("A=x#y", "x#y"),
        ("A=", ""),
        ("A= # comment", ""),
        ("A='x # \"y\" \\n'", 'x # "y" \\n'),
        ('A="x # \\"y\\" \\\\ \\$Z \\q" # comment', 'x # "y" \\ $Z \\q'),
        ('A="one\\ntwo"', "one\ntwo"),
        ('A="one\ntwo"', "one\ntwo"),
        ("A=$HOME/${X}`id`", "$HOME/${X}`id`"),
        ('A=x"y', 'x"y'),
        ("# only\n\n\t\nA=x", "x"),
    ],
)
def test_an_env_file_is_read_without_expanding_anything(text: str, value: str) -> None:
    assert parse_env(text, HERE) == {"A": value}


@pytest.mark.parametrize(
    "text", ["A", "A x", "1A=x", "A=#x", "A='x", 'A="x', "A='x'y", "=x", "A=x\rB=y", "-A=x", "A-B=x"]
)
def test_a_line_that_is_no_entry_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(SettingsRefused) as refused:
        parse_env(f"\nOK=1\n{text}\n", HERE)
    assert refused.value.problems[0] == "file.env: line 3 is not an entry; expected NAME=value; API_PORT=4000"


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\r\n'"), max_size=60))
def test_any_text_survives_single_quotes(value: str) -> None:
    assert parse_env(f"A='{value}'\nB=1\n", HERE) == {"A": value, "B": "1"}


@given(st.text(max_size=80))
def test_any_text_is_read_or_refused(content: str) -> None:
    try:
        entries = parse_env(content, HERE)
    except SettingsRefused:
        return
    assert all(name.isidentifier() for name in entries)


@given(st.text(alphabet="ab", max_size=7), st.text(alphabet="ab", max_size=7), st.integers(0, 3))
def test_the_edit_distance_is_the_shortest(one: str, other: str, limit: int) -> None:
    reachable = {one}
    for _ in range(limit):
        reachable |= {
            changed
            for text in reachable
            for i in range(len(text) + 1)
            for changed in (text[:i] + text[i + 1 :], *(text[:i] + c + text[j:] for c in "ab" for j in (i, i + 1)))
        }
    assert is_within_distance(one, other, limit) == (other in reachable)


@given(st.sampled_from(["API_PORT", "RATE_LIMIT_TOKEN_PER_MINUTE"]), st.data())
def test_no_near_miss_is_lost_to_the_quick_filter(name: str, data: st.DataObject) -> None:
    text = list(name)
    for _ in range(2):
        text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.sampled_from("QZX_9"))
    misspelled = "".join(text)
    place = Place("here", {misspelled: "x"})
    assert bool(list(find_near_misses([place], [name], []))) == (misspelled != name)


@pytest.mark.parametrize(
    ("content", "changed"),
    [
        ("", "KEY=new\n"),
        ("A=1", "A=1\nKEY=new\n"),
        ("# KEY=old\nKEY=old\nB=2\n", "# KEY=old\nKEY=new\nB=2\n"),
        ("export KEY='two\nlines' # why\nB=2", "KEY=new\nB=2"),
        ("KEY=first\nKEY=last\n", "KEY=first\nKEY=new\n"),
        ('TEXT="\nKEY=inside\n"\nKEY=old\n', 'TEXT="\nKEY=inside\n"\nKEY=new\n'),
    ],
)
def test_the_entry_that_counts_is_replaced_and_nothing_else(content: str, changed: str) -> None:
    assert replace_entry(content, "KEY", "new") == changed
    assert parse_env(changed, Path("env"))["KEY"] == "new"
