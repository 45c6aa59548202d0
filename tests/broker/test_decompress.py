"""A compressed reply is read in full or refused, and never costs more memory than a step."""

import gzip
import tracemalloc
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agenthifive.broker.decompress import PIECE_BYTES, BadEncoding, Decompressor, TooLarge

MIB = 1024 * 1024


def raw_deflate(data: bytes) -> bytes:
    engine = zlib.compressobj(wbits=-15)
    return engine.compress(data) + engine.flush()


WRITERS = {"gzip": gzip.compress, "x-gzip": gzip.compress, "deflate": zlib.compress, "Deflate": raw_deflate}


def read(encoding: str | None, chunks: list[bytes], limit_bytes: int = 16 * MIB) -> bytes:
    decompressor = Decompressor(encoding, limit_bytes=limit_bytes)
    pieces = [piece for chunk in chunks for piece in decompressor.feed(chunk)]
    decompressor.finish()
    assert all(0 < len(piece) <= max(PIECE_BYTES, *map(len, chunks)) for piece in pieces)
    assert decompressor.released_bytes == sum(map(len, pieces))
    return b"".join(pieces)


@settings(max_examples=60, deadline=None)
@given(
    st.binary(max_size=400), st.integers(0, 700), st.sampled_from(list(WRITERS.items())), st.lists(st.integers(1, 50))
)
def test_the_content_does_not_depend_on_the_chunks(data: bytes, repeat: int, writer: object, sizes: list[int]) -> None:
    assert isinstance(writer, tuple)
    encoding, compress = writer
    content = data * (repeat if len(data) < 50 else 1)
    body = compress(content)
    chunks = []
    for size in sizes:
        chunks.append(body[:size])
        body = body[size:]
    assert read(encoding, [*chunks, body]) == content


@pytest.mark.parametrize(("encoding", "compress"), WRITERS.items())
def test_large_content_split_at_every_byte_of_its_body(encoding: str, compress: object) -> None:
    """Output waits inside the engine when a step is full; none of it is lost."""
    assert callable(compress)
    content = bytes(range(256)) * 3 * (PIECE_BYTES // 256) + b"end"
    body = compress(content)
    assert read(encoding, [body]) == content
    assert read(encoding, [body[at : at + 1] for at in range(len(body))]) == content


def test_identity_passes_and_is_counted() -> None:
    for encoding in (None, "", "identity", " Identity "):
        assert read(encoding, [b"abc", b"", b"d"]) == b"abcd"
    with pytest.raises(TooLarge):
        read(None, [b"abc", b"de"], limit_bytes=4)


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "gzip,deflate", "compress", "gzip;q=1"])
def test_other_encodings_and_layers_are_refused(encoding: str) -> None:
    with pytest.raises(BadEncoding):
        Decompressor(encoding, limit_bytes=1)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_the_limit_is_exact(encoding: str) -> None:
    body = WRITERS[encoding](b"x" * 100_000)
    assert len(read(encoding, [body], limit_bytes=100_000)) == 100_000
    with pytest.raises(TooLarge):
        read(encoding, [body], limit_bytes=99_999)


@pytest.mark.parametrize("encoding", WRITERS)
def test_a_body_that_breaks_off_is_refused(encoding: str) -> None:
    body = WRITERS[encoding](b"some content that matters")
    for end in range(1, len(body)):
        with pytest.raises(BadEncoding):
            read(encoding, [body[:end]])


@pytest.mark.parametrize("encoding", WRITERS)
def test_data_after_the_end_is_refused(encoding: str) -> None:
    body = WRITERS[encoding](b"content")
    for rest in (b"\0", b"x", b"\x1f", b"\x1f\x8b", b"trailing"):
        with pytest.raises(BadEncoding):
            read(encoding, [body + rest])
        with pytest.raises(BadEncoding):
            read(encoding, [body, rest])


def test_gzip_members_follow_each_other_but_not_without_end() -> None:
    body = gzip.compress(b"one ") + gzip.compress(b"") + gzip.compress(b"two")
    assert read("gzip", [body]) == b"one two"
    assert read("gzip", [body[at : at + 1] for at in range(len(body))]) == b"one two"
    with pytest.raises(BadEncoding):
        read("gzip", [gzip.compress(b"") * 5000])
    with pytest.raises(BadEncoding):
        read("deflate", [zlib.compress(b"one") + zlib.compress(b"two")])


def test_an_empty_body_is_empty_in_every_encoding() -> None:
    for encoding in ("gzip", "deflate", "identity"):
        assert read(encoding, [b""]) == b""


def test_damage_and_a_wrong_checksum_are_refused() -> None:
    body = bytearray(gzip.compress(b"content of some length"))
    body[-6] ^= 1
    for damaged in (bytes(body), b"not gzip at all", gzip.compress(b"x")[:10] + b"\xff" * 20):
        with pytest.raises(BadEncoding):
            read("gzip", [damaged])


def test_expansion_counts_from_one_mebibyte_on() -> None:
    assert len(read("gzip", [gzip.compress(b"\0" * MIB)])) == MIB
    with pytest.raises(TooLarge):
        read("gzip", [gzip.compress(b"\0" * (MIB + 1))])


def test_an_input_that_yields_nothing_is_bounded() -> None:
    """Empty stored blocks: five bytes each, no content."""
    engine = zlib.compressobj(wbits=31)
    start = engine.compress(b"x") + engine.flush(zlib.Z_FULL_FLUSH)
    decompressor = Decompressor("gzip", limit_bytes=1000)
    assert b"".join(decompressor.feed(start)) == b"x"
    empty_blocks = b"\x00\x00\x00\xff\xff" * 13_000
    assert list(decompressor.feed(empty_blocks)) == []
    with pytest.raises(TooLarge):
        list(decompressor.feed(empty_blocks))


def test_a_bomb_is_refused_without_being_held() -> None:
    """64 MiB of zeros arrive as one chunk of 64 KiB; no more than a few steps are ever in memory."""
    body = gzip.compress(b"\0" * (64 * MIB))
    tracemalloc.start()
    with pytest.raises(TooLarge):
        max(map(len, Decompressor("gzip", limit_bytes=1024 * MIB).feed(body)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < MIB
