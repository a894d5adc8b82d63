"""What an error says."""

import pytest

from schemas.errors import ConfigError, Rejected, SluiceError, Unavailable
from schemas.reasons import Limit, Reason, WarningType


def test_a_rejection_has_a_reason_that_is_counted_and_a_detail() -> None:
    error = Rejected(Reason.MISSING_TOKEN, "`token` is empty")
    assert (error.reason, error.detail, str(error)) == (Reason.MISSING_TOKEN, "`token` is empty", "missing_token: `token` is empty")


def test_a_refused_start_says_what_to_do() -> None:
    error = ConfigError("--sink is missing", "use chdb:db")
    assert (error.problem, error.hint, str(error)) == ("--sink is missing", "use chdb:db", "--sink is missing\nhint: use chdb:db")
    assert str(ConfigError("--sink is missing")) == "--sink is missing"


@pytest.mark.parametrize("kind", [Rejected, Unavailable, ConfigError])
def test_there_is_one_tree(kind: type[Exception]) -> None:
    assert issubclass(kind, SluiceError)


@pytest.mark.parametrize("names", [Reason, Limit, WarningType])
def test_names_fit_into_columns_and_tell_what_their_constants_say(names: type[Reason]) -> None:
    assert {member.name.lower() for member in names} == {member.value for member in names}
