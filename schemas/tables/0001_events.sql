-- Events, their ids, the ledger, warnings and dead letters. Column names of `events` are PostHog's where it has them.

CREATE TABLE IF NOT EXISTS events
(
    uuid UUID,
    event String,
    properties String CODEC(ZSTD(3)),
    timestamp DateTime64(6, 'UTC'),
    team_id Int64,
    distinct_id String,
    elements_chain String,
    person_mode Enum8('full' = 0, 'propertyless' = 1, 'force_upgrade' = 2),
    historical_migration Bool,
    -- arrival time
    _timestamp DateTime64(6, 'UTC'),
    created_at DateTime64(6, 'UTC') ALIAS _timestamp,
    -- one delivery of one event: its receipt, the message's position in the source, the event's place in the message
    _receipt UInt64,
    _offset UInt64,
    _index UInt32,
    inserted_at DateTime64(6, 'UTC') DEFAULT now64(6),
    -- the row that was inserted first wins a merge
    _version UInt64 MATERIALIZED 18446744073709551615 - toUInt64(toUnixTimestamp64Micro(inserted_at))
)
ENGINE = ReplacingMergeTree(_version)
PARTITION BY toYYYYMM(timestamp)
ORDER BY (team_id, toDate(timestamp), event, cityHash64(distinct_id), cityHash64(uuid))
-- counts the inserts of the whole table, of all jobs together, within which a retried insert is recognised
SETTINGS non_replicated_deduplication_window = 10000;

-- The ids of stored events, by bucket and time of insert: what a worker rebuilds its index from in one range read.
CREATE TABLE IF NOT EXISTS event_ids
(
    bucket UInt8,
    inserted_at DateTime64(6, 'UTC'),
    team_id Int64,
    uuid UUID,
    id FixedString(16),
    _timestamp DateTime64(6, 'UTC'),
    _receipt UInt64,
    _offset UInt64,
    _index UInt32
)
ENGINE = MergeTree
PARTITION BY toDate(_timestamp)
ORDER BY (bucket, inserted_at)
SETTINGS non_replicated_deduplication_window = 10000;

-- `id` is schemas.identity.unique_key, and its first byte the bucket.
CREATE MATERIALIZED VIEW IF NOT EXISTS event_ids_mv TO event_ids AS
SELECT
    reinterpretAsUInt8(substring(id, 1, 1)) AS bucket,
    inserted_at,
    team_id,
    uuid,
    toFixedString(substring(SHA1(concat(reinterpretAsFixedString(team_id), UUIDStringToNum(toString(uuid)))), 1, 16), 16) AS id,
    _timestamp,
    _receipt,
    _offset,
    _index
FROM events;

-- Stored events by team and hour of arrival: what quotas are measured by.
CREATE TABLE IF NOT EXISTS usage
(
    team_id Int64,
    hour DateTime('UTC'),
    events UInt64
)
ENGINE = SummingMergeTree
ORDER BY (hour, team_id)
TTL hour + INTERVAL 40 DAY
SETTINGS non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW IF NOT EXISTS usage_mv TO usage AS
SELECT team_id, toStartOfHour(toDateTime(_timestamp, 'UTC')) AS hour, count() AS events
FROM events
GROUP BY team_id, hour;

-- One row an id at any moment: the one that was stored first.
CREATE VIEW IF NOT EXISTS events_unique AS
SELECT *
FROM events
ORDER BY inserted_at, _receipt, _offset, _index
LIMIT 1 BY team_id, uuid;

-- What a source read at once. `open` is written before the range of a file is read, `acknowledged` after all that it became is stored.
CREATE TABLE IF NOT EXISTS receipts
(
    receipt UInt64,
    status Enum8('open' = 0, 'acknowledged' = 1),
    run UUID,
    source String,
    -- positions covered: [start, end)
    start UInt64,
    end UInt64,
    messages UInt64,
    written_at DateTime64(6, 'UTC') DEFAULT now64(6),
    _version UInt8 MATERIALIZED toInt8(status)
)
ENGINE = ReplacingMergeTree(_version)
ORDER BY receipt;

-- What became of the events of each acknowledged receipt, by team and hour of arrival. `received` is what the others add up to.
CREATE TABLE IF NOT EXISTS outcomes
(
    receipt UInt64,
    team_id Int64,
    hour DateTime('UTC'),
    outcome Enum8('received' = 0, 'stored' = 1, 'duplicate' = 2, 'limited' = 3, 'rejected' = 4),
    reason LowCardinality(String),
    count UInt64
)
ENGINE = ReplacingMergeTree
ORDER BY (receipt, team_id, hour, outcome, reason);

-- What customers should know. Read it with FINAL: a bundle that is run again writes its warnings again.
CREATE TABLE IF NOT EXISTS ingestion_warnings
(
    team_id Int64,
    source LowCardinality(String) DEFAULT 'sluice',
    type LowCardinality(String),
    key String,
    details String CODEC(ZSTD(3)),
    count UInt64,
    -- arrival time of the first event
    timestamp DateTime64(6, 'UTC'),
    _receipt UInt64,
    _offset UInt64
)
ENGINE = ReplacingMergeTree
PARTITION BY toDate(timestamp)
ORDER BY (team_id, type, timestamp, key, _receipt, _offset)
TTL toDateTime(timestamp) + INTERVAL 90 DAY;

-- Rejected messages and events with their original bytes. Read it with FINAL.
CREATE TABLE IF NOT EXISTS dead_letters
(
    team_id Int64,
    reason LowCardinality(String),
    step LowCardinality(String),
    detail String,
    body String CODEC(ZSTD(3)),
    -- arrival time
    _timestamp DateTime64(6, 'UTC'),
    _receipt UInt64,
    _offset UInt64,
    _index UInt32,
    inserted_at DateTime64(6, 'UTC') DEFAULT now64(6)
)
ENGINE = ReplacingMergeTree
PARTITION BY toDate(_timestamp)
ORDER BY (team_id, reason, _receipt, _offset, _index)
TTL toDateTime(inserted_at) + INTERVAL 28 DAY;
