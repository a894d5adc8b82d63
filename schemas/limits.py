"""The limits on what a client may send. Values are PostHog's (see docs/events.md) unless a comment says otherwise."""

MAX_EVENT_NAME = 200  # characters; longer names are cut
MAX_DISTINCT_ID = 200  # characters; longer ids are cut, up to
MAX_ACCEPTED_DISTINCT_ID = 400  # characters; longer ids are rejected
MAX_TOKEN_BYTES = 64
MAX_MESSAGE_BYTES = 1_000_000  # one event, as JSON
MAX_BODY_BYTES = 20_000_000  # one request body, also after it was inflated
MAX_DEPTH = 500  # nesting of an event's JSON. Ours: decoders recurse, and ClickHouse's own limit is 1,000
MAX_FUTURE_SECONDS = 23 * 3600  # a timestamp further ahead of the arrival becomes the arrival time
WINDOW_DAYS = 7  # in which a (team, uuid) is unique
