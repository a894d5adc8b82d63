"""One row of `make bench` in a process of its own: what it takes, and whether it has stored what it had to."""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.rows import ROWS, Load, Unavailable, Usage

PEERS = Path(".venv-bench", "bin", "python")


def _own() -> Usage:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return Usage(sum(each.ru_utime + each.ru_stime for each in used), used[0].ru_maxrss / 1024)


def measure(name: str, load: Load) -> dict[str, Any]:
    """Run one row in this process; return what it took, or why it cannot be run."""
    row = ROWS[name]
    if row.package and find_spec(row.package) is None:
        return {"unavailable": f"no package {row.package} for Python {sys.version_info.major}.{sys.version_info.minor}"}
    # It is left to the caller: ext4 looks past each file that was removed within the last minutes when it makes one, which cost the row
    # that came next up to 3 us an event.
    folder = tempfile.mkdtemp(prefix="sluice-bench-")
    try:
        with import_module(f"benchmarks.rows.{row.module}").ready(load, folder) as job:
            apart = job.apart or (lambda: Usage(0, 0))
            began, own, others = time.monotonic(), _own(), apart()
            job.run()
            seconds, own_cpu, others_cpu = time.monotonic() - began, _own().cpu - own.cpu, apart().cpu - others.cpu
            peak = apart().peak_mib if job.apart else _own().peak_mib
            return {"seconds": seconds, "cpu": own_cpu + others_cpu, "apart": others_cpu, "peak_mib": peak, "stored": job.stored()}
    except Unavailable as why:
        return {"unavailable": str(why)}


def run(name: str, load: Load, folder: str, tree: str = ".") -> dict[str, Any]:
    """Run one row in a process of its own; return what it says.

    Args:
        folder: for what it leaves behind.
        tree: the code.
    """
    python = str(PEERS.absolute()) if ROWS[name].package else sys.executable
    if not os.path.exists(python):
        return {"unavailable": "the packages of the extra `bench` could not be installed"}
    known_as = "sluice" if name == "before" else name  # that commit knows itself by this name
    command = [python, "-W", "ignore", "-m", "benchmarks", "--row", known_as, "--teams", load.teams, *load.files]
    result = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=tree, env=os.environ | {"TMPDIR": folder})
    taken: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return taken
