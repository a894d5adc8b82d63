-- One row an id also beside a running insert: a row of `events` is visible some ms before that of `unchecked_ids`, and a query looks at the one table some
-- ms before the other. All of this rests on a query's looks at `events` being one look (`enable_shared_storage_snapshot_in_query`, on by default).

-- What a query sees in `events` and not yet in `unchecked_ids`: the last insert's rows, for some ms, or those of a ClickHouse that died. An insert is one
-- part of `unchecked_ids`, so it is listed or not. Two minutes are what an insert may take from its `inserted_at` until it is committed.
CREATE OR REPLACE VIEW unlisted_ids AS
SELECT
    reinterpretAsUInt64(substring(SHA1(concat(reinterpretAsFixedString(team_id), UUIDStringToNum(toString(uuid)))), 9, 8)) AS key,
    inserted_at,
    _receipt,
    _offset,
    _index
FROM events
WHERE inserted_at >= now64(6) - INTERVAL 2 MINUTE
    AND (inserted_at, _receipt) NOT IN (SELECT inserted_at, _receipt FROM unchecked_ids WHERE inserted_at >= now64(6) - INTERVAL 3 MINUTE);

-- Every row but the first stored of its id, of the rows that the query sees: what `unchecked_ids` lists beyond them must not hide one of them.
CREATE OR REPLACE VIEW hidden_doubles AS
SELECT inserted_at, _receipt, _offset, _index
FROM
(
    SELECT
        inserted_at,
        _receipt,
        _offset,
        _index,
        (inserted_at, _receipt, _offset, _index) AS place,
        min(place) OVER (PARTITION BY team_id, uuid) AS kept
    FROM events
    WHERE (inserted_at, _receipt, _offset, _index) IN
    (
        SELECT inserted_at, _receipt, _offset, _index
        FROM
        (
            SELECT key, inserted_at, _receipt, _offset, _index FROM unchecked_ids
            UNION ALL
            SELECT key, inserted_at, _receipt, _offset, _index FROM unlisted_ids
        )
        WHERE key IN
        (
            SELECT key
            FROM (SELECT key FROM unchecked_ids UNION ALL SELECT key FROM unlisted_ids)
            GROUP BY key
            HAVING count() > 1
            SETTINGS max_bytes_before_external_group_by = 1000000000
        )
    )
)
WHERE place != kept;

-- One row an id at any moment: the first stored of those that are there. As in 0005, the first condition is nearly always 1 before the query is planned.
CREATE OR REPLACE VIEW events_unique AS
SELECT *
FROM events
WHERE (SELECT length(groupUniqArray(key)) = count() FROM (SELECT key FROM unchecked_ids UNION ALL SELECT key FROM unlisted_ids))
    OR (inserted_at, _receipt, _offset, _index) NOT IN (SELECT inserted_at, _receipt, _offset, _index FROM hidden_doubles);
