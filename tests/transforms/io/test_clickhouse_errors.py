import logging

import pytest

from schemas.errors import ConfigError, Unavailable
from transforms.io.clickhouse import Patience, QueryError
from transforms.io.clickhouse.errors import LATER, by_code, code_in, summary, without

TEXT = "DB::Exception: Table db.t does not exist. Stack trace:\n\n0. main"


@pytest.mark.parametrize("code", [159, 202, 209, 210, 241, 242, 243, 252, 999])
def test_codes_that_mean_later(code: int) -> None:
    error = by_code(code, "host:1", "insert of 3 rows into t", "DB::Exception: busy. Stack trace:\n\n0. main")

    assert isinstance(error, Unavailable)
    assert str(error) == f"ClickHouse at host:1 cannot do the insert of 3 rows into t now: busy. (code {code})"


@pytest.mark.parametrize("code", [16, 27, 36, 47, 49, 53, 60, 62, 115, 164, 497])
def test_codes_that_mean_never(code: int) -> None:
    error = by_code(code, "host:1", "query 'SELECT 1'", f"Code: {code}. {TEXT}")

    assert isinstance(error, QueryError)
    assert error.code == code
    assert str(error) == f"ClickHouse at host:1 refused the query 'SELECT 1': Table db.t does not exist. (code {code})"


@pytest.mark.parametrize("code", [81, 192, 193, 194, 195, 516])
def test_codes_that_mean_the_url_is_wrong(code: int) -> None:
    error = by_code(code, "host:1", "query", "no such thing")

    assert isinstance(error, ConfigError)
    assert "host:1" in error.problem
    assert "sink's URL" in error.hint
    assert code not in LATER


def test_long_messages_are_cut() -> None:
    assert len(str(by_code(1, "host:1", "query", "x\n" * 1000))) < 600
    assert summary("SELECT\n  1,\n  2") == "SELECT 1, 2"
    assert summary("x" * 100) == "x" * 100
    assert summary("x" * 101) == "x" * 97 + "..."


def test_a_code_is_found_in_the_engine_s_message() -> None:
    assert code_in("Code: 60. DB::Exception: no") == 60
    assert code_in("Session is closed.") == 0


def test_a_secret_is_covered() -> None:
    assert without("user:pass@host pass", "pass") == "user:***@host ***"
    assert without("text", "") == "text"


class Outage:
    """Something that fails a number of times, and a clock."""

    def __init__(self, failures: int, error: Exception | None = None) -> None:
        self.left = failures
        self.calls = 0
        self.now = 0.0
        self.error = error or Unavailable("ClickHouse at host:1 is away")

    def __call__(self) -> str:
        self.calls += 1
        if self.left:
            self.left -= 1
            raise self.error
        return "done"

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def patience(self, seconds: float) -> Patience:
        return Patience(seconds, self.sleep, lambda: self.now)


def test_what_works_is_called_once() -> None:
    outage = Outage(0)

    assert outage.patience(60).persist(outage) == "done"
    assert (outage.calls, outage.now) == (1, 0)


def test_what_is_away_for_a_while_is_called_until_it_works(caplog: pytest.LogCaptureFixture) -> None:
    outage = Outage(3)

    with caplog.at_level(logging.WARNING):
        assert outage.patience(60).persist(outage) == "done"

    assert outage.calls == 4
    assert 0 < outage.now < 10
    assert [record.getMessage().split(", the next")[0] for record in caplog.records] == [
        f"ClickHouse at host:1 is away; attempt {n}" for n in (1, 2, 3)
    ]


def test_what_stays_away_is_given_up_in_time_and_after_a_last_call() -> None:
    outage = Outage(10**9)

    with pytest.raises(Unavailable, match=r"^ClickHouse at host:1 is away \(gave up after \d+ attempts in 7.5 s\)$") as caught:
        outage.patience(7.5).persist(outage)

    assert outage.now == pytest.approx(7.5)
    assert f"after {outage.calls} attempts" in str(caught.value)


def test_no_patience_is_one_call() -> None:
    outage = Outage(10**9)

    with pytest.raises(Unavailable, match="after 1 attempts in 0 s"):
        outage.patience(0).persist(outage)

    assert outage.calls == 1


@pytest.mark.parametrize("error", [QueryError("no", 60), ConfigError("no"), ValueError("no"), KeyboardInterrupt()])
def test_other_errors_are_raised_at_once(error: Exception) -> None:
    outage = Outage(1, error)

    with pytest.raises(type(error)) as caught:
        outage.patience(60).persist(outage)

    assert caught.value is error
    assert (outage.calls, outage.now) == (1, 0)
