"""What keeps a stream running: restarts with back-off, an orderly stop, health checks, metrics, and what is shown."""

import io
import json
import os
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from runners import supervisor as module
from runners.health import serve
from runners.live import Rates, behind, line, show, slowest
from runners.status import Status, encode
from runners.supervisor import DEFAULT, Supervisor, Timeouts
from transforms.metrics import Lag, Metric

RUNNING = Status("running", counters={"events_received": 10, "events_stored": 7, "events_duplicated": 1}, lags={"s": Lag(5, 1.5, 2)})


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Supervisor]]:
    """Give a supervisor whose workers run a script; it counts them in the file `starts`."""
    supervisors = []

    def made(body: str, timeouts: Timeouts = DEFAULT) -> Supervisor:
        package = tmp_path / "runners"
        package.mkdir()
        (package / "__init__.py").touch()
        head = f"import os, sys, time, signal\nopen({str(tmp_path / 'starts')!r}, 'a').write('x')\n"
        (package / "worker.py").write_text(
            head + f"def say(line): print(line, flush=True)\nRUNNING = {encode(RUNNING).decode()!r}\n" + body
        )
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(module.random, "uniform", lambda *_: 0.01)
        supervisors.append(Supervisor({"source": []}, [], timeouts))
        return supervisors[-1]

    yield made
    for supervisor in supervisors:
        supervisor.stop()


def starts(tmp_path: Path) -> int:
    return len((tmp_path / "starts").read_text())


def in_thread(supervisor: Supervisor) -> tuple[threading.Thread, list[int]]:
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(supervisor.run()), daemon=True)
    thread.start()
    return thread, codes


def test_a_worker_that_fails_is_started_again_and_counters_go_on(script: Any, tmp_path: Path) -> None:
    supervisor = script("say(RUNNING)\nsys.exit(1)")
    thread, codes = in_thread(supervisor)
    until(lambda: supervisor.restarts >= 3)
    supervisor.stop()
    thread.join(20)
    assert codes == [0]
    assert starts(tmp_path) >= 3
    assert supervisor.totals()["events_stored"] >= 3 * 7


def test_a_worker_that_was_killed_is_started_again(script: Any, tmp_path: Path) -> None:
    supervisor = script("say(RUNNING)\ntime.sleep(60)")
    thread, _ = in_thread(supervisor)
    until(lambda: supervisor.is_ready)
    os.kill(supervisor._worker.pid, 9)
    until(lambda: supervisor.restarts == 1 and supervisor.is_ready)
    supervisor.stop()
    thread.join(20)
    assert not thread.is_alive()


BROKEN = Status("stopping", counters={"events_stored": 7}, breaker="breaker open: 93% rejected")


def test_an_open_breaker_is_said_until_a_later_worker_brings_events_to_their_end(script: Any, tmp_path: Path) -> None:
    supervisor = script(
        "open('told', 'a').write('yes' if '\"breaker_was_open\": true' in sys.stdin.read() else 'no')\n"
        f"if len(open({str(tmp_path / 'starts')!r}).read()) < 3:\n"
        f"    say({encode(BROKEN).decode()!r})\n    sys.exit(1)\n"
        f"say({encode(Status('running')).decode()!r})\n"
        f"while not os.path.exists('mended'): time.sleep(0.01)\n"
        "say(RUNNING)\ntime.sleep(60)"
    )
    thread, _ = in_thread(supervisor)
    until(lambda: supervisor.restarts == 2 and supervisor.status.state == "running")
    assert (tmp_path / "told").read_text() == "noyesyes", "each worker is told whether it was open before"
    assert supervisor.breaker == "breaker open: 93% rejected"
    assert not supervisor.is_ready, "a worker runs, and nobody knows yet whether it will get through"
    (tmp_path / "mended").touch()
    until(lambda: supervisor.is_ready)
    assert supervisor.breaker == ""
    supervisor.stop()
    thread.join(20)


def test_the_state_between_two_tries_is_that_the_breaker_is_open(script: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST_WAIT", 60.0)
    supervisor = script(f"say({encode(BROKEN).decode()!r})\nsys.exit(1)")
    monkeypatch.setattr(module.random, "uniform", lambda *_: 60.0)
    thread, _ = in_thread(supervisor)
    until(lambda: supervisor.waiting > 0)
    assert supervisor.status.state == "breaker open"
    supervisor.stop()
    thread.join(20)


def test_a_worker_that_refuses_to_start_is_not_started_again(script: Any, tmp_path: Path) -> None:
    supervisor = script("sys.exit(2)")
    assert supervisor.run() == 2
    assert starts(tmp_path) == 1


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("sys.exit(1)", [0.5, 1.0, 2.0, 4.0]),
        # one that brought a receipt to its end
        (f"say({encode(Status('running', counters={'receipts_acknowledged': 1})).decode()!r})\nsys.exit(1)", [0.5] * 4),
    ],
)
def test_it_waits_longer_from_one_failure_to_the_next(
    body: str, expected: list[float], script: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervisor = script(body)
    waits: list[float] = []
    monkeypatch.setattr(module.random, "uniform", lambda *_: 1.0)
    monkeypatch.setattr(supervisor._stop, "wait", lambda seconds=None: waits.append(seconds) if seconds else time.sleep(60))
    thread, _ = in_thread(supervisor)
    until(lambda: len(waits) >= 4)
    supervisor.stop()
    assert waits[:4] == expected
    thread.join(20)


def test_stopping_asks_the_worker_to_finish(script: Any, tmp_path: Path) -> None:
    supervisor = script("signal.signal(signal.SIGTERM, lambda *_: (open('finished', 'w'), sys.exit(0)))\nsay(RUNNING)\ntime.sleep(60)")
    thread, codes = in_thread(supervisor)
    until(lambda: supervisor.is_ready)
    supervisor.stop()
    thread.join(20)
    assert codes == [0]
    assert (tmp_path / "finished").exists()


def test_a_worker_that_does_not_finish_is_killed(script: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STOP_SECONDS", 0.2)
    supervisor = script("signal.signal(signal.SIGTERM, signal.SIG_IGN)\nsay(RUNNING)\ntime.sleep(60)")
    thread, codes = in_thread(supervisor)
    until(lambda: supervisor.is_ready)
    supervisor.stop()
    thread.join(20)
    assert codes == [0]


class Watched:
    status = RUNNING
    restarts = 2
    waiting = 0.0
    breaker = ""
    hung = 1
    reason = ""

    def totals(self) -> dict[str, int]:
        return self.status.counters


def get(port: int | None, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_health_checks() -> None:
    watched = Watched()
    with serve(watched, 0) as port:
        assert get(port, "/healthz") == (200, "ok\n")
        assert get(port, "/readyz") == (200, "running\n")
        watched.reason = "starting"
        assert get(port, "/readyz") == (503, "starting\n")
        assert get(port, "/nothing")[0] == 404


def test_an_open_breaker_is_told_to_those_who_ask() -> None:
    watched = Watched()
    watched.breaker = watched.reason = "breaker open: 93% rejected"
    with serve(watched, 0) as port:
        assert get(port, "/healthz") == (200, "breaker open: 93% rejected\n"), "the supervisor lives: there is no use in killing it"
        assert get(port, "/readyz") == (503, "breaker open: 93% rejected\n")
        assert "\nsluice_breaker_open 1.0\n" in get(port, "/metrics")[1]
    assert line(watched, 0.0, 0.0).endswith("2 restarts; breaker open: 93% rejected")


def test_metrics_are_those_of_the_one_module() -> None:
    with serve(Watched(), 0) as port:
        code, text = get(port, "/metrics")
    assert code == 200
    for metric in Metric:
        assert f"\nsluice_{metric.value}_total " in text
    assert "sluice_events_stored_total 7.0" in text
    assert 'sluice_lag_messages{split="s"} 5.0' in text
    assert 'sluice_lag_seconds{split="s"} 1.5' in text
    assert "sluice_workers_restarted_total 2.0" in text
    assert "sluice_workers_hung_total 1.0" in text


def test_each_metric_is_in_the_table_of_the_docs() -> None:
    with serve(Watched(), 0) as port:
        names = {row.split()[2] for row in get(port, "/metrics")[1].splitlines() if row.startswith("# HELP ")}
    documented = (Path(__file__).parents[2] / "docs/operations.md").read_text()
    assert {name for name in names if f"`{name}`" not in documented} == set()


def test_without_a_port_nothing_is_served() -> None:
    with serve(Watched(), None) as port:
        assert port is None


def test_rates_are_means_over_the_last_samples() -> None:
    rates = Rates()
    assert rates.add(0.0, 0, 0) == (0.0, 0.0)
    assert rates.add(2.0, 100, 50) == (50.0, 25.0)
    for second in range(3, 30):
        found = rates.add(float(second), 100, 50)
    assert found == (0.0, 0.0)


def test_a_line_says_rates_lag_and_restarts() -> None:
    assert (
        line(Watched(), 10.0, 8.0) == "sluice: running: 10 events/s in, 8/s out, lag 5 messages and 1.5 s, 2 receipts in flight, 2 restarts"
    )


def test_a_lag_that_was_measured_long_ago_is_shown_with_its_age() -> None:
    status = Status("starting", lags={"a": Lag(5, 1.0, 1)}, measured={"a": 1_000.0})
    assert behind(status, 1_009.0) == "5 messages and 1.0 s"
    assert behind(status, 1_040.0) == "5 messages and 1.0 s (40 s ago)"
    assert behind(Status("starting"), 1_000.0) == "unknown messages and 0.0 s"


def test_lags_add_up_and_an_unknown_one_is_unknown() -> None:
    assert Status("", lags={"a": Lag(5, 1.0, 1), "b": Lag(7, 3.0, 2)}).lag == Lag(12, 3.0, 3)
    assert Status("", lags={"a": Lag(-1, 2.0, 1)}).lag.messages == -1
    assert Status("").lag == Lag(-1, 0.0, 0)


def test_the_slowest_step_is_named() -> None:
    assert slowest(Status("", steps={"ParseEvents": 3.0, "Insert": 1.0})) == "ParseEvents, 75% of the time"
    assert slowest(Status("")) == ""


def test_a_terminal_gets_a_view(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")  # a dumb one has no view
    monkeypatch.setattr("runners.live.REFRESH_SECONDS", 0.01)
    screen = io.StringIO()
    with show(Watched(), Console(file=screen, force_terminal=True, width=80)):
        until(lambda: "restarts" in screen.getvalue())
    assert "receipts in flight" in screen.getvalue()


def test_elsewhere_there_is_a_line_a_minute(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("runners.live.REFRESH_SECONDS", 0.01)
    monkeypatch.setattr("runners.live.LINE_SECONDS", 0.05)
    with show(Watched(), Console(file=io.StringIO(), force_terminal=False)):
        time.sleep(0.3)
    written = capsys.readouterr().err.splitlines()
    assert written
    assert all(text.startswith("sluice: running: ") for text in written)


def test_a_status_is_one_line() -> None:
    assert b"\n" not in encode(RUNNING)
    assert json.loads(encode(RUNNING))["state"] == "running"
    assert sys.getsizeof(encode(RUNNING)) < 4096


def test_a_worker_that_says_nothing_is_killed_and_another_started(
    script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "TICK_SECONDS", 0.1)
    supervisor = script(
        "say(RUNNING)\nif len(open('starts').read()) == 1: os.kill(os.getpid(), signal.SIGSTOP)\nwhile True: say(RUNNING); time.sleep(0.1)",
        Timeouts(heartbeat=2.0),
    )
    thread, _ = in_thread(supervisor)
    until(lambda: "no heartbeat for" in supervisor.reason)
    assert not supervisor.is_ready
    until(lambda: supervisor.hung == 1 and supervisor.restarts == 1 and supervisor.is_ready)
    assert starts(tmp_path) == 2
    supervisor.stop()
    thread.join(20)
    assert "the worker hangs and is killed: no heartbeat for 2 s" in capsys.readouterr().err


def test_a_worker_that_does_not_come_on_is_killed(script: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [encode(Status("running", stalled=seconds)).decode() for seconds in (1.0, 4.0, 6.0)]
    supervisor = script(f"for line in {lines!r}:\n    say(line)\n    time.sleep(0.2)\ntime.sleep(60)", Timeouts(progress=5.0))
    thread, _ = in_thread(supervisor)
    until(lambda: supervisor.reason == "running, but no progress for 4 s")
    until(lambda: supervisor.hung >= 1)
    supervisor.stop()
    thread.join(20)


def test_zero_is_for_ever(script: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TICK_SECONDS", 0.01)
    supervisor = script(f"say({encode(Status('running', stalled=1e6)).decode()!r})\ntime.sleep(60)", Timeouts(0.0, 0.0))
    thread, _ = in_thread(supervisor)
    until(lambda: supervisor._silent > 0.3)
    assert supervisor._hangs() == ""
    supervisor.stop()
    thread.join(20)
    assert supervisor.hung == 0


def test_it_is_said_since_when_clickhouse_is_away_also_while_workers_come_and_go(script: Any, tmp_path: Path) -> None:
    away = [encode(Status(state, away_since=since)).decode() for state, since in (("running", 1e9), ("starting", 1e9 + 70))]
    supervisor = script(
        f"time.sleep(0.1)\nsay({away[0]!r} if len(open('starts').read()) == 1 else {away[1]!r})\n"
        f"if len(open('starts').read()) < 3: sys.exit(1)\n"
        "while not os.path.exists('back'): time.sleep(0.01)\n"
        "say(RUNNING)\ntime.sleep(60)"
    )
    thread, _ = in_thread(supervisor)
    until(lambda: supervisor.restarts == 2 and supervisor.status.away_since > 0)
    assert supervisor.reason == "starting, waiting for ClickHouse since 2001-09-09T01:46:40Z"
    (tmp_path / "back").touch()
    until(lambda: supervisor.is_ready)
    supervisor.stop()
    thread.join(20)


def test_the_last_lag_is_told_while_no_worker_knows_it(script: Any) -> None:
    measured = encode(Status("running", lags={"s": Lag(5, 1.5, 2)}, measured={"s": time.time() - 100})).decode()
    supervisor = script(f"if len(open('starts').read()) > 1: time.sleep(60)\nsay({measured!r})\nsys.exit(1)")
    thread, _ = in_thread(supervisor)
    with serve(supervisor, 0) as port:
        until(lambda: supervisor.restarts == 1 and supervisor.status.state == "starting")
        text = get(port, "/metrics")[1]
    assert 'sluice_lag_messages{split="s"} 5.0' in text
    (age,) = [float(row.rpartition(" ")[2]) for row in text.splitlines() if row.startswith('sluice_lag_age_seconds{split="s"}')]
    assert 100 <= age < 200
    assert "sluice_worker_running 0.0" in text
    supervisor.stop()
    thread.join(20)


def test_what_an_ended_worker_counted_is_counted_once_at_any_moment(script: Any) -> None:
    supervisor = script("say(RUNNING)\nsys.exit(1)")
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        thread, _ = in_thread(supervisor)
        while supervisor.restarts < 20:
            stored = supervisor.totals().get("events_stored", 0)
            assert stored <= 7 * (supervisor.restarts + 1)
    finally:
        sys.setswitchinterval(interval)
    supervisor.stop()
    thread.join(20)


def test_what_a_worker_cannot_start_for_passes(script: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    supervisor = script("say(RUNNING)\ntime.sleep(60)")
    program = sys.executable
    monkeypatch.setattr(module.sys, "executable", "/nothing/python")
    thread, _ = in_thread(supervisor)
    until(lambda: supervisor.restarts >= 2)
    monkeypatch.setattr(module.sys, "executable", program)
    until(lambda: supervisor.is_ready)
    supervisor.stop()
    thread.join(20)


def test_a_worker_has_time_to_start(script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TICK_SECONDS", 0.01)
    monkeypatch.setattr(module, "START_SECONDS", 0.5)
    supervisor = script("time.sleep(60)", Timeouts(heartbeat=0.1))
    thread, _ = in_thread(supervisor)
    until(lambda: supervisor._silent > 0.2)
    assert supervisor.hung == 0
    until(lambda: supervisor.hung == 1)
    supervisor.stop()
    thread.join(20)


def test_what_a_worker_leaves_behind_goes_with_it(script: Any, tmp_path: Path) -> None:
    body = "import tempfile\nopen('folder', 'w').write(tempfile.mkdtemp())\nsay(RUNNING)\ntime.sleep(60)"
    supervisor = script(body)
    thread, _ = in_thread(supervisor)
    until(lambda: supervisor.is_ready)
    left = Path((tmp_path / "folder").read_text())
    assert left.is_dir()
    os.kill(supervisor._worker.pid, 9)
    until(lambda: supervisor.restarts == 1)
    assert not left.parent.exists()
    supervisor.stop()
    thread.join(20)
