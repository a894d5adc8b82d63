"""A receipt is open before its messages go on, while the steps behind work on the one before it."""

import threading
from collections.abc import Iterator

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that, equal_to

from schemas.message import Messages
from transforms.receipts.open import OpenReceipts, _OpenReceiptsFn


class _Ledger:
    """Enters receipts when it is let."""

    def __init__(self) -> None:
        self.entered: list[int] = []
        self.asked: list[int] = []
        self.go = threading.Event()
        self.go.set()
        self.fails = False

    def open_stream(self, messages: Messages) -> None:
        self.asked.append(messages.receipt)
        assert self.go.wait(10)
        if self.fails:
            raise OSError("the ledger is away")
        self.entered.append(messages.receipt)


@pytest.fixture
def ledger() -> _Ledger:
    return _Ledger()


@pytest.fixture
def step(ledger: _Ledger) -> Iterator[_OpenReceiptsFn]:
    fn = _OpenReceiptsFn(ledger)  # type: ignore[arg-type]
    fn.setup()
    fn.start_bundle()
    yield fn
    ledger.go.set()
    fn.teardown()


def messages(receipt: int) -> Messages:
    return Messages(receipt, "kafka://t", [b"a", b"bc"], [1, 2], 0)


def receipts(outputs: list[object]) -> list[int]:
    """Return the receipts of messages, each of which must follow its report."""
    values = [getattr(each, "value", each) for each in outputs]
    values = [getattr(each, "value", each) for each in values]  # a tagged and windowed one
    found = [(type(each).__name__, each.receipt) for each in values]
    assert [name for name, _ in found] == ["Report", "Messages"] * (len(found) // 2)
    assert [receipt for _, receipt in found[::2]] == [receipt for _, receipt in found[1::2]]
    return [receipt for _, receipt in found[1::2]]


def test_each_goes_on_when_it_is_open_and_none_is_left(step: _OpenReceiptsFn, ledger: _Ledger) -> None:
    passed: list[int] = []
    for number in range(1, 4):
        for each in step.process(messages(number)):
            if isinstance(each, Messages):
                assert each.receipt in ledger.entered
                passed.append(each.receipt)
    assert passed == [1, 2]
    assert receipts(list(step.finish_bundle())) == [3]
    assert ledger.entered == [1, 2, 3]


def test_the_next_is_being_opened_while_the_steps_behind_work(step: _OpenReceiptsFn, ledger: _Ledger) -> None:
    list(step.process(messages(1)))
    outputs = step.process(messages(2))
    next(outputs)
    deadline = threading.Event()
    while 2 not in ledger.asked and not deadline.wait(0.01):
        pass
    assert receipts([*step.process(messages(3))]) == [2]


def test_what_cannot_be_opened_does_not_go_on(step: _OpenReceiptsFn, ledger: _Ledger) -> None:
    list(step.process(messages(1)))
    ledger.fails = True
    with pytest.raises(OSError, match="away"):
        list(step.process(messages(2))) + list(step.finish_bundle())


def test_nothing_of_a_bundle_that_failed_is_left_for_the_next(step: _OpenReceiptsFn) -> None:
    list(step.process(messages(1)))
    step.start_bundle()
    assert list(step.finish_bundle()) == []


def test_beam_runs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with beam.Pipeline(FnApiRunner(), PipelineOptions([])) as pipeline:
        opened = pipeline | beam.Create([messages(number) for number in range(5)]) | OpenReceipts(_Quiet())  # type: ignore[arg-type]
        assert_that(opened.messages | "A" >> beam.Map(lambda each: each.receipt), equal_to(list(range(5))), label="messages")
        assert_that(opened.reports | "B" >> beam.Map(lambda each: (each.receipt, each.read)), equal_to([(n, 2) for n in range(5)]))


class _Quiet:
    def open_stream(self, messages: Messages) -> None:
        pass
