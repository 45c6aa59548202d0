"""What a connection string says about safety, in every form libpq understands."""

import pytest

from agenthifive.database_url import database_endpoints, read_database_url

LONG = "wB7q-Xn2Lr8_vT5kZs0m"


@pytest.mark.parametrize(
    ("text", "remote", "encrypted", "authenticated", "public"),
    [
        ("postgresql://u@localhost/db", (), True, True, False),
        ("postgresql://u@LOCALHOST/db", (), True, True, False),
        ("postgresql://u@127.0.0.2:5432/db", (), True, True, False),
        ("postgresql://u@[::1]/db", (), True, True, False),
        ("postgresql:///db?host=/run/postgresql", (), True, True, False),
        ("postgresql://%2Frun%2Fpg/db", (), True, True, False),
        ("host=@abstract dbname=db", (), True, True, False),
        ("dbname=db", (), True, True, False),
        ("postgresql://u@db1/db", ("db1",), False, False, False),
        ("postgresql://u@db1/db?sslmode=disable", ("db1",), False, False, False),
        ("postgresql://u@db1/db?sslmode=prefer", ("db1",), False, False, False),
        ("postgresql://u@db1/db?sslmode=allow", ("db1",), False, False, False),
        ("postgresql://u@db1/db?sslmode=require", ("db1",), True, False, False),
        ("postgresql://u@db1/db?ssl=true", ("db1",), True, False, False),
        ("postgresql://u@db1/db?sslmode=verify-ca", ("db1",), True, False, False),
        ("postgresql://u@db1/db?sslmode=verify-full", ("db1",), True, True, False),
        ("postgresql://u@db1/db?sslmode=verify-full&sslmode=disable", ("db1",), False, False, False),
        ("host=db1 sslmode=verify-full", ("db1",), True, True, False),
        ("postgresql://u@localhost,db2/db", ("db2",), False, False, False),
        ("postgresql://u@db1:1,db2:2/db?sslmode=verify-full", ("db1", "db2"), True, True, False),
        ("host=localhost hostaddr=8.8.8.8", ("8.8.8.8",), False, False, True),
        ("host=8.8.8.8 hostaddr=127.0.0.1", (), True, True, False),
        ("host=a,b hostaddr=,127.0.0.1", ("a",), False, False, False),
        ("hostaddr=10.0.0.5", ("10.0.0.5",), False, False, False),
        ("postgresql://u@8.8.8.8/db?sslmode=require", ("8.8.8.8",), True, False, True),
        ("postgresql://u@[2606:4700::1]/db", ("2606:4700::1",), False, False, True),
        ("host=::ffff:8.8.8.8", ("::ffff:8.8.8.8",), False, False, True),
        ("host=::ffff:10.0.0.1", ("::ffff:10.0.0.1",), False, False, False),
        ("service=main", ("service file",), False, False, False),
        ("service=main sslmode=verify-full", ("service file",), True, True, False),
        ("service=main host=localhost", (), True, True, False),
    ],
)
def test_where_it_leads_and_how(
    text: str, remote: tuple[str, ...], encrypted: bool, authenticated: bool, public: bool
) -> None:
    url = read_database_url(text)
    assert url is not None
    assert url.remote_hosts == remote
    assert (url.is_encrypted, url.is_authenticated, url.names_public_address) == (encrypted, authenticated, public)


@pytest.mark.parametrize(
    ("text", "known", "short"),
    [
        ("postgresql://agenthifive:dev-password@localhost:5432/agenthifive", True, True),
        ("postgresql://u:postgres@h/db", True, True),
        ("postgresql://u:Password@h/db", True, True),
        ("postgresql://u:agenthifive@h/db", True, True),
        ("postgresql://u:%64ev-password@h/db", True, True),
        ("postgresql://same-name-as-user-0:same-name-as-user-0@h/db", True, False),
        ("postgresql://u:@h/db", True, False),
        ("host=h user=u password=''", True, False),
        ("postgresql://u@h/db", False, False),
        ("postgresql://u@h/db?passfile=/run/pgpass", False, False),
        ("postgresql://u:short-one@h/db", False, True),
        (f"postgresql://u:{LONG}@h/db", False, False),
        (f"host=h user=u password={LONG}", False, False),
    ],
)
def test_how_it_is_guarded(text: str, known: bool, short: bool) -> None:
    url = read_database_url(text)
    assert url is not None
    assert (url.has_known_password, url.has_short_password) == (known, short)


@pytest.mark.parametrize("text", ["postgresql://u:p%zz@h/db", "foo", "postgresql://u@h/db?nonsense=1", "host='x"])
def test_what_libpq_cannot_read_is_nothing(text: str) -> None:
    assert read_database_url(text) is None


@pytest.mark.parametrize(
    ("text", "endpoints"),
    [
        ("postgresql://u@db1/db", [("db1", 5432)]),
        ("postgresql://u@localhost:6432/db", [("localhost", 6432)]),
        ("postgresql://u@[fd00::7]:6432/db", [("fd00::7", 6432)]),
        ("postgresql://u@db1:1,db2:2/db?target_session_attrs=read-write", [("db1", 1), ("db2", 2)]),
        ("host=db1,db2 port=7", [("db1", 7), ("db2", 7)]),
        ("host=db1 hostaddr=10.0.0.5 port=7", [("10.0.0.5", 7)]),
        ("host=/run/pg,db2", [("db2", 5432)]),
        ("host=db1,db2 port=7,", [("db1", 7), ("db2", 5432)]),
        ("service=main", []),
        ("dbname=db", []),
    ],
)
def test_every_database_on_a_network_is_known_by_host_and_port(text: str, endpoints: list[tuple[str, int]]) -> None:
    assert list(database_endpoints(text)) == endpoints
