"""What is to be generated, and the checks that refuse a plan that cannot be."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from schemas.errors import ConfigError

SHAPES = ("captured", "event", "batch", "http")
COMPRESSIONS = ("none", "gzip", "zstd")
FORMATS = ("lines", "avro", "parquet")
TEAMS_FILE = "teams.toml"

EVENTS_A_FILE = 250_000
MAX_EVENTS = 2**32
MAX_TEAMS = 100_000
MAX_FILES = 100_000
MAX_DAYS = 366
MAX_SEED = 2**63 - 1
MAX_REPEATED = 0.95  # of the events, duplicates and invalid ones together: a duplicate needs an event before it


def yesterday() -> str:
    """Return the first day of a load that is put on a stream now: there, a `now` of more than a week ago is not believed."""
    return (date.today() - timedelta(days=1)).isoformat()


_ENDINGS = {"none": "", "gzip": ".gz", "zstd": ".zst"}


@dataclass(frozen=True)
class Plan:
    """A load, exactly: the same plan gives the same bytes.

    Args:
        events: how many; a message that cannot be taken apart counts as one.
        out: a local folder, made if it is not there.
        seed: of everything that is random.
        shape: `captured` (what the edge hands over), `event`, `batch` or `http` (request bodies).
        duplicates: share of the events that are sent again.
        invalid: share of the events that must be rejected.
        teams: how many; their sizes follow Zipf's law.
        files: how many; one for each 250,000 events unless given.
        compression: `none`, `gzip` or `zstd` (not with Avro); Avro and Parquet compress inside.
        format: `lines`, `avro` or `parquet`; request bodies are Avro unless they are Parquet.
        truth: a file to write the outcome of each event to.
        start: the first day of arrival, ISO.
        days: that the arrivals spread over.
        late: share of the events that happened minutes to days before they arrived.
        quota: what team 2 may send in an hour, as a share of its average hour; 0 for no quota.
    """

    events: int
    out: str
    seed: int = 1
    shape: str = "captured"
    duplicates: float = 0.01
    invalid: float = 0.002
    teams: int = 100
    files: int | None = None
    compression: str = "none"
    format: str = "lines"
    truth: str | None = None
    start: str = "2026-11-01"
    days: int = 1
    late: float = 0.02
    quota: float = 0.9

    @property
    def file_format(self) -> str:
        """Return the format in effect: a request body is bytes, which a line cannot hold."""
        return "avro" if self.shape == "http" and self.format == "lines" else self.format

    @property
    def file_count(self) -> int:
        """Return the number of data files."""
        return self.files if self.files is not None else max(1, math.ceil(self.events / EVENTS_A_FILE))

    @property
    def has_arrivals(self) -> bool:
        """Return whether messages say when they arrived; the others arrive when they are read."""
        return self.shape in ("captured", "http")

    def path(self, number: int) -> Path:
        """Return the path of a data file."""
        ending = "jsonl" + _ENDINGS[self.compression] if self.file_format == "lines" else self.file_format
        return Path(self.out) / f"events-{number:05d}.{ending}"

    def span(self, number: int) -> tuple[int, int]:
        """Return the first position of a data file and the one after its last."""
        return self.events * number // self.file_count, self.events * (number + 1) // self.file_count


def check(plan: Plan) -> None:
    """Refuse a plan that cannot be carried out.

    Raises:
        ConfigError: names the option, its value and the limit.
    """
    _one_of("shape", plan.shape, SHAPES)
    _one_of("compression", plan.compression, COMPRESSIONS)
    _one_of("format", plan.format, FORMATS)
    _between("events", plan.events, 1, MAX_EVENTS)
    _between("seed", plan.seed, 0, MAX_SEED)
    _between("teams", plan.teams, 1, MAX_TEAMS)
    _between("days", plan.days, 1, MAX_DAYS)
    _between("files", plan.file_count, 1, min(plan.events, MAX_FILES))
    for name in ("duplicates", "invalid", "late"):
        _between(name, getattr(plan, name), 0, 1)
    _between("quota", plan.quota, 0, 1000)
    if plan.duplicates > 0 and plan.duplicates + plan.invalid > MAX_REPEATED:
        problem = f"duplicates {plan.duplicates} and invalid {plan.invalid} add up to more than {MAX_REPEATED}"
        raise ConfigError(problem, "a duplicate needs a valid event before it: lower one of them")
    if plan.file_format == "avro" and plan.compression == "zstd":
        # fastavro has that codec only with a package that Sluice does not need for anything else.
        raise ConfigError("compression is 'zstd' and the files are Avro", "use none or gzip, or format parquet")
    _check_start(plan)
    _check_paths(plan)


def _one_of(name: str, value: str, known: Iterable[str]) -> None:
    if value not in known:
        raise ConfigError(f"{name} is {value!r}", f"it is one of {', '.join(known)}")


def _between(name: str, value: float, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ConfigError(f"{name} is {value}", f"it is from {low:,} to {high:,}")


def _check_start(plan: Plan) -> None:
    try:
        first = date.fromisoformat(plan.start)
        last = first + timedelta(days=plan.days)
    except (ValueError, OverflowError) as error:
        raise ConfigError(f"start is {plan.start!r}: {error}", "give a day as 2026-11-01") from error
    # Ids hold milliseconds since 1970 in 48 bits, and devices are up to 120 days older than the first event.
    if first.year < 1971 or last.year > 9998:
        raise ConfigError(f"start is {plan.start!r}", "it is from 1971 to 9998")


def _check_paths(plan: Plan) -> None:
    for name, value in (("out", plan.out), ("truth", plan.truth)):
        if value is not None and (not value or "://" in value):
            raise ConfigError(f"{name} is {value!r}, which is not a local path", "write to a local folder, and copy it")
    out = Path(plan.out)
    if out.exists() and not out.is_dir():
        raise ConfigError(f"out is {plan.out!r}, which is a file", "give a folder")
    if plan.truth is not None:
        _check_truth(plan, Path(plan.truth))
    ours = {plan.path(number).name for number in range(plan.file_count)}
    strange = sorted(path.name for path in out.glob("events-*") if path.name not in ours)
    if strange:
        problem = f"out is {plan.out!r}, where {strange[0]} is left of another load ({len(strange)} such files)"
        raise ConfigError(problem, "give an empty folder: whoever reads this one would read both loads")


def _check_truth(plan: Plan, truth: Path) -> None:
    if truth.is_dir():
        raise ConfigError(f"truth is {plan.truth!r}, which is a folder", "give a file")
    in_out = truth.resolve().parent == Path(plan.out).resolve()
    if in_out and not truth.name.startswith("_"):
        raise ConfigError(f"truth is {plan.truth!r}: who reads that folder reads it too", "put it elsewhere, or name it _truth.jsonl")


def days_since_1970(plan: Plan) -> int:
    """Return the first day of arrival as days since 1970."""
    return (date.fromisoformat(plan.start) - date(1970, 1, 1)).days


def make_folders(plan: Plan) -> None:
    """Make the folders that are written to.

    Raises:
        ConfigError: one cannot be made.
    """
    folders: list[tuple[str, Any, Path]] = [("out", plan.out, Path(plan.out))]
    if plan.truth is not None:
        folders.append(("truth", plan.truth, Path(plan.truth).parent))
    for name, value, folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{name} is {value!r}: the folder cannot be made: {error.strerror}") from error
