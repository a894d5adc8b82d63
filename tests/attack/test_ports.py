"""C1: whoever reaches a port of Beam's runner or worker runs code there. Nobody but this machine reaches one."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from runners.local import runner
from runners.ports import is_own, listening, refuse_open_ports
from runners.prism import EVERYWHERE, HERE, listen_here
from schemas.errors import ConfigError

IN_A_NAMESPACE = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--net", "--user", "--map-root-user"]


def test_nobody_reaches_prism_or_its_worker_from_another_address() -> None:
    command = [*IN_A_NAMESPACE, sys.executable, "-W", "ignore", "-c", "from tests.attack.elsewhere import main; main()"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["state"] == "DONE"
    assert len(found["answered"]) == 2, "Prism's port and the worker's"
    assert all(addresses == ["127.0.0.1"] for addresses in found["answered"].values()), found


@pytest.mark.parametrize(
    ("family", "address", "own"),
    [
        (socket.AF_INET, "127.0.0.1", True),
        (socket.AF_INET, "127.8.8.8", True),
        (socket.AF_INET6, "::1", True),
        (socket.AF_INET6, "::ffff:127.0.0.1", True),
        (socket.AF_INET, "0.0.0.0", False),
        (socket.AF_INET6, "::", False),
    ],
)
def test_a_port_that_others_reach_is_refused(family: int, address: str, own: bool) -> None:
    with socket.socket(family) as listener:
        listener.bind((address, 0))
        address, port = address.removeprefix("::ffff:"), listener.getsockname()[1]
        assert (address, port) not in set(listening([os.getpid()])), "it is bound, and does not listen yet"
        listener.listen()
        assert (address, port) in set(listening([os.getpid()]))
        assert is_own(address) is own
        if own:
            refuse_open_ports([os.getpid()])
        else:
            with pytest.raises(ConfigError, match=f"listens on {address}:{port}, where whoever reaches this machine can run code in it"):
                refuse_open_ports([os.getpid()])


def test_a_worker_does_not_start_on_a_prism_that_others_reach(tmp_path: Path) -> None:
    program = tmp_path / "prism"
    program.write_text(
        f"#!{sys.executable}\nimport signal, socket, sys\n"
        "port = next(int(option.partition('=')[2]) for option in sys.argv if option.startswith('--job_port='))\n"
        "listener = socket.create_server(('0.0.0.0', port))\nsignal.pause()\n"
    )
    program.chmod(0o700)

    def started(**options: bool) -> str:
        arguments = {"ours": {"source": [], "sink": f"chdb:{tmp_path / 'db'}", **options}, "beam": []}
        command = [sys.executable, "-m", "runners.worker"]
        environment = {**os.environ, "SLUICE_PRISM": str(program)}
        done = subprocess.run(
            command, input=json.dumps(arguments), env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 2, done.stderr
        return done.stderr

    assert "listens on 0.0.0.0:" in (refused := started())
    assert "--allow-open-ports" in refused, "the hint says what to do"
    assert "--source is missing" in started(allow_open_ports=True), "it went on"


def test_addresses_of_others_are_not_ours() -> None:
    assert not any(is_own(address) for address in ("0.0.0.0", "::", "10.0.0.1", "192.0.2.2", "fd00::2", "fe80::1"))


def test_a_process_that_is_gone_has_no_ports() -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    assert list(listening([gone.pid])) == []


def test_files_are_ingested_without_any_port() -> None:
    def count(_: int) -> None:
        assert list(listening([os.getpid()])) == before

    before = list(listening([os.getpid()]))
    options = PipelineOptions([])
    with beam.Pipeline(runner=runner(options), options=options) as pipeline:
        _ = pipeline | beam.Create([1, 2]) | beam.Reshuffle() | beam.Map(count)


def test_the_source_of_prism_is_changed_where_it_listens_or_not_at_all(tmp_path: Path) -> None:
    server = tmp_path / "server.go"
    server.write_text(f"lis, err := {EVERYWHERE}\n")
    listen_here(server)
    assert server.read_text() == f"lis, err := {HERE}\n"
    for text in ("", EVERYWHERE + EVERYWHERE, EVERYWHERE + 'net.Listen("tcp", ":1")', 'net.Listen("tcp", address)'):
        server.write_text(text)
        with pytest.raises(ConfigError, match="listens in another way"):
            listen_here(server)
        assert server.read_text() == text
