-- Appends one event to a live stream whose number is known: what `extend` does with one group of one
-- event that does not end its stream. Plain arguments cost the server less than columns of one row.
CREATE FUNCTION {extend_one} (
    p_id bigint, p_key bytea, p_bytes bigint, p_owner text, p_ttl bigint,
    p_tag bigint, p_retry bigint, p_message text,
    p_stream_ttl bigint, p_offset bigint, p_sync text
)
-- A row if it is stored, with what of an answer of `append` is not known before.
RETURNS TABLE (o_first_seq bigint, o_stored_at bigint, o_epoch bigint)
LANGUAGE plpgsql {settings} AS $body$
BEGIN
    PERFORM {commit_as}(p_sync);
    RETURN QUERY
    WITH extended AS (
        UPDATE {streams} s SET
            last_seq = s.last_seq + 1, last_tag = p_tag, total_bytes = s.total_bytes + p_bytes,
            oldest_at = coalesce(s.oldest_at, greatest(s.newest_at, t.now)),
            newest_at = greatest(s.newest_at, t.now), active_at = greatest(s.active_at, t.now),
            large = {large}(s.total_bytes + p_bytes, s.removed_bytes),
            unbooked = {unbooked}(s.total_bytes + p_bytes, s.booked_bytes, s.session),
            owner = CASE
                WHEN {may_lease}(s.owner, s.lease_until, p_owner, t.now) THEN p_owner
                ELSE s.owner END,
            lease_until = CASE
                WHEN {may_lease}(s.owner, s.lease_until, p_owner, t.now) THEN t.now + p_ttl
                ELSE s.lease_until END
        FROM (SELECT {now}(p_offset) AS now) t
        WHERE s.id = p_id AND (s.key = p_key) IS TRUE -- As in `extend`.
            AND {is_live}(s.complete, s.expired_at, s.active_at, s.lease_until, p_stream_ttl, t.now)
        RETURNING s.id, s.last_seq, s.total_bytes, s.newest_at, s.reader_epoch),
    stored AS (
        INSERT INTO {events} (stream, seq, tag, stored_at, running_bytes, retry_ms, message)
        SELECT x.id, x.last_seq, p_tag, x.newest_at, x.total_bytes, p_retry, p_message
        FROM extended x),
    -- Comes last, as in `extend`.
    counted AS (
        UPDATE {totals} t SET
            changes = t.changes + 1, events = t.events + 1, bytes = t.bytes + p_bytes
        WHERE t.shard = {free_shard} AND EXISTS (SELECT FROM extended))
    SELECT x.last_seq, x.newest_at, x.reader_epoch FROM extended x;
END
$body$;
