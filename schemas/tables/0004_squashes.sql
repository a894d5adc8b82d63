-- What `sluice squash` has done: a row for each partition of `events` that it went through to the end.
CREATE TABLE IF NOT EXISTS squashes
(
    partition_id String,
    -- the links and events that were inserted before this moment were taken into account
    started_at DateTime64(6, 'UTC'),
    finished_at DateTime64(6, 'UTC') DEFAULT now64(6),
    distinct_ids UInt64,
    rows UInt64
)
ENGINE = MergeTree
ORDER BY (partition_id, started_at);
