-- When each run was last at work: how a worker knows, at the price of a look at a few rows, that it is not alone.
CREATE TABLE IF NOT EXISTS runs
(
    run UUID,
    last_written SimpleAggregateFunction(max, DateTime64(6, 'UTC'))
)
ENGINE = AggregatingMergeTree
ORDER BY run;

CREATE MATERIALIZED VIEW IF NOT EXISTS runs_mv TO runs AS
SELECT run, written_at AS last_written
FROM receipts;
