-- Appends to live streams whose numbers are known, all at once: nothing is touched but their rows,
-- their events and the totals. A group whose stream is gone, or not live any more, is not in the
-- answer, and changes nothing. What its bytes add to a stream's session is booked later.
--
-- Streams are locked in the order in which they are given, then a row of the totals.
--
-- A connection with settings of our own does not call this, but sends the statement inside.
CREATE FUNCTION {extend} (
    -- Groups, in the order of their streams' numbers: their places in the columns below. A number
    -- means only the stream with that key.
    p_groups bigint[], p_ids bigint[], p_keys bytea[],
    -- Columns of groups and events, as those of `append`; but the leases that groups want stand in
    -- the order of these groups, as their keys do. What is behind those of the last means nothing.
    p_first bigint[], p_count bigint[], p_bytes bigint[], p_last_tag bigint[],
    p_completes boolean[], p_owner text[], p_ttl bigint[],
    p_running bigint[], p_tag bigint[], p_retry bigint[], p_message text[],
    p_stream_ttl bigint, p_offset bigint, p_sync text,
    -- Whether the totals are not left to the caller.
    p_counts boolean
)
-- One row, of columns: of the groups that are stored, in any order, which of those given each is (1
-- for the first), with what of an answer of `append` is not known before. NULLs if there are none.
RETURNS TABLE (
    o_places bigint[], o_first_seqs bigint[], o_stored_at bigint[], o_epochs bigint[])
LANGUAGE plpgsql {settings} AS $body$
BEGIN
    PERFORM {commit_as}(p_sync);
    RETURN QUERY
    WITH extended AS (
        UPDATE {streams} s SET
            last_seq = s.last_seq + p_count[w.n], last_tag = p_last_tag[w.n],
            total_bytes = s.total_bytes + p_bytes[w.n],
            oldest_at = coalesce(s.oldest_at, greatest(s.newest_at, t.now)),
            newest_at = greatest(s.newest_at, t.now), active_at = greatest(s.active_at, t.now),
            since = CASE WHEN p_completes[w.n] THEN greatest(s.active_at, t.now) ELSE s.since END,
            complete = p_completes[w.n], state = {state}(p_completes[w.n], NULL),
            large = {large}(s.total_bytes + p_bytes[w.n], s.removed_bytes),
            unbooked = {unbooked}(s.total_bytes + p_bytes[w.n], s.booked_bytes, s.session),
            owner = CASE
                WHEN p_completes[w.n] THEN NULL
                WHEN {may_lease}(s.owner, s.lease_until, w.owner, t.now) THEN w.owner
                ELSE s.owner END,
            lease_until = CASE
                WHEN p_completes[w.n] THEN NULL
                WHEN {may_lease}(s.owner, s.lease_until, w.owner, t.now) THEN t.now + w.ttl
                ELSE s.lease_until END
        FROM (SELECT {now}(p_offset) AS now) t
        -- To take an element of a column of texts, the server walks through those before it.
        CROSS JOIN unnest(p_groups, p_ids, p_keys, p_owner, p_ttl) WITH ORDINALITY
            AS w (n, id, key, owner, ttl, place)
        -- `IS TRUE`, so that the planner does not take the keys' index, which is the larger one.
        WHERE s.id = w.id AND (s.key = w.key) IS TRUE
            AND {is_live}(s.complete, s.expired_at, s.active_at, s.lease_until, p_stream_ttl, t.now)
        RETURNING w.n, w.place, s.id, s.last_seq - p_count[w.n] AS before,
            s.total_bytes - p_bytes[w.n] AS total, s.newest_at, s.reader_epoch),
    stored AS (
        INSERT INTO {events} (stream, seq, tag, stored_at, running_bytes, retry_ms, message)
        SELECT x.id, x.before + i - p_first[x.n] + 1, p_tag[i], x.newest_at,
            x.total + p_running[i], p_retry[i], p_message[i]
        FROM extended x
        -- As a column, and not as a table, which the server would make for each group.
        CROSS JOIN LATERAL (
            SELECT generate_series(p_first[x.n], p_first[x.n] + p_count[x.n] - 1) AS i) e),
    -- Its rows are looked for after all of `extended` is read: it comes last, and asks what that
    -- has done.
    counted AS (
        UPDATE {totals} t SET
            changes = t.changes + 1, events = t.events + c.events, bytes = t.bytes + c.bytes
        FROM (
            SELECT sum(p_count[x.n])::bigint AS events, sum(p_bytes[x.n])::bigint AS bytes
            FROM extended x) c
        WHERE p_counts AND c.events > 0 AND t.shard = {free_shard})
    SELECT array_agg(x.place), array_agg(x.before + 1), array_agg(x.newest_at),
        array_agg(x.reader_epoch)
    FROM extended x;
END
$body$;
