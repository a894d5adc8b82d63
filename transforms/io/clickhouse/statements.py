"""Statements come in, what is known of them without a parser goes out."""

import re

from transforms.io.clickhouse.errors import QueryError

_NOTHING = r"(?:\s|--[^\n]*\n|/\*.*?\*/)*"
_SELECT = re.compile(rf"{_NOTHING}(?:\(|SELECT\b|WITH\b)", re.IGNORECASE | re.DOTALL)
_INSERT = r"INSERT\s+INTO\s+(?:TABLE\s+)?[\w.`\"]+\s*(?:\([^()]*\))?\s*(?:SETTINGS\s(?:(?!\bSELECT\b).)*?)?"
_VALUES = re.compile(rf"{_NOTHING}{_INSERT}\b(?:VALUES|FORMAT)\b", re.IGNORECASE | re.DOTALL)

_SPECIAL = re.compile("[\\\\'\0\ud800-\udfff]")


def is_select(sql: str) -> bool:
    """Return whether a statement is a SELECT, which can stand as a subquery."""
    return bool(_SELECT.match(sql))


def bare(sql: str) -> str:
    """Return a statement without the semicolon at its end."""
    return sql.strip().removesuffix(";").rstrip()


def literal(text: str) -> str:
    """Return a text as a literal of ClickHouse's SQL. Surrogate escapes, as of arguments that are no UTF-8, are their bytes."""
    return "'" + _SPECIAL.sub(_escaped, text) + "'"


def _escaped(found: re.Match[str]) -> str:
    char = found[0]
    if char in "\\'":
        return "\\" + char
    errors = "surrogateescape" if "\udc80" <= char <= "\udcff" else "surrogatepass"
    return "".join(f"\\x{byte:02x}" for byte in char.encode(errors=errors))


def refuse_values(sql: str) -> None:
    """Raise if a statement is an INSERT with data in its text: a server would wait for the data until the time-out.

    Raises:
        QueryError: it is.
    """
    if _VALUES.match(sql):
        raise QueryError("INSERT ... VALUES as text is not possible: use insert(), or INSERT ... SELECT", code=0)
