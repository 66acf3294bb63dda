-- Appends to streams that are there and live, whose numbers are known, and to streams that are not
-- there, as `append` would. All or nothing: where a stream is otherwise than was believed, or a
-- session is deleted or may be at its limit, there are fewer rows than groups, and nothing is done.
--
-- Locks are taken in the order of `append`: sessions by ID, known streams as they are given, new ones
-- by their names, a row of the totals.
CREATE FUNCTION {start} (
    -- Sessions in the order of their IDs, and what they get: streams, how many more open ones, bytes.
    p_sessions text[], p_streams bigint[], p_open bigint[], p_session_bytes bigint[],
    -- The first groups: known streams, in the order of their numbers.
    p_ids bigint[],
    -- The other groups: new streams, in the order of session and name.
    p_session text[], p_name text[],
    -- Of all groups: the key of a known stream, or the key that a new one gets.
    p_keys bytea[],
    -- Columns of groups and events, as those of `append`.
    p_first bigint[], p_count bigint[], p_bytes bigint[], p_last_tag bigint[],
    p_completes boolean[], p_owner text[], p_ttl bigint[],
    p_running bigint[], p_tag bigint[], p_retry bigint[], p_message text[],
    -- Of all groups, what new streams cost by themselves included.
    p_all_bytes bigint, p_max_streams bigint, p_stream_ttl bigint, p_offset bigint, p_sync text
)
-- A row for each group, as `append` answers it.
RETURNS TABLE (
    o_group bigint, o_code bigint, o_id bigint, o_key bytea, o_first_seq bigint,
    o_stored_at bigint, o_epoch bigint)
LANGUAGE plpgsql {settings} AS $body$
DECLARE
    v_known CONSTANT bigint := cardinality(p_ids);
    v_new   CONSTANT bigint := cardinality(p_name);
    v_now bigint;
    v_ids bigint[];
    v_rows bigint;
BEGIN
    PERFORM {commit_as}(p_sync);
    INSERT INTO {sessions} AS x (id, streams, open_streams, bytes)
    SELECT w.* FROM unnest(p_sessions, p_streams, p_open, p_session_bytes)
        AS w (id, streams, open, bytes)
    WHERE p_max_streams IS NULL OR w.open <= p_max_streams
    ON CONFLICT (id) DO UPDATE SET
        streams = x.streams + excluded.streams,
        open_streams = x.open_streams + excluded.open_streams, bytes = x.bytes + excluded.bytes
    WHERE x.deleted_at IS NULL
        AND (p_max_streams IS NULL OR x.open_streams + excluded.open_streams <= p_max_streams);
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    IF v_rows <> cardinality(p_sessions) THEN
        RAISE SQLSTATE 'MCE02';
    END IF;

    IF v_known > 0 THEN
        RETURN QUERY
        SELECT x.o_group, x.o_code, x.o_id, x.o_key, x.o_first_seq, x.o_stored_at, x.o_epoch
        FROM {extend}(
            ARRAY(SELECT generate_series(1, v_known)), p_ids, p_keys, p_first, p_count, p_bytes,
            p_last_tag, p_completes, p_owner, p_ttl, p_running, p_tag, p_retry, p_message,
            p_stream_ttl, p_offset, p_sync, false) AS x;
        GET DIAGNOSTICS v_rows = ROW_COUNT;
        IF v_rows <> v_known THEN
            RAISE SQLSTATE 'MCE02';
        END IF;
    END IF;

    IF v_new > 0 THEN
        v_now := {now}(p_offset);
        WITH created AS (
            INSERT INTO {streams} AS s (
                key, session, name, first_seq, last_seq, last_tag, total_bytes, own_bytes,
                oldest_at, newest_at, active_at, since, complete, owner, lease_until)
            SELECT p_keys[w.n], w.session, w.name, 1, p_count[w.n], p_last_tag[w.n], p_bytes[w.n],
                octet_length(w.session) + octet_length(w.name) + 256,
                v_now, v_now, v_now, v_now, p_completes[w.n],
                CASE WHEN NOT p_completes[w.n] THEN p_owner[w.n] END,
                CASE WHEN NOT p_completes[w.n] THEN v_now + p_ttl[w.n] END
            FROM (
                SELECT x.session, x.name, v_known + x.place AS n
                FROM unnest(p_session, p_name) WITH ORDINALITY AS x (session, name, place)) w
            ORDER BY w.n
            ON CONFLICT (session, name) DO NOTHING
            RETURNING s.id, s.session, s.name)
        SELECT array_agg(c.id ORDER BY c.session, c.name) INTO v_ids FROM created c;
        IF cardinality(v_ids) IS DISTINCT FROM v_new THEN
            RAISE SQLSTATE 'MCE02';
        END IF;
        INSERT INTO {events} (stream, seq, tag, stored_at, running_bytes, retry_ms, message)
        SELECT v_ids[n - v_known], i - p_first[n] + 1, p_tag[i], v_now, p_running[i], p_retry[i],
            p_message[i]
        FROM generate_series(v_known + 1, v_known + v_new) AS n
        CROSS JOIN generate_series(p_first[n], p_first[n] + p_count[n] - 1) AS i;
        RETURN QUERY
        SELECT v_known + w.n, 0::bigint, w.id, p_keys[v_known + w.n], 1::bigint, v_now, 0::bigint
        FROM unnest(v_ids) WITH ORDINALITY AS w (id, n);
    END IF;
    PERFORM {add_totals}(v_new, 0, cardinality(p_message), p_all_bytes, 0);
EXCEPTION WHEN SQLSTATE 'MCE02' THEN
    -- Everything is undone but the rows that were answered already, which are too few.
    NULL;
END
$body$;
