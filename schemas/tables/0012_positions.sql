-- Where a run began to read a partition of a topic, and why. What was opened before and lies below `start` will not be read again by
-- that run. `topic` is the topic's id: a source is named once for each, so that a topic made anew under an old name is another source.
CREATE TABLE IF NOT EXISTS positions
(
    source String,
    topic String,
    consumer_group String,
    run UUID,
    start UInt64,
    -- group, new, remade, expired, truncated, behind: see transforms/io/kafka/positions.py
    why LowCardinality(String),
    -- that are lost (expired), or read again (truncated, behind)
    messages UInt64,
    written_at DateTime64(6, 'UTC') DEFAULT now64(6)
)
ENGINE = MergeTree
ORDER BY (source, written_at);
