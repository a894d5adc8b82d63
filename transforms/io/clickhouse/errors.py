"""ClickHouse's errors come in, typed ones go out, without secrets.

Unavailable    no answer, or one that means "later": worth another attempt
ConfigError    the server does not let us in, or is none
QueryError     it understood and refused: a bug, or a schema that does not fit; never tried again
"""

import re

from schemas.errors import ConfigError, SluiceError, Unavailable

# Error codes by which a server says that the same statement may work later.
LATER = frozenset(
    {
        74,  # CANNOT_READ_FROM_FILE_DESCRIPTOR
        75,  # CANNOT_WRITE_TO_FILE_DESCRIPTOR: a full disk, too
        159,  # TIMEOUT_EXCEEDED
        160,  # TOO_SLOW
        173,  # CANNOT_ALLOCATE_MEMORY
        198,  # DNS_ERROR
        201,  # QUOTA_EXCEEDED
        202,  # TOO_MANY_SIMULTANEOUS_QUERIES
        203,  # NO_FREE_CONNECTION
        209,  # SOCKET_TIMEOUT
        210,  # NETWORK_ERROR
        225,  # NO_ZOOKEEPER
        236,  # ABORTED: the server is stopping
        241,  # MEMORY_LIMIT_EXCEEDED
        242,  # TABLE_IS_READ_ONLY
        243,  # NOT_ENOUGH_SPACE
        252,  # TOO_MANY_PARTS
        254,  # NO_ACTIVE_REPLICAS
        279,  # ALL_CONNECTION_TRIES_FAILED
        285,  # TOO_FEW_LIVE_REPLICAS
        286,  # UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE
        319,  # UNKNOWN_STATUS_OF_INSERT
        364,  # RECEIVED_ERROR_TOO_MANY_REQUESTS
        394,  # QUERY_WAS_CANCELLED: also by a server that is stopping
        425,  # SYSTEM_ERROR
        439,  # CANNOT_SCHEDULE_TASK
        499,  # S3_ERROR
        745,  # SERVER_OVERLOADED
        999,  # KEEPER_EXCEPTION
    }
)
# UNKNOWN_USER, WRONG_PASSWORD, REQUIRED_PASSWORD, IP_ADDRESS_NOT_ALLOWED, AUTHENTICATION_FAILED
NOT_LET_IN = frozenset({192, 193, 194, 195, 516})
UNKNOWN_DATABASE = 81
UNKNOWN_FORMAT = 73


class QueryError(SluiceError):
    """A statement that ClickHouse refused, or would.

    Args:
        message: names the server, the statement and the reason.
        code: ClickHouse's error code; 0 if it was not asked.
    """

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def by_code(code: int, where: str, what: str, text: str) -> SluiceError:
    """Return the typed form of an error that ClickHouse itself reported.

    Args:
        code: ClickHouse's error code.
        where: which ClickHouse, without a password.
        what: what it was asked to do.
        text: its message.
    """
    reason = _first_lines(text)
    if code in NOT_LET_IN:
        return ConfigError(f"ClickHouse at {where} did not let us in: {reason}", "check user and password in the sink's URL")
    if code == UNKNOWN_DATABASE:
        return ConfigError(f"ClickHouse at {where}: {reason}", "create the database, or correct the last part of the sink's URL")
    if code in LATER:
        return Unavailable(f"ClickHouse at {where} cannot do the {what} now: {reason} (code {code})")
    return QueryError(f"ClickHouse at {where} refused the {what}: {reason} (code {code})", code)


def code_in(text: str) -> int:
    """Return the code that a message of the embedded engine begins with, or 0."""
    found = re.search(r"Code: (\d+)", text)
    return int(found[1]) if found else 0


def summary(sql: str) -> str:
    """Return a statement's beginning on one line, for messages."""
    line = " ".join(sql.split())
    return line if len(line) <= 100 else f"{line[:97]}..."


def without(text: str, secret: str) -> str:
    """Return a text in which a secret is covered."""
    return text.replace(secret, "***") if secret else text


def _first_lines(text: str) -> str:
    """Return a server's message without code and stack trace, on one line of at most 500 characters."""
    text = re.sub(r"^(Code: \d+\. )?(DB::Exception: )?", "", text.split("Stack trace:")[0].strip())
    return " ".join(text.split())[:500]
