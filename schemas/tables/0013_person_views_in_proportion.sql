-- The view of 0003, with memory in proportion to the merges where one id is merged into many: each of its targets had a copy of all of them.

-- All distinct ids that are connected by merges that hold, with the canonical one of those that they are connected with.
CREATE OR REPLACE VIEW person_canonical_ids AS
WITH RECURSIVE
    -- Every source and every target, once. Nothing is merged into a leaf, and a leaf into one: it goes where its target goes.
    -- Here and below, what an array is made of is not kept beside its parts: each would have a copy of it, and one id may have any number.
    ids AS
    (
        SELECT
            team_id,
            each.1 AS id,
            notEmpty(targets) AS is_source,
            groupArrayArray(each.3) AS targets,
            length(targets) = 1 AND NOT max(each.2) AS is_leaf
        FROM
        (
            SELECT
                team_id,
                arrayJoin(arrayPushFront(
                    arrayMap(target -> (target, true, CAST([], 'Array(String)')), person_merges.targets),
                    (source, false, person_merges.targets)
                )) AS each
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
                    SELECT team_id, arrayJoin(greater_neighbours) AS greater, least_id, has_moved
                    FROM
                    (
                        SELECT
                            team_id,
                            edge.1 AS middle,
                            groupUniqArray(edge.2) AS neighbours,
                            arrayFilter(id -> id > middle, neighbours) AS greater_neighbours,
                            least(middle, arrayMin(neighbours)) AS least_id,
                            least_id != middle AS has_moved
                        FROM (SELECT team_id, arrayJoin([(node, label), (label, node)]) AS edge FROM core WHERE changed)
                        GROUP BY team_id, middle
                    )
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
