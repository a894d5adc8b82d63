-- Persons and groups (docs/persons.md): registers that merge by max, and the views that read them. PostHog's column names where it has them.

ALTER TABLE events
    ADD COLUMN IF NOT EXISTS person_id UUID,
    ADD COLUMN IF NOT EXISTS person_created_at DateTime64(6, 'UTC'),
    ADD COLUMN IF NOT EXISTS person_properties String CODEC(ZSTD(3)),
    ADD COLUMN IF NOT EXISTS `$group_0` String,
    ADD COLUMN IF NOT EXISTS `$group_1` String,
    ADD COLUMN IF NOT EXISTS `$group_2` String,
    ADD COLUMN IF NOT EXISTS `$group_3` String,
    ADD COLUMN IF NOT EXISTS `$group_4` String;

-- Facts about distinct ids, stored under the id of a person, whose first byte is the bucket: a shard is a range of buckets, and its facts one range read.
-- The person is that of the distinct id itself (`own`), or the one that the distinct id was merged into when the fact was written; the same fact
-- may be there under both. order, uuid and value make the register.
CREATE TABLE IF NOT EXISTS person_properties
(
    bucket UInt8,
    person_id UUID,
    team_id Int64,
    distinct_id String,
    kind Enum8('set' = 0, 'once' = 1),
    key String,
    own SimpleAggregateFunction(max, UInt8),
    order Int64 EPHEMERAL,
    uuid FixedString(16) EPHEMERAL,
    value String EPHEMERAL,
    register SimpleAggregateFunction(max, Tuple(order Int64, uuid FixedString(16), value String)) DEFAULT (order, uuid, value),
    inserted_at SimpleAggregateFunction(max, DateTime64(6, 'UTC')) DEFAULT now64(6)
)
ENGINE = AggregatingMergeTree
ORDER BY (bucket, person_id, team_id, distinct_id, kind, key);

-- As above. `created` repeats `first_seen` under the person that the distinct id was merged into. `key` is the target of a forced merge.
CREATE TABLE IF NOT EXISTS person_links
(
    bucket UInt8,
    person_id UUID,
    team_id Int64,
    distinct_id String,
    kind Enum8('first_seen' = 2, 'identified' = 3, 'link' = 4, 'forced' = 5, 'created' = 6),
    key String,
    own SimpleAggregateFunction(max, UInt8),
    order Int64 EPHEMERAL,
    uuid FixedString(16) EPHEMERAL,
    value String EPHEMERAL,
    register SimpleAggregateFunction(max, Tuple(order Int64, uuid FixedString(16), value String)) DEFAULT (order, uuid, value),
    inserted_at SimpleAggregateFunction(max, DateTime64(6, 'UTC')) DEFAULT now64(6)
)
ENGINE = AggregatingMergeTree
ORDER BY (bucket, person_id, team_id, distinct_id, kind, key);

CREATE TABLE IF NOT EXISTS group_properties
(
    team_id Int64,
    group_type String,
    group_key String,
    kind Enum8('set' = 0, 'first_seen' = 2),
    key String,
    order Int64 EPHEMERAL,
    uuid FixedString(16) EPHEMERAL,
    value String EPHEMERAL,
    register SimpleAggregateFunction(max, Tuple(order Int64, uuid FixedString(16), value String)) DEFAULT (order, uuid, value),
    inserted_at SimpleAggregateFunction(max, DateTime64(6, 'UTC')) DEFAULT now64(6)
)
ENGINE = AggregatingMergeTree
ORDER BY (team_id, group_type, group_key, kind, key);
