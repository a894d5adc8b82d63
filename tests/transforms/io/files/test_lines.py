from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import Unavailable
from schemas.message import FileRange
from schemas.reasons import Reason
from tests.transforms.io.files.reading import ARRIVAL, Read, payloads, ranges, read
from transforms.io.files.lines import split_lines
from transforms.io.files.pieces import KEPT_BYTES, Sizes, Undecodable
from transforms.io.files.read import read_range

TOO_LARGE = Reason.BODY_TOO_LARGE.value
UNREADABLE = Reason.UNREADABLE_FILE.value
MARK = b"\xef\xbb\xbf"


def expected(content: bytes, max_line: int) -> list[Read]:
    """Return the messages of a text, in the plainest way."""
    found, position = [], 0
    for line in content.split(b"\n"):
        payload = line.rstrip(b"\r")
        payload = payload.removeprefix(MARK) if position == 0 else payload
        if len(line) > max_line:
            found.append(Read(line[:max_line], position, TOO_LARGE))
        elif payload.strip():
            found.append(Read(payload, position))
        position += len(line) + 1
    return found


texts = st.lists(st.sampled_from([b"a", b"bcd", b"\n", b"\n", b"\r\n", b"\r", b" ", b"\x0b", MARK, b"\xff\x00"]), max_size=30).map(b"".join)


@settings(max_examples=400, deadline=None)
@given(content=texts, range_bytes=st.integers(1, 40), block=st.integers(1, 20), max_line=st.integers(1, 12), batch=st.integers(1, 5))
def test_any_ranges_and_blocks_give_the_same_lines(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, range_bytes: int, block: int, max_line: int, batch: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "lines"
    path.write_bytes(content)
    sizes = Sizes(block=block, line=max_line)
    assert read(path, range_bytes, sizes, batch) == expected(content, max_line)


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"", []),
        (b"a\nb\n", [(b"a", 0), (b"b", 2)]),
        (b"a\nb", [(b"a", 0), (b"b", 2)]),
        (b"a\r\nb\r\nc\r", [(b"a", 0), (b"b", 3), (b"c", 6)]),
        (b"\n\na\n\n \t\r\nb\n\n", [(b"a", 2), (b"b", 9)]),
        (MARK + b"a\n" + MARK + b"b\n", [(b"a", 0), (MARK + b"b", 5)]),
        (MARK + b"\na", [(b"a", 4)]),
        (MARK, []),
        (b"  a b \n", [(b"  a b ", 0)]),
        (b"a\x0bb\x0cc\x85d\n", [(b"a\x0bb\x0cc\x85d", 0)]),
    ],
)
def test_lines(tmp_path: Path, content: bytes, lines: list[tuple[bytes, int]]) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    assert [(one.payload, one.offset) for one in read(path)] == lines


def test_a_line_belongs_to_the_range_of_its_first_byte(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"aaaa\nbbbb\ncccc\n")

    def lines(start: int, end: int) -> list[bytes]:
        part = FileRange(1, str(path), "lines", start, end, 15, ARRIVAL)
        return [payload for messages in read_range(part) for payload in messages.payloads]

    assert lines(0, 1) == [b"aaaa"]
    assert lines(0, 5) == [b"aaaa"]
    assert lines(1, 5) == []
    assert lines(4, 6) == [b"bbbb"]
    assert lines(5, 6) == [b"bbbb"]
    assert lines(6, 15) == [b"cccc"]
    assert lines(11, 15) == []


def test_a_line_over_the_limit_is_cut_and_costs_no_other(tmp_path: Path) -> None:
    limit = Sizes().line
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"first\n" + b"x" * limit + b"\n" + b"y" * (limit + 1) + b"\nlast")
    first, longest, cut, last = read(path, range_bytes=1 << 20)
    assert (first.payload, last) == (b"first", Read(b"last", 2 * limit + 9))
    assert (len(longest.payload), longest.rejected) == (limit, "")
    assert cut == Read(b"y" * KEPT_BYTES, limit + 7, TOO_LARGE)


def test_batches_are_full_and_bounded_in_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"".join(b"%05d\n" % number for number in range(10_000)) + b"x" * 5_000 + b"\n1\n")

    def batches(batch_size: int = 2_000, batch_bytes: int = 4 << 20) -> list[int]:
        (part,) = ranges(path)
        return [len(messages.payloads) for messages in read_range(part, batch_size, batch_bytes)]

    assert batches() == [2_000] * 5 + [2]
    assert batches(batch_size=4_000) == [4_000, 4_000, 2_002]
    assert max(batches(batch_bytes=700)) <= 140
    assert batches(batch_bytes=700)[-2:] == [1, 1]
    assert sum(batches(batch_bytes=1)) == 10_002


def test_a_file_that_became_shorter_is_unavailable(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"a\n" * 10)
    parts = ranges(path, 10)
    path.write_bytes(b"a\n" * 7)
    assert [len(messages.payloads) for messages in read_range(parts[0])] == [5]
    with pytest.raises(Unavailable, match="has 14 bytes, but had 20"):
        list(read_range(parts[1]))


def test_a_file_that_grows_is_read_as_planned(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"a\nb")
    parts = ranges(path, 2)
    path.write_bytes(b"a\nbcd\ne\n")
    assert [messages.payloads for part in parts for messages in read_range(part)] == [[b"a"], [b"bcd"]]


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: path.symlink_to(path.with_name("gone"))])
def test_what_cannot_be_opened_is_unavailable(tmp_path: Path, make: object) -> None:
    path = tmp_path / "a.jsonl"
    make(path)  # type: ignore[operator]
    with pytest.raises(Unavailable, match=r"a\.jsonl cannot be opened"):
        list(read_range(FileRange(1, str(path), "lines", 0, 5, 5, ARRIVAL)))


def broken(*blocks: bytes, tail: bytes | None) -> Iterator[tuple[int, bytes]]:
    position = 0
    for data in blocks:
        yield position, data
        position += len(data)
    raise Undecodable(tail)


@pytest.mark.parametrize(
    ("blocks", "tail", "last"),
    [
        ([b"a\nb", b"c"], None, (b"bc", 2)),
        ([b"a\n"], None, (b"", 2)),
        ([], None, (b"", 0)),
        ([b"a\n"], b"tail", (b"tail", 2)),
    ],
)
def test_what_follows_the_decodable_is_one_rejected_message(blocks: list[bytes], tail: bytes | None, last: tuple[bytes, int]) -> None:
    *good, rejected = split_lines(broken(*blocks, tail=tail), 10)
    assert [piece.payloads for piece in good] == ([[b"a"]] if blocks else [])
    assert (rejected.payloads[0], rejected.offsets[0], rejected.rejected) == (*last, UNREADABLE)


def test_a_line_before_what_is_not_a_stream_is_whole() -> None:
    pieces = list(split_lines(broken(b"a\nb", tail=b"garbage"), 10))
    assert [(piece.payloads, list(piece.offsets), piece.rejected) for piece in pieces] == [
        ([b"a"], [0], ""),
        ([b"b"], [2], ""),
        ([b"garbage"], [3], UNREADABLE),
    ]


def test_one_line_through_many_ranges_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"x" * 5_000)
    assert payloads(read(path, range_bytes=10, sizes=Sizes(block=7))) == [b"x" * 5_000]
