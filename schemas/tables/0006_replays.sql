-- Dead letters that are tried again: what a letter needs to come out as it would have the first time, which replay it was in, and its status.

ALTER TABLE dead_letters
    -- whether the arrival is that of the client's request, and not just the time of reading
    ADD COLUMN IF NOT EXISTS stamped Bool DEFAULT false,
    ADD COLUMN IF NOT EXISTS attempt UInt32 DEFAULT 1,
    -- where the event was in its first attempt: what its uuid is made from if it has none
    ADD COLUMN IF NOT EXISTS source LowCardinality(String) DEFAULT concat('receipt:', toString(_receipt)),
    ADD COLUMN IF NOT EXISTS origin_receipt UInt64 DEFAULT _receipt,
    ADD COLUMN IF NOT EXISTS origin_offset UInt64 DEFAULT _offset,
    ADD COLUMN IF NOT EXISTS origin_index UInt32 DEFAULT _index,
    ADD COLUMN IF NOT EXISTS bytes UInt64 MATERIALIZED length(body);

-- Which letter is in which replay, written before the letter is read. Events and letters that come of it have `replay_receipt` and
-- `replay_offset` as theirs. It is kept for longer than letters are: none must look as if it had never been replayed.
CREATE TABLE IF NOT EXISTS replays
(
    team_id Int64,
    reason LowCardinality(String),
    _receipt UInt64,
    _offset UInt64,
    _index UInt32,
    run UUID,
    replay_receipt UInt64,
    replay_offset UInt64,
    written_at DateTime64(6, 'UTC') DEFAULT now64(6)
)
ENGINE = ReplacingMergeTree
ORDER BY (run, replay_offset)
TTL toDateTime(written_at) + INTERVAL 56 DAY;

-- Dead letters with what has become of them (docs/letters.md). What a replay that never finished made of a letter is left out: that letter
-- is still waiting.
CREATE OR REPLACE VIEW letters AS
WITH finished AS
    (
        SELECT receipt
        FROM receipts
        WHERE status = 'acknowledged' AND receipt IN (SELECT replay_receipt FROM replays)
    )
SELECT
    letter.*,
    multiIf(is_replayed = 0, 'waiting', has_failed = 1, 'failed_again', 'replayed') AS status,
    replayed_at
FROM
(
    SELECT *, bytes
    FROM dead_letters FINAL
    WHERE attempt = 1 OR _receipt IN (SELECT receipt FROM finished)
) AS letter
LEFT JOIN
(
    -- One replay in which nothing failed is enough.
    SELECT _receipt, _offset, _index, 1 AS is_replayed, min(has_letter) AS has_failed, max(written_at) AS replayed_at
    FROM
    (
        SELECT
            _receipt, _offset, _index, written_at,
            (replay_receipt, replay_offset) IN (SELECT _receipt, _offset FROM dead_letters WHERE attempt > 1) AS has_letter
        FROM replays
        WHERE replay_receipt IN (SELECT receipt FROM finished)
    )
    GROUP BY _receipt, _offset, _index
) AS replay USING (_receipt, _offset, _index)
SETTINGS join_use_nulls = 0;
