"""Endless fuzzing of the URL parser with coverage feedback; not part of the test run.

    pip install atheris && python tests/broker/fuzz_target.py -max_len=512

Any input must be refused with InvalidUrl or have one canonical form that two parsers agree on.
"""

import sys
from contextlib import suppress
from urllib.parse import urlsplit


def try_one(data: bytes) -> None:
    """One input: the first byte chooses options, the rest is the URL."""
    from agenthifive.broker.redirect import resolve_redirect
    from agenthifive.broker.target import InvalidUrl, parse_target

    options, text = data[:1], data[1:].decode("utf-8", "surrogateescape")
    query = {"a": text[:8]} if options > b"\x80" else None
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

    with atheris.instrument_imports(include=["agenthifive"]):
        import agenthifive.broker.redirect
        import agenthifive.broker.target  # noqa: F401
    atheris.Setup(sys.argv, try_one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
