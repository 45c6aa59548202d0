"""Endless fuzzing of the URL parser with coverage feedback; not part of the test run.

    python3 -m venv /tmp/fuzz && /tmp/fuzz/bin/pip install atheris .
    /tmp/fuzz/bin/python tests/broker/fuzz_target.py -max_len=512 -max_total_time=60

Any input must be refused with InvalidUrl or have one canonical form that two parsers agree on.
"""

import sys
from contextlib import suppress
from urllib.parse import urlsplit

BEGINNINGS = ("", "https://", "https://api.example.com", "https://api.example.com/v1/", "http://git.corp:8080/",
              "https://api.example.com/v1?", "https://[", "https://1")  # fmt: skip


def try_one(data: bytes) -> None:
    """One input: the first byte chooses options and how the URL begins, the rest follows."""
    from agenthifive.broker.redirect import resolve_redirect
    from agenthifive.broker.target import InvalidUrl, parse_target

    options = data[0] if data else 0
    rest = data[1:].decode("utf-8", "surrogateescape")
    text = BEGINNINGS[options & 7] + rest
    query = {"a": rest[:8], "key": [rest[8:12], 7]} if options & 8 else None
    with suppress(InvalidUrl):
        target = parse_target(text, query, http_hosts={"git.corp"}, strip_params=("key",)).target
        assert parse_target(target.url, http_hosts={"git.corp"}).target == target
        second = urlsplit(target.url)
        assert (second.hostname, second.path, second.query) == (target.host, target.path, target.query[1:])
        redirect = resolve_redirect(target, text)
        assert redirect.is_same_origin == (redirect.target is not None and redirect.target.origin == target.origin)


def main() -> None:
    """Fuzz until something breaks."""
    import atheris

    atheris.enabled_hooks.add("str")
    with atheris.instrument_imports(include=["agenthifive", "urllib.parse"]):
        import agenthifive.broker.redirect
        import agenthifive.broker.target  # noqa: F401
    atheris.Setup(sys.argv, try_one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
