"""One strict reading for each kind of setting: what is accepted, and under which words the rest is refused."""

import ipaddress
import string
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from agenthifive.settings import Settings, SettingsRefused, load_settings
from agenthifive.settings_values import is_loopback_host, loopback_twin, read_encryption_keys, read_origin, ring_keys


def certificate() -> bytes:
    """A self-signed certificate in PEM."""
    key = ed25519.Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "private root")])
    start = datetime(2026, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, start, start + timedelta(days=9999))
    return builder.sign(key, None).public_bytes(serialization.Encoding.PEM)


def load(home: Path, **environ: str) -> Settings:
    return load_settings({"HOME": str(home), **environ}, cwd=home).settings


def refusal(home: Path, **environ: str) -> str:
    with pytest.raises(SettingsRefused) as refused:
        load(home, **environ)
    (line,) = refused.value.problems
    return line


@pytest.mark.parametrize(
    "origin",
    [
        "http://localhost:4000",
        "https://example.com",
        "https://a-b.xn--bcher-kva.example:8443",
        "http://10.0.0.1:8080",
        "https://[2606:4700::1111]:8443",
        "http://example.com:443",
        "https://x",
    ],
)
def test_a_bare_origin_is_kept_as_it_is(origin: str) -> None:
    assert read_origin(origin) == origin


@pytest.mark.parametrize(
    ("origin", "wrong"),
    [
        ("https://example.com/", "has a trailing slash"),
        ("https://example.com/app", "has a path"),
        ("https://example.com//", "has a path"),
        ("https://example.com?x=1", "has a query or fragment"),
        ("https://example.com/?x=1", "has a query or fragment"),
        ("https://example.com#x", "has a query or fragment"),
        ("https://user@example.com", "holds user information"),
        ("https://user:pass@example.com/", "holds user information"),
        ("https://Example.com", "has upper-case letters"),
        ("HTTPS://example.com", "has upper-case letters"),
        ("https://example.com:443", "names the default port"),
        ("http://example.com:80", "names the default port"),
        ("https://example.com:65536", "port above 65535"),
        ("https://example.com:0443", "the host or port is malformed"),
        ("https://example.com:", "the host or port is malformed"),
        ("https://", "the host or port is malformed"),
        ("https://example.com.", "the host or port is malformed"),
        ("https://-a.example.com", "the host or port is malformed"),
        ("https://a..example.com", "the host is not a name"),
        ("https://a-.example.com", "the host is not a name"),
        ("https://" + "a" * 64 + ".com", "the host is not a name"),
        ("https://bücher.example", "the host or port is malformed"),
        ("https://exam ple.com", "the host or port is malformed"),
        ("https://127.1", "not an IP address"),
        ("https://0177.0.0.1", "not an IP address"),
        ("https://2130706433", "not an IP address"),
        ("https://0x7f.0.0.0x1", "not an IP address"),
        ("https://[2606:4700:0::1111]", "an IP address in an unusual spelling"),
        ("https://[::1%25eth0]", "the host or port is malformed"),
        ("ftp://example.com", "does not begin with http:// or https://"),
        ("example.com", "does not begin with http:// or https://"),
        ("//example.com", "does not begin with http:// or https://"),
        ("https://example.com\n", "the host or port is malformed"),
    ],
)
def test_an_origin_with_anything_else_is_refused_by_name(origin: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        read_origin(origin)


@given(st.text(alphabet=string.printable, max_size=40))
def test_whatever_counts_as_an_origin_survives_a_url_parser_unchanged(tail: str) -> None:
    """Links are built as origin + path: no accepted origin may end up in another part of the URL."""
    try:
        origin = read_origin(f"https://{tail}")
    except ValueError:
        return
    assert set(origin.removeprefix("https://")) <= set(string.ascii_lowercase + string.digits + ".-:[]")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.255.255.254", "::1", "[::1]"])
def test_loopback_hosts(host: str) -> None:
    assert is_loopback_host(host)


@pytest.mark.parametrize(
    "host", ["localhost.", "a.localhost", "localhost.example.com", "128.0.0.1", "::2", "", "127.1"]
)
def test_hosts_that_only_look_like_loopback(host: str) -> None:
    assert not is_loopback_host(host)


def test_the_twin_keeps_scheme_and_port() -> None:
    assert loopback_twin("https://localhost:8443") == "https://127.0.0.1:8443"
    assert loopback_twin("http://127.0.0.1") == "http://localhost"
    assert loopback_twin("http://127.0.0.2") is None
    assert loopback_twin("http://localhost.example.com") is None


@given(st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=8, unique=True))
def test_keys_come_back_in_order_whatever_blanks_surround_them(keys: list[bytes]) -> None:
    text = " , ".join(key.hex() for key in keys)
    assert ring_keys(read_encryption_keys(text)) == tuple(key.hex() for key in keys)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("a" * 63, "63 characters"),
        ("a" * 63 + "g", "64 characters, not all hexadecimal"),
        ("a" * 64 + "," + "b" * 65, "key 2 of the list has 65 characters"),
        (",", "holds no key"),
        ("0x" + "a" * 62, "not all hexadecimal"),
        ("١" * 64, "not all hexadecimal"),
    ],
)
def test_a_key_is_64_hexadecimal_characters(text: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        read_encryption_keys(text)


def test_lists_are_split_at_commas(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        TRUSTED_PROXIES="10.1.0.0/24, 192.0.2.7,2001:db8::/32",
        CORS_ORIGINS="https://a.example, https://b.example:8443",
        AGENT_TOKEN_AUDIENCE="https://old.example/v1,urn:x",
        ALLOW_INSECURE="DB-TLS,ENV-GIT",
    )
    assert settings.trusted_proxies == tuple(
        ipaddress.ip_network(text) for text in ("10.1.0.0/24", "192.0.2.7/32", "2001:db8::/32")
    )
    assert settings.cors_origins == ("https://a.example", "https://b.example:8443")
    assert settings.agent_token_audience == ("https://old.example/v1", "urn:x")
    assert settings.allow_insecure == ("DB-TLS", "ENV-GIT")


@pytest.mark.parametrize(
    ("name", "value", "wrong"),
    [
        ("TRUSTED_PROXIES", "10.1.0.1/24", "entry 1 is not a network"),
        ("TRUSTED_PROXIES", "10.1.0.0/24,proxy", "entry 2 is not a network"),
        ("TRUSTED_PROXIES", "*", "entry 1 is not a network"),
        ("CORS_ORIGINS", "*", "entry 1: does not begin with"),
        ("CORS_ORIGINS", "https://a.example,https://b.example/", "entry 2: has a trailing slash"),
        ("CORS_ORIGINS", "null", "entry 1: does not begin with"),
        ("API_BIND_HOST", "localhost", "not an IP address"),
        ("API_BIND_HOST", "0", "not an IP address"),
        ("API_BIND_HOST", "127.000.000.001", "not an IP address"),
        ("API_BIND_HOST", "fe80::1%eth0", "unusual spelling"),
        ("API_INTERNAL_URL", "http://api:4000/v1", "has a path"),
        ("ALLOW_INSECURE", "ENC-KEY", "cannot be overridden"),
        ("ALLOW_INSECURE", "db-tls", "cannot be overridden"),
        ("ALLOW_INSECURE", "*", "cannot be overridden"),
        ("BETTER_AUTH_SECRET", "x" * 31, "31 characters"),
        ("METRICS_TOKEN", "x" * 23, "23 characters"),
        ("LOG_FORMAT", "xml", "unknown word"),
        ("API_DOCS", "Public", "unknown word"),
        ("AH5_ENV", "staging", "unknown word"),
        ("DATABASE_URL", "postgresql+psycopg://h/db", "names a driver"),
        ("DATABASE_URL", "postgres+asyncpg://h/db", "names a driver"),
        ("DATABASE_URL", "mysql://h/db", "not a PostgreSQL connection string"),
        ("DATABASE_URL", "/var/run/postgresql", "not a PostgreSQL connection string"),
        ("BUILD_NUMBER", "1\r\nX: y", "cannot be printed"),
        ("WEB_URL", "https://a.example\udcff", "cannot be printed"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_wrong(name: str, value: str, wrong: str, tmp_path: Path) -> None:
    line = refusal(tmp_path, **{name: value})
    assert line.startswith(f"{name}: ")
    assert wrong in line
    assert "; expected " in line


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("EGRESS_CA_BUNDLE", lambda path: None),
        ("EGRESS_CA_BUNDLE", lambda path: path.write_text("")),
        ("EGRESS_CA_BUNDLE", lambda path: path.write_text("no certificate here\n")),
        ("EGRESS_CA_BUNDLE", lambda path: path.mkdir()),
        (
            "SSL_CERT_FILE",
            lambda path: path.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
        ),
        ("CATALOG_DIR", lambda path: path.write_text("a file")),
        ("CATALOG_DIR", lambda path: None),
        ("AGENTHIFIVE_HOME", lambda path: path.write_text("a file")),
    ],
)
def test_a_path_must_lead_to_what_it_is_for(name: str, make: Callable[[Path], object], tmp_path: Path) -> None:
    make(tmp_path / "target")
    assert refusal(tmp_path, **{name: "target"}).startswith(f"{name}: ")


def test_ssl_cert_file_counts_only_when_our_own_name_is_unset(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(certificate())
    assert load(tmp_path, SSL_CERT_FILE=str(bundle)).egress_ca_bundle == bundle
    assert load(tmp_path, EGRESS_CA_BUNDLE="bundle.pem", SSL_CERT_FILE="/nonexistent").egress_ca_bundle == bundle
    assert load(tmp_path).egress_ca_bundle is None
