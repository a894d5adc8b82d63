"""A query comes in, its result as text goes out. The native protocol has no FORMAT: the server is asked to format each row as a value."""

from collections.abc import Callable, Sequence
from typing import Any
from unicodedata import east_asian_width

from schemas.errors import ConfigError
from transforms.io.clickhouse.blocks import quoted
from transforms.io.clickhouse.statements import is_select, literal

Columns = Sequence[tuple[str, str]]
Result = tuple[Columns, Sequence[Sequence[Any]]]
"""Names and types of columns, and their values."""
Read = Callable[[str, bool], Result]
"""Run a statement; strings are str if the second argument is true, else bytes."""

# Format -> the format of a row, and what stands above the rows: nothing, names, or names and types.
_ROWS = {
    "CSV": ("CSV", 0),
    "CSVWithNames": ("CSV", 1),
    "CSVWithNamesAndTypes": ("CSV", 2),
    "JSONCompactEachRow": ("JSONCompactEachRow", 0),
    "JSONEachRow": ("JSONEachRow", 0),
    "TSV": ("TSV", 0),
    "TSVRaw": ("TSVRaw", 0),
    "TSVWithNames": ("TSV", 1),
    "TSVWithNamesAndTypes": ("TSV", 2),
}
_PRETTY = "PrettyCompact"
_NUMBERS = ("Int", "UInt", "Float", "Decimal")


def formatted(read: Read, sql: str, output_format: str) -> bytes:
    """Return the result of a statement in a format.

    Raises:
        ConfigError: the format is not one of those that can be had from a server.
    """
    name = _known(output_format)
    columns, source = _source(read, sql)
    if not columns:
        return b""
    if name == _PRETTY:
        return _pretty(columns, _rows(read, source, "TSV"))
    row_format, heads = _ROWS[name]
    head = [_head(read, [column[part] for column in columns], row_format) for part in range(heads)]
    return b"".join(head) + b"".join(_rows(read, source, row_format))


def _known(output_format: str) -> str:
    plain = output_format.casefold().replace("tabseparated", "tsv")
    for name in (*_ROWS, _PRETTY):
        if name.casefold() == plain:
            return name
    raise ConfigError(f"unknown format {output_format!r}", f"with a server it is one of {', '.join([*_ROWS, _PRETTY])}")


def _source(read: Read, sql: str) -> tuple[Columns, str]:
    """Return the columns of a statement's result and a query for it: the statement, or its result as literals if that is no SELECT."""
    if is_select(sql):
        source = f"(\n{sql}\n)"
        _, described = read(f"DESCRIBE TABLE {source}", True)
        return list(zip(described[0], described[1], strict=True)), source
    columns, values = read(sql, True)
    return columns, _literals(columns, list(zip(*values, strict=True)))


def _literals(columns: Columns, rows: Sequence[Sequence[Any]]) -> str:
    structure = literal(", ".join(f"{quoted(name)} {kind}" for name, kind in columns))
    if not rows:
        return f"null({structure})"
    return f"values({structure}, {', '.join(_tuple(row) for row in rows)})"


def _tuple(row: Sequence[Any]) -> str:
    return f"({', '.join(literal(value) if isinstance(value, str) else str(value) for value in row)})"


def _rows(read: Read, source: str, row_format: str) -> Sequence[bytes]:
    _, values = read(f"SELECT formatRow({literal(row_format)}, *) FROM {source}", False)
    return values[0] if values else []


def _head(read: Read, texts: Sequence[str], row_format: str) -> bytes:
    _, values = read(f"SELECT formatRow({literal(row_format)}, {', '.join(map(literal, texts))})", False)
    return bytes(values[0][0])


def _pretty(columns: Columns, rows: Sequence[bytes]) -> bytes:
    """Return rows of tab-separated values in a frame: numbers to the right, and the rest to the left."""
    names = [name for name, _ in columns]
    cells = [row.decode(errors="replace").removesuffix("\n").split("\t") for row in rows]
    widths = [max(map(_width, column)) for column in zip(names, *cells, strict=True)]
    right = [kind.removeprefix("Nullable(").startswith(_NUMBERS) for _, kind in columns]
    head = "┬".join(_cell("─", *cell) for cell in zip(names, widths, right, strict=True))
    body = ["│".join(_cell(" ", *cell) for cell in zip(row, widths, right, strict=True)) for row in cells]
    foot = "┴".join("─" * (width + 2) for width in widths)
    return "\n".join([f"┌{head}┐", *(f"│{line}│" for line in body), f"└{foot}┘", ""]).encode()


def _cell(fill: str, text: str, width: int, right: bool) -> str:
    space = fill * (width - _width(text))
    return f"{fill}{space}{text}{fill}" if right else f"{fill}{text}{space}{fill}"


def _width(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    return sum(2 if east_asian_width(char) in "WF" else 1 for char in text)
