-- What one insert can cost is bounded, and rows that differ stay apart (docs/ingest.md, Tables).
--
-- Times that a client chooses made a partition for each month of an event and for each day of an arrival: 1,500 events could make 3,000 parts. Now there are
-- months from 2024 to 2035, years from 2010 to 2023 and from 2036 to 2059, one partition for all before and one for all after: 184 at most, and those of
-- ordinary traffic are months. Queries are pruned as before: parts know the least and the greatest time in them.
-- `receipts` and `outcomes` stay without partitions: they have a row for thousands of events, and a month of them is deleted in a second.
--
-- REBUILD TABLE is not ClickHouse's: transforms/io/rebuild.py copies the rows, all columns and settings that the table has into one with these keys,
-- compares, and exchanges the two. BY names the column of time that it cuts the rows into pieces by.

-- Partitions are months now, not days of arrival: a look at some days finds their granules by this.
ALTER TABLE event_ids ADD INDEX IF NOT EXISTS arrival _timestamp TYPE minmax GRANULARITY 1;

REBUILD TABLE event_ids BY _timestamp
PARTITION BY if(toYear(_timestamp) BETWEEN 2024 AND 2035, toYYYYMM(_timestamp), least(greatest(toYear(_timestamp), 2009), 2060));

REBUILD TABLE dead_letters BY _timestamp
PARTITION BY if(toYear(_timestamp) BETWEEN 2024 AND 2035, toYYYYMM(_timestamp), least(greatest(toYear(_timestamp), 2009), 2060));

REBUILD TABLE ingestion_warnings BY timestamp
PARTITION BY if(toYear(timestamp) BETWEEN 2024 AND 2035, toYYYYMM(timestamp), least(greatest(toYear(timestamp), 2009), 2060));

-- A merge keeps one row of those with one sorting key. It ended in a hash of the uuid, of which a client can make many uuids: events vanished. A uuid alone is not
-- enough either: one that comes again after the window is stored, and counted, again. So only what is one delivery of one event is one row.
REBUILD TABLE events BY timestamp
PARTITION BY if(toYear(timestamp) BETWEEN 2024 AND 2035, toYYYYMM(timestamp), least(greatest(toYear(timestamp), 2009), 2060))
PRIMARY KEY (team_id, toDate(timestamp), event, cityHash64(distinct_id))
ORDER BY (team_id, toDate(timestamp), event, cityHash64(distinct_id), uuid, _receipt, _offset, _index);
