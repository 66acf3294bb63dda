-- What other functions call. They run under the settings of their callers.

-- The server's time in milliseconds, and what a test's clock adds. Not the time at which the
-- transaction began: it may have waited for locks since.
CREATE FUNCTION {now} (p_offset bigint) RETURNS bigint
LANGUAGE sql VOLATILE AS $body$
    SELECT floor(date_part('epoch', clock_timestamp()) * 1000)::bigint + p_offset
$body$;

-- StreamMeta::expires_at. NULL: never.
CREATE FUNCTION {expires_at} (
    p_expired_at bigint, p_complete boolean, p_active_at bigint, p_lease_until bigint,
    p_stream_ttl bigint, p_completed_ttl bigint
) RETURNS bigint
LANGUAGE sql IMMUTABLE AS $body$
    SELECT CASE
        WHEN p_expired_at IS NOT NULL THEN p_expired_at
        WHEN p_complete THEN p_active_at + p_completed_ttl
        WHEN p_stream_ttl IS NOT NULL THEN greatest(p_active_at + p_stream_ttl, p_lease_until)
    END
$body$;

-- StreamMeta::is_live, where a complete stream is not.
CREATE FUNCTION {is_live} (
    p_complete boolean, p_expired_at bigint, p_active_at bigint, p_lease_until bigint,
    p_stream_ttl bigint, p_now bigint
) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $body$
    SELECT NOT p_complete AND p_expired_at IS NULL AND (
        p_stream_ttl IS NULL OR p_active_at > p_now - p_stream_ttl
        OR coalesce(p_lease_until > p_now, false))
$body$;

-- Columns of a stream that follow from others.
CREATE FUNCTION {state} (p_complete boolean, p_expired_at bigint) RETURNS integer
LANGUAGE sql IMMUTABLE AS $body$
    SELECT CASE WHEN p_expired_at IS NOT NULL THEN 2 WHEN p_complete THEN 1 ELSE 0 END
$body$;
CREATE FUNCTION {large} (p_total_bytes bigint, p_removed_bytes bigint) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $body$
    SELECT p_total_bytes - p_removed_bytes >= 65536
$body$;
CREATE FUNCTION {unbooked} (p_total_bytes bigint, p_booked_bytes bigint, p_session text)
RETURNS boolean
LANGUAGE sql IMMUTABLE AS $body$
    SELECT p_total_bytes <> p_booked_bytes AND p_session <> ''
$body$;

-- Whether an owner who wants a lease gets it: no other's lasts.
CREATE FUNCTION {may_lease} (
    p_owner text, p_lease_until bigint, p_wants text, p_now bigint
) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $body$
    SELECT p_wants IS NOT NULL
        AND (p_owner IS NULL OR p_owner = p_wants OR p_lease_until <= p_now)
$body$;

-- Makes the commit wait as long as `durability` says, and never shorter than the operator's own
-- setting for synchronous replicas. Local to the transaction, so that it holds behind a pooler.
CREATE FUNCTION {commit_as} (p_sync text) RETURNS void
LANGUAGE plpgsql AS $body$
DECLARE
    v_set text := current_setting('synchronous_commit');
BEGIN
    IF p_sync <> v_set AND NOT (p_sync = 'on' AND v_set = 'remote_apply') THEN
        PERFORM set_config('synchronous_commit', p_sync, true);
    END IF;
END
$body$;

-- Adds to the totals.
CREATE FUNCTION {add_totals} (
    p_streams bigint, p_tombstones bigint, p_events bigint, p_bytes bigint, p_sessions bigint
) RETURNS void
LANGUAGE plpgsql AS $body$
BEGIN
    UPDATE {totals} t SET
        changes = t.changes + 1, streams = t.streams + p_streams,
        tombstones = t.tombstones + p_tombstones, events = t.events + p_events,
        bytes = t.bytes + p_bytes, sessions = t.sessions + p_sessions
    WHERE t.shard = {free_shard};
END
$body$;

-- Creates or locks a session's row.
CREATE FUNCTION {lock_session} (p_id text) RETURNS void
LANGUAGE plpgsql AS $body$
BEGIN
    INSERT INTO {sessions} AS x (id) VALUES (p_id)
    ON CONFLICT (id) DO UPDATE SET bytes = x.bytes WHERE false;
END
$body$;

-- Takes away streams that are locked, each of a session that is locked, from everything but the
-- totals and their sessions; answers what they counted for: o_booked in their sessions.
CREATE FUNCTION {drop_streams} (
    p_ids bigint[],
    OUT o_rows bigint, OUT o_open bigint, OUT o_streams bigint, OUT o_tombstones bigint,
    OUT o_events bigint, OUT o_bytes bigint, OUT o_booked bigint
)
LANGUAGE plpgsql AS $body$
BEGIN
    INSERT INTO {garbage} (stream, below)
    SELECT s.id, 9223372036854775807 FROM {streams} s
    WHERE s.id = ANY (p_ids) AND s.last_seq >= s.first_seq;
    WITH gone AS (DELETE FROM {streams} s WHERE s.id = ANY (p_ids) RETURNING s.*)
    SELECT count(*), count(*) FILTER (WHERE g.state = 0), count(*) FILTER (WHERE g.state < 2),
        count(*) FILTER (WHERE g.state = 2), coalesce(sum(g.last_seq + 1 - g.first_seq), 0),
        coalesce(sum(g.total_bytes - g.removed_bytes + g.own_bytes), 0),
        coalesce(sum(g.booked_bytes - g.removed_bytes + g.own_bytes), 0)
    INTO o_rows, o_open, o_streams, o_tombstones, o_events, o_bytes, o_booked FROM gone g;
END
$body$;

-- Takes away the rows of those sessions that hold nothing any more.
CREATE FUNCTION {forget_empty} (p_ids text[]) RETURNS void
LANGUAGE plpgsql AS $body$
BEGIN
    DELETE FROM {sessions} x
    WHERE x.id = ANY (p_ids)
        AND x.streams = 0 AND x.record IS NULL AND x.deleted_at IS NULL;
END
$body$;
