"""What every public transform keeps to: nothing in, nothing out; picklable; stable labels; its input is not changed."""

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import msgspec
import pytest
from apache_beam.internal import pickler
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that, equal_to

from schemas.event import PENDING, Batch, Event
from schemas.message import Messages
from schemas.outcomes import Outcome, Report, Tally
from schemas.persons import person_id
from transforms import coders  # noqa: F401
from transforms.dedupe import DropDuplicates
from transforms.io.clickhouse import close_all, shared
from transforms.io.files import ReadFiles
from transforms.io.letters import Page, ReadLetters
from transforms.io.migrate import migrate
from transforms.io.registry import FileRegistry, OpenRegistry
from transforms.limits import EnforceLimits
from transforms.parse import ParseEvents
from transforms.persons import ApplyPersonProperties, ResolvePersons
from transforms.receipts import AcknowledgeReceipts, Ledger, OpenReceipts
from transforms.runs import new_run
from transforms.sink import StoreUnique

NOW = 1_795_000_000_000_000
RUN = str(new_run(NOW))

EVENT = Event(1, bytes(15) + b"\x01", "e", "blocked", NOW, NOW, b"{}", "", False, 0, 7, 0, 0)
WAITING = msgspec.structs.replace(EVENT, person_id=person_id(1, "blocked"), person_created_at=PENDING)
MESSAGE = b'{"event": "e", "distinct_id": "d", "token": "phc_a", "uuid": "0190a1b2-0000-7000-8000-000000000001"}'


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[str]:
    url = f"chdb:{tmp_path / 'db'}"
    migrate(shared(url))
    yield url
    close_all()


@pytest.fixture
def registry(tmp_path: Path) -> FileRegistry:
    (tmp_path / "teams.toml").write_text('[[teams]]\nid = 1\ntokens = ["phc_a"]\n[teams.limits]\ndrop_distinct_ids = ["blocked"]\n')
    return FileRegistry(str(tmp_path / "teams.toml"))


Make = Callable[[str, FileRegistry], beam.PTransform]

# Name, how it is made, an element of its input, and the labels of its steps: a promise to running jobs.
TRANSFORMS: list[tuple[str, Make, Any, set[str]]] = [
    ("ParseEvents", lambda sink, registry: ParseEvents(OpenRegistry()), Messages(7, "s", [MESSAGE], [0], NOW), {"ParseEvents"}),
    ("EnforceLimits", lambda sink, registry: EnforceLimits(registry, sink, RUN), Batch([EVENT]), {"EnforceLimits"}),
    ("DropDuplicates", lambda sink, registry: DropDuplicates(4), Batch([EVENT]), {"SplitByShard", "DropDuplicates"}),
    ("StoreUnique", lambda sink, registry: StoreUnique(sink, RUN, 4), Batch([EVENT]), {"SplitByShard", "StoreUnique"}),
    ("ResolvePersons", lambda sink, registry: ResolvePersons(sink, RUN, 4), Batch([EVENT]), {"SplitById", "ResolvePersons"}),
    (
        "ApplyPersonProperties",
        lambda sink, registry: ApplyPersonProperties(sink, RUN, 4),
        Batch([WAITING]),
        {"SplitByPerson", "ApplyPersonProperties"},
    ),
    (
        "AcknowledgeReceipts",
        lambda sink, registry: AcknowledgeReceipts(Ledger(sink, RUN)),
        Report(7, [Tally(1, 0, Outcome.RECEIVED, "", 1)]),
        {"KeyByShard", "Acknowledge"},
    ),
    (
        "OpenReceipts",
        lambda sink, registry: OpenReceipts(Ledger(sink, RUN)),
        Messages(7, "s", [MESSAGE], [0], NOW),
        {"OpenReceipts"},
    ),
]


def every(argument: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(argument, TRANSFORMS, ids=[row[0] for row in TRANSFORMS])


def outputs(result: Any) -> list[beam.PCollection]:
    return [result] if isinstance(result, beam.PCollection) else list(result)


@every("row")
def test_nothing_in_gives_nothing_out(row: tuple[str, Make, Any, set[str]], sink: str, registry: FileRegistry) -> None:
    _, make, element, _ = row
    with beam.Pipeline(FnApiRunner(), PipelineOptions([])) as pipeline:
        empty = pipeline | beam.Create([], reshuffle=False).with_output_types(type(element))
        for number, output in enumerate(outputs(empty | make(sink, registry))):
            assert_that(output, equal_to([]), label=f"Nothing{number}")


@every("row")
def test_it_can_be_pickled(row: tuple[str, Make, Any, set[str]], sink: str, registry: FileRegistry) -> None:
    transform = row[1](sink, registry)
    assert vars(pickler.loads(pickler.dumps(transform))).keys() == vars(transform).keys()


@every("row")
def test_its_labels_are_stable(row: tuple[str, Make, Any, set[str]], sink: str, registry: FileRegistry) -> None:
    name, make, element, labels = row
    pipeline = beam.Pipeline(FnApiRunner(), PipelineOptions([]))
    _ = pipeline | beam.Create([], reshuffle=False).with_output_types(type(element)) | "Step" >> make(sink, registry)
    proto = pipeline.to_runner_api()
    found = {each.unique_name.split("/")[1] for each in proto.components.transforms.values() if each.unique_name.startswith("Step/")}
    assert found == labels, name


@every("row")
def test_it_leaves_its_input_alone(row: tuple[str, Make, Any, set[str]], sink: str, registry: FileRegistry) -> None:
    _, make, element, _ = row
    kept = copy.deepcopy(element)

    def unchanged(after: Any) -> None:
        assert after == kept, "the element was changed by a step that had it before"

    with beam.Pipeline(FnApiRunner(), PipelineOptions([])) as pipeline:
        elements = pipeline | beam.Create([element], reshuffle=False).with_output_types(type(element))
        _ = elements | make(sink, registry)
        _ = elements | "Unchanged" >> beam.Map(unchanged).with_output_types(None)


def test_read_files_keeps_to_the_same(tmp_path: Path) -> None:
    transform = ReadFiles([str(tmp_path / "none-*")], RUN, NOW, allow_empty=True)
    assert pickler.loads(pickler.dumps(transform)).patterns == transform.patterns
    with beam.Pipeline(FnApiRunner(), PipelineOptions([])) as pipeline:
        read = pipeline | "Read" >> transform
        for number, output in enumerate(outputs(read)):
            assert_that(output, equal_to([]), label=f"Nothing{number}")
    found = {each.unique_name for each in pipeline.to_runner_api().components.transforms.values()}
    assert {"Read/Patterns", "Read/PlanRanges", "Read/SpreadRanges", "Read/ReadRanges"} <= found


def test_read_letters_keeps_to_the_same(sink: str) -> None:
    transform = ReadLetters(sink, RUN, [Page(7, 0, 4)], rate=2.0)
    assert vars(pickler.loads(pickler.dumps(transform))) == vars(transform)
    with beam.Pipeline(FnApiRunner(), PipelineOptions([])) as pipeline:
        assert_that(pipeline | "Read" >> ReadLetters(sink, RUN, []), equal_to([]))
    found = {each.unique_name for each in pipeline.to_runner_api().components.transforms.values()}
    assert {"Read/Pages", "Read/ReadPages"} <= found


@pytest.mark.parametrize(
    "make",
    [
        lambda: StoreUnique("chdb:x", RUN, shards=3),
        lambda: DropDuplicates(shards=0),
        lambda: ResolvePersons("chdb:x", RUN, shards=3),
        lambda: ApplyPersonProperties("chdb:x", RUN, shards=3),
        lambda: EnforceLimits(OpenRegistry(), "chdb:x", RUN, refresh=0),
        lambda: ReadFiles([], RUN, NOW, range_bytes=0),
        lambda: AcknowledgeReceipts(Ledger("chdb:x", RUN), shards=0),
        lambda: ReadLetters("chdb:x", RUN, [], rate=0),
    ],
)
def test_a_wrong_argument_is_refused_when_it_is_given(make: Callable[[], beam.PTransform]) -> None:
    with pytest.raises(ValueError, match=r"but must|must be"):
        make()
