"""Statements come in, what is known of them without a parser goes out."""

import re

from transforms.io.clickhouse.errors import QueryError

_NOTHING = r"(?:\s|--[^\n]*\n|/\*.*?\*/)*"
_SELECT = re.compile(rf"{_NOTHING}(?:\(|SELECT\b|WITH\b)", re.IGNORECASE | re.DOTALL)
_INSERT = r"INSERT\s+INTO\s+(?:TABLE\s+)?[\w.`\"]+\s*(?:\([^()]*\))?\s*(?:SETTINGS\s(?:(?!\bSELECT\b).)*?)?"
_VALUES = re.compile(rf"{_NOTHING}{_INSERT}\b(?:VALUES|FORMAT)\b", re.IGNORECASE | re.DOTALL)


def is_select(sql: str) -> bool:
    """Return whether a statement is a SELECT, which can stand as a subquery."""
    return bool(_SELECT.match(sql))


def bare(sql: str) -> str:
    """Return a statement without the semicolon at its end."""
    return sql.strip().removesuffix(";").rstrip()


def literal(text: str) -> str:
    """Return a text as a literal of ClickHouse's SQL."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def refuse_values(sql: str) -> None:
    """Raise if a statement is an INSERT with data in its text: a server would wait for the data until the time-out.

    Raises:
        QueryError: it is.
    """
    if _VALUES.match(sql):
        raise QueryError("INSERT ... VALUES as text is not possible: use insert(), or INSERT ... SELECT", code=0)
