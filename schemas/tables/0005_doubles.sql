-- Doubles: two rows of `events` of one (team_id, uuid). They come from inserts that did not see each other: what a killed job had sent beside what its
-- successor sends, or two jobs at once. `events_unique` hides them, `sluice compact` removes them (docs/compact.md).

-- For what looks for a time of arrival or of insert, which neither the partitions nor the order of `events` know.
ALTER TABLE events ADD INDEX IF NOT EXISTS arrival _timestamp TYPE minmax GRANULARITY 1;
ALTER TABLE events ADD INDEX IF NOT EXISTS insertion inserted_at TYPE minmax GRANULARITY 1;
ALTER TABLE events MATERIALIZE INDEX IF EXISTS arrival;
ALTER TABLE events MATERIALIZE INDEX IF EXISTS insertion;
ALTER TABLE event_ids ADD INDEX IF NOT EXISTS insertion inserted_at TYPE minmax GRANULARITY 1;
ALTER TABLE event_ids MATERIALIZE INDEX IF EXISTS insertion;

-- Of two rows that were inserted in the same microsecond a merge keeps the one that `compact` would keep: that of the smaller receipt.
ALTER TABLE events
    MODIFY COLUMN IF EXISTS _version UInt64
    MATERIALIZED 18446744073709551615 - 4096 * toUInt64(toUnixTimestamp64Micro(inserted_at)) - bitShiftRight(_receipt, 52);

-- The ids among which there may be doubles that `compact` has not looked for: what was stored since it ran, and a while before (pipelines/compact.py, OVERLAP).
-- A row may be listed several times.
CREATE TABLE IF NOT EXISTS unchecked_ids
(
    id FixedString(16),
    -- for a first look: half as wide, and no less different
    key UInt64 MATERIALIZED reinterpretAsUInt64(substring(id, 9, 8)),
    team_id Int64,
    uuid UUID,
    _timestamp DateTime64(6, 'UTC'),
    _receipt UInt64,
    _offset UInt64,
    _index UInt32,
    inserted_at DateTime64(6, 'UTC')
)
ENGINE = MergeTree
ORDER BY inserted_at
SETTINGS non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW IF NOT EXISTS unchecked_ids_mv TO unchecked_ids AS
SELECT
    toFixedString(substring(SHA1(concat(reinterpretAsFixedString(team_id), UUIDStringToNum(toString(uuid)))), 1, 16), 16) AS id,
    team_id,
    uuid,
    _timestamp,
    _receipt,
    _offset,
    _index,
    inserted_at
FROM events;

-- What was stored before there was such a list. Run again, it lists rows again.
INSERT INTO unchecked_ids (id, team_id, uuid, _timestamp, _receipt, _offset, _index, inserted_at)
SELECT id, team_id, uuid, _timestamp, _receipt, _offset, _index, inserted_at
FROM event_ids;

-- The doubles among them: every row but the first stored of its id, and which one that is. The order is the same in every run.
CREATE OR REPLACE VIEW unchecked_doubles AS
SELECT DISTINCT team_id, uuid, _timestamp, _receipt, _offset, _index, inserted_at, kept
FROM
(
    SELECT
        *,
        (inserted_at, _receipt, _offset, _index) AS place,
        min(place) OVER (PARTITION BY id) AS kept
    FROM unchecked_ids
    WHERE key IN
    (
        SELECT key
        FROM unchecked_ids
        GROUP BY key
        HAVING count() > 1
        SETTINGS max_bytes_before_external_group_by = 1000000000
    )
)
WHERE place != kept;

-- Rows of `events` that `compact` has found to be doubles, whether they are removed yet or not. Read it with FINAL.
CREATE TABLE IF NOT EXISTS doubles
(
    team_id Int64,
    uuid UUID,
    -- arrival time
    _timestamp DateTime64(6, 'UTC'),
    _receipt UInt64,
    _offset UInt64,
    _index UInt32,
    inserted_at DateTime64(6, 'UTC'),
    -- the row that stays: inserted_at, _receipt, _offset, _index
    kept Tuple(DateTime64(6, 'UTC'), UInt64, UInt64, UInt32),
    cause LowCardinality(String),
    found_at DateTime64(6, 'UTC') DEFAULT now64(6),
    -- 1970 while it is not
    removed_at DateTime64(6, 'UTC') DEFAULT 0,
    -- what was written last counts: a double that is found again is to be removed again
    written_at DateTime64(6, 'UTC') DEFAULT now64(6)
)
ENGINE = ReplacingMergeTree(written_at)
ORDER BY (inserted_at, _receipt, _offset, _index);

-- Each run of `compact` that came to its end.
CREATE TABLE IF NOT EXISTS compactions
(
    started_at DateTime64(6, 'UTC'),
    finished_at DateTime64(6, 'UTC') DEFAULT now64(6),
    -- whether it looked at all that arrived lately, and not only at what was unchecked
    full Bool,
    -- doubles found, by cause
    found Map(String, UInt64),
    rows_removed UInt64
)
ENGINE = MergeTree
ORDER BY started_at;

-- One row an id at any moment: the one that was stored first. While no id that is unchecked is there twice, which is nearly always, the first condition
-- is 1 before the query is planned: no column is read for the second, and no set is made.
CREATE OR REPLACE VIEW events_unique AS
SELECT *
FROM events
WHERE (SELECT length(groupUniqArray(key)) = count() FROM unchecked_ids)
    OR (inserted_at, _receipt, _offset, _index) NOT IN (SELECT inserted_at, _receipt, _offset, _index FROM unchecked_doubles);

-- As in 0003: it reads the view above.
CREATE OR REPLACE VIEW events_resolved AS
SELECT stored.* REPLACE (if(is_known = 1, current_id, stored.person_id) AS person_id)
FROM events_unique AS stored
LEFT JOIN (SELECT team_id, distinct_id, person_id AS current_id, 1 AS is_known FROM person_distinct_ids) AS known USING (team_id, distinct_id)
SETTINGS join_use_nulls = 0;
