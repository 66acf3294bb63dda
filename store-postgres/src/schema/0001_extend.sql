-- Appends to live streams whose numbers are known, all at once: nothing is touched but their rows,
-- their events and the totals. A group whose stream is gone, or not live any more, gets no row, and
-- changes nothing. What its bytes add to a stream's session is booked later.
--
-- Streams are locked in the order in which they are given, then a row of the totals.
--
-- A connection with settings of our own does not call this, but sends the statement inside.
CREATE FUNCTION {extend} (
    -- Groups, in the order of their streams' numbers: their places in the columns below. With keys,
    -- a number means only the stream with that key.
    p_groups bigint[], p_ids bigint[], p_keys bytea[],
    -- Columns of groups and events, as those of `append`.
    p_first bigint[], p_count bigint[], p_bytes bigint[], p_last_tag bigint[],
    p_completes boolean[], p_owner text[], p_ttl bigint[],
    p_running bigint[], p_tag bigint[], p_retry bigint[], p_message text[],
    p_stream_ttl bigint, p_offset bigint, p_sync text,
    -- Whether the totals are not left to the caller.
    p_counts boolean
)
-- A row for each group that is stored, as `append` answers it.
RETURNS TABLE (
    o_group bigint, o_code bigint, o_id bigint, o_key bytea, o_first_seq bigint,
    o_stored_at bigint, o_epoch bigint)
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
                WHEN {may_lease}(s.owner, s.lease_until, p_owner[w.n], t.now) THEN p_owner[w.n]
                ELSE s.owner END,
            lease_until = CASE
                WHEN p_completes[w.n] THEN NULL
                WHEN {may_lease}(s.owner, s.lease_until, p_owner[w.n], t.now) THEN t.now + p_ttl[w.n]
                ELSE s.lease_until END
        FROM (SELECT {now}(p_offset) AS now) t CROSS JOIN unnest(p_groups, p_ids) AS w (n, id)
        WHERE s.id = w.id AND (p_keys IS NULL OR s.key = p_keys[w.n])
            AND {is_live}(s.complete, s.expired_at, s.active_at, s.lease_until, p_stream_ttl, t.now)
        RETURNING w.n, s.id, s.key, s.last_seq - p_count[w.n] AS before,
            s.total_bytes - p_bytes[w.n] AS total, s.newest_at, s.reader_epoch),
    stored AS (
        INSERT INTO {events} (stream, seq, tag, stored_at, running_bytes, retry_ms, message)
        SELECT x.id, x.before + i - p_first[x.n] + 1, p_tag[i], x.newest_at,
            x.total + p_running[i], p_retry[i], p_message[i]
        FROM extended x
        CROSS JOIN generate_series(p_first[x.n], p_first[x.n] + p_count[x.n] - 1) AS i),
    -- Its rows are looked for after all of `extended` is read: it comes last, and asks what that
    -- has done.
    counted AS (
        UPDATE {totals} t SET
            changes = t.changes + 1, events = t.events + c.events, bytes = t.bytes + c.bytes
        FROM (
            SELECT sum(p_count[x.n])::bigint AS events, sum(p_bytes[x.n])::bigint AS bytes
            FROM extended x) c
        WHERE p_counts AND c.events > 0 AND t.shard = {free_shard})
    SELECT x.n, 0::bigint, x.id, x.key, x.before + 1, x.newest_at, x.reader_epoch FROM extended x;
END
$body$;
