"""The limits on what a client may send. Values are PostHog's (see docs/events.md) unless a comment says otherwise."""

MAX_EVENT_NAME = 200  # characters; longer names are cut
MAX_DISTINCT_ID = 200  # characters; longer ids are cut, up to
MAX_ACCEPTED_DISTINCT_ID = 400  # characters; longer ids are rejected
MAX_GROUP_KEY = 400  # characters; `$groupidentify` with a longer one is no fact
MAX_GROUP_TYPES = 5
MAX_PERSON_BYTES = 640 << 10  # of a person's properties as JSON; what is larger is shown with no more than
TRIMMED_PERSON_BYTES = 512 << 10
# Ours: of properties that the events of one message carry in their rows. A hundred events, more than clients send at once, have all of the
# largest person; the others of a message that goes beyond it get so many bytes each.
MAX_STAMPED_BYTES = 100 * MAX_PERSON_BYTES
TRIMMED_STAMP_BYTES = 1 << 10
MAX_TOKEN_BYTES = 64
MAX_MESSAGE_BYTES = 1_000_000  # one event, as JSON
MAX_BODY_BYTES = 20_000_000  # one request body, also after it was inflated
MAX_BATCH_EVENTS = 100_000  # in one body. Ours: a body of `[1,1,...]` would become ten million dead letters
MAX_BAD_EVENTS = 1_000  # of one body. Ours: with more of them it is one dead letter, with all of its bytes
MAX_LETTER_BYTES = 32_000_000  # of the dead letters of one body. Ours: each repeats what its batch says for all of them
MAX_FACTS = 300_000  # what the events of one body say of persons and groups. Ours: each takes more than a microsecond, and 300 bytes
MAX_STRUCTURE = 5_000_000  # brackets and commas of a body that is no JSON. Ours: it is gone through in search of events that are
MAX_DEEP_PARTS = 100_000  # of a body: values that are too deep. Ours
MAX_DEPTH = 500  # nesting of an event's JSON. Ours: decoders recurse, and ClickHouse's own limit is 1,000
MAX_FUTURE_SECONDS = 23 * 3600  # a timestamp further ahead of the arrival becomes the arrival time
EARLIEST_ARRIVAL = 1_577_836_800 * 1_000_000  # microseconds, the start of 2020. Ours: no client of the incumbent is older
LATEST_ARRIVAL = 2**32 * 1_000_000 - 1  # microseconds, in 2106. Ours: the ledger counts in ClickHouse's DateTime, which ends there
MAX_ARRIVAL_APART = 7 * 86_400 * 1_000_000  # microseconds. Ours: in a stream, between the edge's time of arrival and the broker's
WINDOW_DAYS = 7  # in which a (team, uuid) is unique
