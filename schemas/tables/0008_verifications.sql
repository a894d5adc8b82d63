-- ClickHouse may die between two parts of one insert: the rows of `events` are there then, and those of its views are not. What compares them, and puts back
-- what is missing, is transforms/sink/verify.py.

-- Up to which moment `events` and its views were found to agree, or were made to. Rows that are inserted after `verified` never get an earlier `inserted_at`,
-- even when ClickHouse's clock is set back (transforms/io/clickhouse/frontier.py).
CREATE TABLE IF NOT EXISTS verifications
(
    verified DateTime64(6, 'UTC'),
    finished_at DateTime64(6, 'UTC') DEFAULT now64(6),
    -- rows that were put back
    event_ids UInt64,
    unchecked_ids UInt64,
    -- ids that were listed without a row of `events`, and are not any more
    lost UInt64,
    usage Int64
)
ENGINE = MergeTree
ORDER BY verified;

-- What was taken out of `event_ids` and `unchecked_ids`, since `events` had no row of it: such an event could not be ingested again.
CREATE TABLE IF NOT EXISTS lost_ids
(
    team_id Int64,
    uuid UUID,
    _timestamp DateTime64(6, 'UTC'),
    inserted_at DateTime64(6, 'UTC'),
    _receipt UInt64,
    _offset UInt64,
    _index UInt32,
    found_at DateTime64(6, 'UTC')
)
ENGINE = MergeTree
ORDER BY found_at;

-- The minute of the insert: by it a part of `usage` that is missing can be told. It is 1970 for what was stored before there was this column.
ALTER TABLE usage ADD COLUMN IF NOT EXISTS minute DateTime('UTC'), MODIFY ORDER BY (hour, team_id, minute);

ALTER TABLE usage_mv MODIFY QUERY
SELECT team_id, toStartOfHour(toDateTime(_timestamp, 'UTC')) AS hour, toStartOfMinute(toDateTime(inserted_at, 'UTC')) AS minute, count() AS events
FROM events
GROUP BY team_id, hour, minute;
