-- A message with too many bad events has one dead letter, which counts for all of them.

ALTER TABLE dead_letters ADD COLUMN IF NOT EXISTS events UInt32 DEFAULT 1;

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
