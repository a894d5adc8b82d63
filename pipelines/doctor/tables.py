"""Checks of what is in the tables: the ids of the window, arrivals, receipts, dead letters, the age of the last compaction."""

from pipelines.doctor.finding import Finding, Level, graded, span
from transforms.breaker.window import TOKEN
from transforms.io.clickhouse import Client
from transforms.io.clickhouse.statements import literal
from transforms.sink.verify import IDENTITY, missing
from transforms.sink.verify import lost as lost_ids

WINDOW_DAYS = 8
AHEAD_SECONDS = 300
OPEN_SECONDS = 3_600
RETAIN_SECONDS = 86_400  # that a run may take
COMPACTION_DAYS = (1.0, 7.0)
MISSING_TEAM_EVENTS = 100  # of one unknown token in a day: more than a typing error
BURST = 3.0  # times the day's letters an hour
BURST_LETTERS = 100
KEPT_DAYS, LAST_DAYS = 28, 7  # of dead letters: how long they are kept, and how soon the oldest go
SETTLED = "inserted_at < now() - INTERVAL 1 MINUTE"  # what is inserted now is in one table before it is in the other


def check_window(client: Client) -> Finding:
    """Return whether each event of the last days has its id in `event_ids`, where duplicates are found, and each id its event."""
    counted = (
        f"SELECT toString(toDate(_timestamp)) AS day, count(), groupBitXor(cityHash64({IDENTITY})) FROM {{}}"
        f" WHERE _timestamp >= today() - {WINDOW_DAYS - 1} AND {SETTLED} GROUP BY day"
    )
    rows, ids = (sorted(client.rows(counted.format(table))) for table in ("events", "event_ids"))
    lacking, lost = {}, {}
    for day in sorted({day for day, _, _ in set(rows) ^ set(ids)}):
        where = f"toDate(_timestamp) = {literal(day)} AND {SETTLED}"
        lacking[day] = _count(client, f"SELECT count() {missing('event_ids', where)}")
        lost[day] = _count(client, f"SELECT count() FROM ({lost_ids(where)})")
    found = [f"ids are missing in event_ids: {_by_day(lacking)}"] if any(lacking.values()) else []
    found += [f"ids are listed of events that are gone, and cannot be ingested again: {_by_day(lost)}"] if any(lost.values()) else []
    if not found:
        total = sum(count for _, count, _ in rows)
        return Finding("window", Level.OK, f"every event of the last {WINDOW_DAYS} days of arrival has its id ({total:,})")
    return Finding("window", Level.FAILURE, "; ".join(found), "run `sluice compact --full`: it takes `events` for the truth")


def _by_day(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} of {day}" for day, count in counts.items() if count)


def _count(client: Client, sql: str) -> int:
    return int(client.rows(sql)[0][0])


def check_arrivals(client: Client) -> Finding:
    """Return whether events arrived in the future."""
    ((count, latest),) = client.rows(
        "SELECT count(), dateDiff('second', now64(6), max(_timestamp)) FROM event_ids"
        f" WHERE _timestamp > now64(6) + INTERVAL {AHEAD_SECONDS} SECOND"
    )
    if not count:
        return Finding("arrivals", Level.OK, "none is in the future")
    what = f"{count:,} events arrived in the future, up to {span(latest)}"
    todo = "the clock of an edge or a producer is ahead: duplicates are found, and quotas measured, by the time of arrival"
    return Finding("arrivals", Level.WARNING, what, todo)


def check_compaction(client: Client) -> Finding:
    """Return how long ago the last full compaction ended."""
    columns = {
        row[0] for row in client.rows("SELECT name FROM system.columns WHERE database = currentDatabase() AND table = 'compactions'")
    }
    if not columns:
        return Finding("compaction", Level.OK, "this schema has none")
    full = "WHERE full" if "full" in columns else ""
    ((runs, age),) = client.rows(f"SELECT count(), dateDiff('second', max(finished_at), now64(6)) FROM compactions {full}")
    if not runs:
        ((age,),) = client.rows("SELECT if(count() = 0, 0, dateDiff('second', min(inserted_at), now64(6))) FROM event_ids")
    what = f"the last one ended {span(age)} ago" if runs else f"there was none; the oldest event is {span(age)} old"
    return graded("compaction", age / 86_400, *COMPACTION_DAYS, what, "run `sluice compact` at least daily")


def check_dropped_days(client: Client) -> Finding:
    """Return whether the last run of `sluice retain` came to its end."""
    ((runs, before, finished, age),) = client.rows(
        "SELECT count(), toString(max(before)), max((started_at, finished)).2, dateDiff('second', max(started_at), now64(6))"
        " FROM retentions"
    )
    if not runs:
        return Finding("dropped days", Level.OK, "nothing was ever dropped: all tables grow")
    what = f"what arrived before {before} is dropped, and refused when it comes again"
    if finished or age < RETAIN_SECONDS:
        return Finding("dropped days", Level.OK, what)
    todo = "run `sluice retain` again: it finishes what was begun"
    return Finding("dropped days", Level.WARNING, f"{what}; the run that began {span(age)} ago did not come to its end", todo)


def check_receipts(client: Client) -> Finding:
    """Return what was opened long ago and neither finished nor passed by. What Pub/Sub delivers again comes in other receipts."""
    rows = client.rows(
        "SELECT source, count(), dateDiff('second', min(written_at), now64(6)) AS age FROM receipts FINAL LEFT JOIN ("
        "  SELECT source, max(end) AS reached FROM receipts WHERE status = 'acknowledged' GROUP BY source) AS done USING (source)"
        f" WHERE status = 'open' AND written_at < now64(6) - INTERVAL {OPEN_SECONDS} SECOND AND NOT startsWith(source, 'pubsub://')"
        " AND if(startsWith(source, 'kafka://'), end > reached,"
        "   (source, start, end) NOT IN (SELECT source, start, end FROM receipts WHERE status = 'acknowledged'))"
        " GROUP BY source ORDER BY age DESC"
    )
    if not rows:
        return Finding("receipts", Level.OK, f"none is open since more than {span(OPEN_SECONDS)}")
    source, _, age = rows[0]
    what = f"{sum(row[1] for row in rows):,} are open, the oldest since {span(age)}, of {source}"
    return Finding("receipts", Level.WARNING, what, "files: ingest them again. A topic: is its job running? See `sluice audit`")


def check_positions(client: Client) -> Finding:
    """Return where partitions were begun, in the last day, elsewhere than their group had left them."""
    if not client.rows("SELECT 1 FROM system.tables WHERE database = currentDatabase() AND name = 'positions'"):
        return Finding("positions", Level.OK, "this schema has none")
    rows = client.rows(
        "SELECT why, count(), sum(messages), any(source)"
        " FROM (SELECT DISTINCT source, consumer_group, run, start, why, messages FROM positions"
        "  WHERE written_at > now64(6) - INTERVAL 1 DAY)"
        " WHERE why NOT IN ('group', 'new') GROUP BY why ORDER BY why"
    )
    if not rows:
        return Finding("positions", Level.OK, "no partition was begun elsewhere than its group had left it in the last day")
    shown = "; ".join(f"{why}: {times:,} times, {messages:,} messages, as {source}" for why, times, messages, source in rows)
    is_lost = any(why == "expired" for why, *_ in rows)
    todo = 'expired: they are lost, raise the topic\'s retention. Else they are read again: docs/operations.md, "What happens when"'
    return Finding("positions", Level.FAILURE if is_lost else Level.WARNING, f"in the last day {shown}", todo)


def check_letters(client: Client) -> Finding:
    """Return how many dead letters wait, and whether they become more."""
    ((letters, hour, day, old),) = client.rows(
        "SELECT sum(events), sumIf(events, inserted_at > now() - INTERVAL 1 HOUR), sumIf(events, inserted_at > now() - INTERVAL 1 DAY),"
        f" sumIf(events, inserted_at < now() - INTERVAL {KEPT_DAYS - LAST_DAYS} DAY) FROM letters WHERE status = 'waiting'"
    )
    usual = (day - hour) / 23
    what = f"{letters:,} wait; {hour:,} came in the last hour, {usual:,.0f} an hour before; {old:,} are deleted within {LAST_DAYS} days"
    todo = "read `sluice letters`, mend the cause, then `sluice replay`"
    is_bad = old or (hour >= BURST_LETTERS and hour > BURST * usual)
    return Finding("letters", Level.WARNING if is_bad else Level.OK, what, todo if is_bad else "")


def check_unknown_tokens(client: Client) -> Finding:
    """Return the tokens that no team has, and that send so much that a team seems to be missing."""
    rows = client.rows(
        f"SELECT extract(body, {literal(TOKEN)}) AS token, sum(dead_letters.events) AS events FROM dead_letters FINAL"
        " WHERE reason = 'unknown_token' AND inserted_at > now() - INTERVAL 1 DAY AND token != ''"
        f" GROUP BY token HAVING events >= {MISSING_TEAM_EVENTS} ORDER BY events DESC, token"
    )
    if not rows:
        return Finding("unknown tokens", Level.OK, f"none sent {MISSING_TEAM_EVENTS} events within a day")
    shown = ", ".join(f"{token[:8]}... ({events:,})" for token, events in rows[:5])
    todo = "is a team missing in the registry? Add it, and replay; else tell who sends"
    return Finding("unknown tokens", Level.WARNING, f"{len(rows):,} tokens sent many events in the last day: {shown}", todo)
