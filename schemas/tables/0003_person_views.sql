-- Views of persons and groups (docs/persons.md). They merge registers themselves: rows of one fact may exist several times, under several persons.

-- Merges that hold, one row a source. A link holds unless its source was identified earlier. Both orders are minus a time.
CREATE OR REPLACE VIEW person_merges AS
SELECT team_id, source, targets
FROM
(
    SELECT
        team_id,
        distinct_id AS source,
        maxIf(register, kind = 'link') AS link,
        countIf(kind = 'link') > 0
            AND (countIf(kind = 'identified') = 0 OR maxIf(register.order, kind = 'identified') <= link.order) AS holds,
        arrayDistinct(arrayConcat(groupArrayIf(key, kind = 'forced'), if(holds, [link.value], []))) AS all_targets,
        arrayFilter(target -> target != source, all_targets) AS targets
    FROM person_links
    WHERE kind IN ('identified', 'link', 'forced')
    GROUP BY team_id, distinct_id
)
WHERE notEmpty(targets);

-- All distinct ids that are connected by merges that hold, with the canonical one of those that they are connected with.
CREATE OR REPLACE VIEW person_canonical_ids AS
WITH RECURSIVE
    -- Every source and every target, once. Nothing is merged into a leaf, and a leaf into one: it goes where its target goes.
    ids AS
    (
        SELECT
            team_id,
            id,
            notEmpty(targets) AS is_source,
            groupArrayArray(out) AS targets,
            length(targets) = 1 AND NOT max(as_target) AS is_leaf
        FROM
        (
            SELECT
                team_id,
                arrayJoin(arrayPushFront(person_merges.targets, source)) AS id,
                id != source AS as_target,
                if(as_target, [], person_merges.targets) AS out
            FROM person_merges
        )
        GROUP BY team_id, id
    ),
    -- What is left without the leaves, and most often nothing: chains, cycles, sources with several targets. Edges node -> label, label being
    -- the smaller, are replaced by shorter ones until each node has the smallest id that it is connected with: the algorithm of alternating
    -- stars (Kiveris et al., Connected Components in MapReduce and Beyond), which takes about log(n) rounds, also for a chain.
    -- Within a view, ClickHouse 26.9 reads core as its first part and one round of all rounds' rows together (compare its pull request 120089).
    -- So each row must be true by itself, and the smallest label of a node counts: then a round too many does no harm.
    core AS
    (
        SELECT team_id, greatest(id, target) AS node, least(id, target) AS label, 1 AS changed
        FROM ids
        ARRAY JOIN targets AS target
        WHERE NOT is_leaf

        UNION ALL

        -- The round that changes nothing in a team is its last.
        SELECT team_id, shorter.1 AS node, shorter.2 AS label, changed
        FROM
        (
            SELECT team_id, groupArrayArray(star) AS edges, max(is_new) AS changed
            FROM
            (
                -- Small star: a node's smaller neighbours, and itself, go to the smallest of them.
                SELECT
                    team_id,
                    greater AS center,
                    groupUniqArray(least_id) AS smaller,
                    arrayMin(smaller) AS smallest,
                    arrayMap(id -> (id, smallest), arrayFilter(id -> id != smallest, arrayPushBack(smaller, center))) AS star,
                    max(has_moved) OR length(smaller) > 1 AS is_new
                FROM
                (
                    -- Large star: a node's greater neighbours go to its smallest neighbour, or to itself.
                    SELECT
                        team_id,
                        edge.1 AS middle,
                        groupUniqArray(edge.2) AS neighbours,
                        arrayJoin(arrayFilter(id -> id > middle, neighbours)) AS greater,
                        least(middle, arrayMin(neighbours)) AS least_id,
                        least_id != middle AS has_moved
                    FROM (SELECT team_id, arrayJoin([(node, label), (label, node)]) AS edge FROM core WHERE changed)
                    GROUP BY team_id, middle
                )
                GROUP BY team_id, greater
            )
            GROUP BY team_id
        )
        ARRAY JOIN edges AS shorter
    )
-- The canonical id is the smallest of those that are no source; of all, if all are.
SELECT team_id, arrayJoin(connected) AS distinct_id, canonical_id
FROM
(
    SELECT team_id, groupArray(id) AS connected, min((is_source, id)).2 AS canonical_id
    FROM (SELECT team_id, id, is_source, if(is_leaf, targets[1], id) AS node FROM ids) AS every
    LEFT JOIN (SELECT team_id, node, min(label) AS root, 1 AS is_core FROM core GROUP BY team_id, node) AS labelled USING (team_id, node)
    GROUP BY team_id, if(is_core = 1, root, node)
)
SETTINGS join_use_nulls = 0;

-- Every distinct id that has a fact or is the target of a merge, also of one that does not hold.
CREATE OR REPLACE VIEW person_distinct_ids AS
WITH
    -- The UUIDv5 of a distinct id's own person: SHA-1 with the version and the variant put in. The halves of a UUID are stored backwards.
    (team, id) -> SHA1(concat(unhex('932979b465c3442484670b66ec27bc22'), toString(team), ':', id)) AS person_hash,
    hash -> reinterpretAsUUID(concat(
        reinterpretAsFixedString(bitOr(bitAnd(reinterpretAsUInt64(reverse(substring(hash, 1, 8))), 0xFFFFFFFFFFFF0FFF), 0x5000)),
        reinterpretAsFixedString(bitOr(bitAnd(reinterpretAsUInt64(reverse(substring(hash, 9, 8))), 0x3FFFFFFFFFFFFFFF), 0x8000000000000000))
    )) AS uuid5
SELECT team_id, distinct_id, uuid5(person_hash(team_id, if(is_connected = 1, canonical_id, distinct_id))) AS person_id
FROM
(
    SELECT DISTINCT team_id, distinct_id
    FROM
    (
        SELECT team_id, distinct_id FROM person_properties
        UNION ALL
        SELECT team_id, distinct_id FROM person_links WHERE kind != 'created'
        UNION ALL
        SELECT team_id, key AS distinct_id FROM person_links WHERE kind = 'forced'
        UNION ALL
        -- of the link that stands: not of a later one that is not merged away yet
        SELECT team_id, max(register).value AS target FROM person_links WHERE kind = 'link' GROUP BY team_id, distinct_id
    )
) AS known
LEFT JOIN (SELECT team_id, distinct_id, canonical_id, 1 AS is_connected FROM person_canonical_ids) AS merged USING (team_id, distinct_id)
SETTINGS join_use_nulls = 0;

CREATE OR REPLACE VIEW persons AS
WITH
    -- As in person_distinct_ids.
    (team, id) -> SHA1(concat(unhex('932979b465c3442484670b66ec27bc22'), toString(team), ':', id)) AS person_hash,
    hash -> reinterpretAsUUID(concat(
        reinterpretAsFixedString(bitOr(bitAnd(reinterpretAsUInt64(reverse(substring(hash, 1, 8))), 0xFFFFFFFFFFFF0FFF), 0x5000)),
        reinterpretAsFixedString(bitOr(bitAnd(reinterpretAsUInt64(reverse(substring(hash, 9, 8))), 0x3FFFFFFFFFFFFFFF), 0x8000000000000000))
    )) AS uuid5,
    -- A key as JSON text, whatever the settings: quotes, backslashes and control characters are escaped, nothing else is.
    arrayConcat(arrayMap(code -> char(code), range(32)), ['"', '\\']) AS special,
    arrayMap(
        one -> transform(
            one,
            ['\b', '\t', '\n', '\f', '\r', '"', '\\'],
            ['\\b', '\\t', '\\n', '\\f', '\\r', '\\"', '\\\\'],
            concat('\\u00', lower(hex(one)))
        ),
        special
    ) AS escapes,
    text -> concat(
        '"',
        if(
            match(text, '[\\x00-\\x1f"\\\\]'),
            arrayStringConcat(arrayMap(one -> transform(one, special, escapes, one), splitByString('', text))),
            text
        ),
        '"'
    ) AS quoted,
    -- What goes before others when a person has too much: `email`, `name`, copied and initial properties.
    [
        'utm_source', 'utm_medium', 'utm_campaign', 'utm_content', 'utm_name', 'utm_term', 'gclid', 'gad_source', 'gclsrc', 'dclid', 'gbraid',
        'wbraid', 'fbclid', 'msclkid', 'twclid', 'li_fat_id', 'mc_cid', 'igshid', 'ttclid', 'rdt_cid', 'irclid', '_kx', 'epik', 'qclid', 'sccid',
        '$app_build', '$app_name', '$app_namespace', '$app_version',
        '$browser', '$browser_version', '$device_type', '$current_url', '$pathname', '$os', '$os_name', '$os_version', '$referring_domain',
        '$referrer', '$screen_height', '$screen_width', '$viewport_height', '$viewport_width', '$raw_user_agent'
    ] AS copied,
    arrayConcat(['email', 'name'], copied, arrayMap(name -> concat('$initial_', replaceRegexpOne(name, '^[$]', '')), copied)) AS protected,
    -- Of the distinct ids that are connected with others, whom they are.
    merged AS (SELECT team_id, distinct_id, canonical_id, 1 AS is_connected FROM person_canonical_ids),
    -- Who was seen when. A person of several distinct ids is identified: one of them is the source of a merge.
    seen AS
    (
        SELECT
            team_id,
            if(is_connected = 1, canonical_id, distinct_id) AS person,
            maxIf(fact.order, kind = 'first_seen') AS first_seen,
            countIf(kind = 'identified' OR is_connected = 1) > 0 AS is_identified
        FROM (SELECT team_id, distinct_id, kind, register.order AS order FROM person_links WHERE kind IN ('first_seen', 'identified')) AS fact
        LEFT JOIN merged USING (team_id, distinct_id)
        GROUP BY team_id, person
        HAVING countIf(kind = 'first_seen') > 0
    ),
    -- The facts of all distinct ids of a person, merged key by key; orders of `once` are minus a time.
    facts AS
    (
        SELECT
            team_id,
            if(is_connected = 1, canonical_id, distinct_id) AS person,
            key,
            maxIf(register, kind = 'set') AS latest,
            maxIf(register, kind = 'once') AS earliest,
            countIf(kind = 'set') > 0 AS has_set,
            countIf(kind = 'once') > 0 AS has_once,
            multiIf(
                has_set AND latest.value NOT IN ('', 'null'), latest.value,
                has_once AND (NOT has_set OR -earliest.order > latest.order), earliest.value,
                -- null, or empty: unset
                latest.value
            ) AS shown
        FROM (SELECT team_id, distinct_id, kind, key, register FROM person_properties) AS fact
        LEFT JOIN merged USING (team_id, distinct_id)
        GROUP BY team_id, person, key
        HAVING shown != ''
    ),
    owned AS
    (
        SELECT
            team_id,
            person,
            arraySort(member -> member.1, groupArray((key, concat(quoted(key), ':', shown)))) AS members,
            -- each with a comma, and one brace more than commas
            1 + arraySum(member -> length(member.2) + 1, members) AS bytes,
            arraySort(member -> (NOT has(protected, member.1), member.1), members) AS preferred,
            arrayCumSum(member -> length(member.2) + 1, preferred) AS ends,
            if(
                bytes > 655360,
                arraySort(member -> member.1, arrayFilter((member, end) -> end < 524288, preferred, ends)),
                members
            ) AS kept,
            concat('{', arrayStringConcat(kept.2, ','), '}') AS properties
        FROM facts
        GROUP BY team_id, person
    )
SELECT
    team_id,
    uuid5(person_hash(team_id, person)) AS id,
    fromUnixTimestamp64Micro(-first_seen, 'UTC') AS created_at,
    CAST(is_identified, 'Bool') AS is_identified,
    if(owned.properties = '', '{}', owned.properties) AS properties
FROM seen
LEFT JOIN owned USING (team_id, person)
SETTINGS join_use_nulls = 0;

-- Groups that have a fact.
CREATE OR REPLACE VIEW groups AS
WITH
    -- As in persons.
    arrayConcat(arrayMap(code -> char(code), range(32)), ['"', '\\']) AS special,
    arrayMap(
        one -> transform(
            one,
            ['\b', '\t', '\n', '\f', '\r', '"', '\\'],
            ['\\b', '\\t', '\\n', '\\f', '\\r', '\\"', '\\\\'],
            concat('\\u00', lower(hex(one)))
        ),
        special
    ) AS escapes,
    text -> concat(
        '"',
        if(
            match(text, '[\\x00-\\x1f"\\\\]'),
            arrayStringConcat(arrayMap(one -> transform(one, special, escapes, one), splitByString('', text))),
            text
        ),
        '"'
    ) AS quoted
SELECT team_id, group_type, group_key, created_at, concat('{', arrayStringConcat(members.2, ','), '}') AS group_properties
FROM
(
    SELECT
        team_id,
        group_type,
        group_key,
        -- 1970 if it was never identified
        fromUnixTimestamp64Micro(-maxIf(fact.order, kind = 'first_seen'), 'UTC') AS created_at,
        arraySort(member -> member.1, groupArrayIf((key, concat(quoted(key), ':', fact.value)), kind = 'set' AND fact.value != '')) AS members
    FROM
    (
        SELECT team_id, group_type, group_key, kind, key, max(register) AS fact
        FROM group_properties
        GROUP BY team_id, group_type, group_key, kind, key
    )
    GROUP BY team_id, group_type, group_key
);

-- As in 0001, with the columns that came since.
CREATE OR REPLACE VIEW events_unique AS
SELECT *
FROM events
ORDER BY inserted_at, _receipt, _offset, _index
LIMIT 1 BY team_id, uuid;

-- Events with the person of now, who may have changed since they were processed.
CREATE OR REPLACE VIEW events_resolved AS
SELECT stored.* REPLACE (if(is_known = 1, current_id, stored.person_id) AS person_id)
FROM events_unique AS stored
LEFT JOIN (SELECT team_id, distinct_id, person_id AS current_id, 1 AS is_known FROM person_distinct_ids) AS known USING (team_id, distinct_id)
SETTINGS join_use_nulls = 0;
