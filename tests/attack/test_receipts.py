"""B1: a message that becomes a hundred thousand dead letters is one, the books balance, and it can be replayed as a whole."""

import base64
import zlib
from pathlib import Path

from pipelines.audit import audit
from pipelines.letters import summarize
from tests.pipelines.test_replay import Place, _closed  # noqa: F401 - closes what is open
from tests.transforms.parse.helpers import message
from transforms.io.letters import Selection

PIECES = 100_000


def hostile() -> bytes:
    good = message(token=None, uuid=None, distinct_id="inside")
    return base64.b64encode(zlib.compress(b'{"api_key":"phc_a","batch":[%b,%b]}' % (b",".join([b"1"] * (PIECES - 1)), good), wbits=31))


def test_a_message_of_rubbish_is_one_letter_that_counts_for_all_of_it(tmp_path: Path) -> None:
    place = Place(tmp_path)
    (tmp_path / "events.jsonl").write_bytes(b"\n".join([message(distinct_id="before"), hostile(), message(distinct_id="after", uuid=None)]))
    place.ingest(tmp_path / "events.jsonl", place.right)
    found = audit(place.client)
    assert found.balanced
    assert (found.received, found.stored, found.rejected) == (PIECES + 2, 3, PIECES - 1)
    assert place.client.rows("SELECT distinct_id FROM events ORDER BY _offset") == [("before",), ("inside",), ("after",)]
    assert place.client.rows("SELECT team_id, reason, events, attempt, status FROM letters") == [
        (1, "malformed_body", PIECES - 1, 1, "waiting")
    ]
    assert [group.waiting for group in summarize(place.client, Selection())] == [PIECES - 1]
    done = place.replay()
    assert (done.received, done.duplicate, done.rejected) == (PIECES, 1, PIECES - 1)
    assert place.client.rows("SELECT events, attempt, status FROM letters ORDER BY attempt") == [
        (PIECES - 1, 1, "failed_again"),
        (PIECES - 1, 2, "waiting"),
    ]
    assert audit(place.client).balanced
