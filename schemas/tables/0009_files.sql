-- Files by what is in them, and days of arrival that are dropped: so that the same files are the same files, whenever they come (docs/files.md, docs/retain.md).

-- Each file that was ever read, by its size and its content. The row that was inserted first counts. It is kept for ever: without it, a file whose
-- events were dropped would look like a new one.
CREATE TABLE IF NOT EXISTS files
(
    -- of the first 256 bytes: those that may be the beginning of a longer file have theirs in common with it. 0 of shorter ones
    head UInt64,
    size UInt64,
    -- `xxh3:`, `gs:` or `s3:` with the hash; `path:` with the path if it was read before there was this table
    content String,
    -- what its messages are said to come from, whatever its name is later: a uuid that is made up depends on it
    name String,
    -- of its messages that have none
    arrival DateTime64(6, 'UTC'),
    inserted_at DateTime64(6, 'UTC') DEFAULT now64(6),
    _version UInt64 MATERIALIZED 18446744073709551615 - toUInt64(toUnixTimestamp64Micro(inserted_at)),
    INDEX names name TYPE bloom_filter GRANULARITY 1
)
ENGINE = ReplacingMergeTree(_version)
ORDER BY (head, size, content);

-- What was read before: its messages arrived when the first run that finished a part of it had started. Run again, it inserts the same.
INSERT INTO files (size, content, name, arrival, inserted_at)
SELECT size, concat('path:', source), source, argMin(began, (NOT has_done, began)) AS first_arrival, first_arrival
FROM
(
    SELECT
        source,
        max(end) AS size,
        max(status = 'acknowledged') AS has_done,
        toDateTime64(UUIDv7ToDateTime(run, 'UTC'), 6, 'UTC') AS began
    FROM receipts
    WHERE NOT match(source, '^(kafka|pubsub|letters)://')
    GROUP BY source, run
)
WHERE size > 0
GROUP BY source, size;

-- Runs of `sluice retain`: all that arrived before a day is dropped from all tables, and refused when it comes again. A row is written before
-- anything is deleted, and another when all is.
CREATE TABLE IF NOT EXISTS retentions
(
    before Date,
    started_at DateTime64(6, 'UTC'),
    finished Bool,
    -- removed, by table
    rows Map(String, UInt64),
    written_at DateTime64(6, 'UTC') DEFAULT now64(6)
)
ENGINE = MergeTree
ORDER BY (started_at, finished);

-- Quotas hold for hours of any age: files arrive when they were written. `retain` drops what is too old.
ALTER TABLE usage MODIFY TTL hour + INTERVAL 40 DAY SETTINGS materialize_ttl_after_modify = 0;
ALTER TABLE usage REMOVE TTL;
