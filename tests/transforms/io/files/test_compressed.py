import gzip
import random
import tracemalloc
import zlib
from io import BytesIO
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.reasons import Reason
from tests.transforms.io.files.reading import Read, payloads, read
from transforms.io.files.compressed import inflate_gzip, inflate_zstd
from transforms.io.files.pieces import KEPT_BYTES, Sizes

UNREADABLE = Reason.UNREADABLE_FILE.value
LINES = b"".join(b'{"number":%d}\n' % number for number in range(30_000))


def zstd(content: bytes, **options: bool) -> bytes:
    return zstandard.ZstdCompressor(**options).compress(content)  # type: ignore[arg-type]


def zstd_stream(content: bytes) -> bytes:
    """Return a frame that does not say how long its content is."""
    stream = zstandard.ZstdCompressor(write_checksum=True).compressobj()
    return stream.compress(content) + stream.flush()


COMPRESS = [gzip.compress, zstd, zstd_stream]
both = pytest.mark.parametrize("compress", COMPRESS)


def put(folder: Path, content: bytes) -> Path:
    path = folder / "a.jsonl"  # the name says nothing
    path.write_bytes(content)
    return path


@both
def test_lines_are_those_of_the_text(tmp_path: Path, compress: object) -> None:
    plain = read(put(tmp_path, LINES))
    assert read(put(tmp_path, compress(LINES)), range_bytes=1_000) == plain  # type: ignore[operator]
    assert plain[1].offset == 13


@both
@pytest.mark.parametrize("content", [b"", b"\n", b"a", b"\xef\xbb\xbfa\r\n\r\nb"])
def test_small_texts(tmp_path: Path, compress: object, content: bytes) -> None:
    assert read(put(tmp_path, compress(content))) == read(put(tmp_path, content))  # type: ignore[operator]


@settings(max_examples=60, deadline=None)
@given(
    parts=st.lists(st.lists(st.sampled_from([b"a", b"bcd", b"\n", b"\r\n"]), max_size=10).map(b"".join), max_size=4),
    compress=st.sampled_from(COMPRESS),
    block=st.integers(1, 9),
)
def test_members_are_one_text(tmp_path_factory: pytest.TempPathFactory, parts: list[bytes], compress: object, block: int) -> None:
    folder = tmp_path_factory.getbasetemp()
    stored = b"".join(compress(part) for part in parts)  # type: ignore[operator]
    assert read(put(folder, stored), sizes=Sizes(block=block)) == read(put(folder, b"".join(parts)))


def test_zero_bytes_between_members_are_skipped(tmp_path: Path) -> None:
    stored = gzip.compress(b"a\nb") + bytes(200_000) + gzip.compress(b"c\n") + bytes(10)
    assert payloads(read(put(tmp_path, stored))) == [b"a", b"bc"]


@pytest.mark.parametrize("kind", [0x50, 0x5F])
def test_frames_without_data_are_skipped(tmp_path: Path, kind: int) -> None:
    skippable = bytes([kind]) + b"\x2a\x4d\x18" + (100_000).to_bytes(4, "little") + bytes(100_000)
    assert payloads(read(put(tmp_path, skippable + zstd(b"a\nb") + skippable + zstd(b"c\n") + skippable))) == [b"a", b"bc"]


@pytest.mark.parametrize("compress", [gzip.compress, zstd])
def test_what_follows_the_last_member_is_rejected_with_its_bytes(tmp_path: Path, compress: object) -> None:
    stored = compress(b"a\nb") + b"garbage"  # type: ignore[operator]
    assert read(put(tmp_path, stored)) == [Read(b"a", 0), Read(b"b", 2), Read(b"garbage", 3, UNREADABLE)]


@both
@pytest.mark.parametrize("cut", [1, 5, 500, 5_000])
def test_a_file_that_was_cut_short(tmp_path: Path, compress: object, cut: int) -> None:
    stored: bytes = compress(LINES)  # type: ignore[operator]
    *good, last = read(put(tmp_path, stored[:-cut]))
    known = b"".join(one.payload + b"\n" for one in good)
    assert last == Read(last.payload, len(known), UNREADABLE)
    assert LINES.startswith(known + last.payload)
    assert all(not one.rejected for one in good)
    assert known + last.payload == decodable(stored[:-cut])


def decodable(stored: bytes) -> bytes:
    """Return all that a library gives for a file that was cut short."""
    if stored.startswith(b"\x1f\x8b"):
        return zlib.decompressobj(31).decompress(stored)
    return zstandard.ZstdDecompressor().decompressobj().decompress(stored)


def test_all_before_a_wrong_checksum_is_good(tmp_path: Path) -> None:
    for stored in (gzip.compress(LINES), zstd_stream(LINES)):
        place = -5 if stored.startswith(b"\x1f\x8b") else -1
        wrong = bytearray(stored)
        wrong[place] ^= 1
        *good, last = read(put(tmp_path, bytes(wrong)))
        assert payloads(good) == LINES.splitlines()
        assert last == Read(b"", len(LINES), UNREADABLE)


@pytest.mark.parametrize("compress", [gzip.compress, zstd_stream])
def test_all_before_a_broken_block_is_good(tmp_path: Path, compress: object) -> None:
    random.seed(5)
    text = b"".join(b"%x\n" % random.getrandbits(200) for _ in range(40_000))
    stored: bytes = compress(text)  # type: ignore[operator]
    place = len(stored) * 3 // 4
    *good, last = read(put(tmp_path, stored[:place] + b"\xff" * 300 + stored[place + 300 :]))
    assert last.rejected == UNREADABLE
    assert sum(one == line for one, line in zip(payloads(good), text.splitlines(), strict=False)) > 29_000


@settings(max_examples=150, deadline=None)
@given(data=st.data(), compress=st.sampled_from([gzip.compress, zstd_stream]), block=st.sampled_from([1, 100, 1 << 18]))
def test_broken_files_never_fail_and_end_with_one_rejected_message(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, compress: object, block: int
) -> None:
    text = LINES[:2_000]
    stored = bytearray(compress(text))  # type: ignore[operator]
    place = data.draw(st.integers(4, len(stored) - 1))
    stored[place] ^= data.draw(st.integers(1, 255))
    found = read(put(tmp_path_factory.getbasetemp(), bytes(stored)), sizes=Sizes(block=block))
    assert [one.rejected for one in found if one.rejected] in ([], [UNREADABLE])
    assert found[-1].rejected or payloads(found) == text.splitlines()


@pytest.mark.parametrize("compress", [gzip.compress, zstd])
def test_a_bomb_is_read_in_bounded_memory(tmp_path: Path, compress: object) -> None:
    path = put(tmp_path, compress(b"first\n" + bytes(100_000_000) + b"\nlast\n"))  # type: ignore[operator]
    assert path.stat().st_size < 200_000
    tracemalloc.start()
    first, bomb, last = read(path, sizes=Sizes(line=2_000_000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (first, last) == (Read(b"first", 0), Read(b"last", 100_000_007))
    assert bomb == Read(bytes(KEPT_BYTES), 6, Reason.BODY_TOO_LARGE.value)
    assert peak < 12_000_000


def test_blocks_are_bounded() -> None:
    content = bytes(10_000_000)
    for blocks, limit in ((inflate_gzip(BytesIO(gzip.compress(content)), 1_000), 1_000), (inflate_zstd(BytesIO(zstd(content))), 128 << 10)):
        sizes = [len(data) for data in blocks]
        assert sum(sizes) == len(content)
        assert max(sizes) <= limit
