-- Appends to streams that are there and live, whose numbers are known, and to streams that are not
-- there, which have sessions. All or nothing: where a stream is otherwise than was believed, or a
-- session is deleted or might be at its limit, there are no rows, and nothing is done; `append` then
-- has to look.
--
-- Locks are taken in the order of `append`: sessions by ID, known streams as they are given, new ones
-- by their names, a row of the totals.
CREATE FUNCTION {start} (
    -- Sessions whose number of streams or open streams changes, in the order of their IDs: the new
    -- streams of each, what these cost by themselves, and how many more open streams there are then,
    -- or fewer.
    p_share_session text[], p_share_streams bigint[], p_share_bytes bigint[], p_share_open bigint[],
    -- The first groups: known streams, in the order of their numbers.
    p_known bigint[],
    -- The other groups: new streams, in the order of session and name.
    p_new_session text[], p_new_name text[],
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
    c_known CONSTANT bigint := cardinality(p_known);
    c_new   CONSTANT bigint := cardinality(p_new_name);
    v_rows bigint;
    v_now bigint;
    v_ids bigint[] := '{}';
    -- By group.
    v_first_seq bigint[] := '{}';
    v_stored_at bigint[] := '{}';
    v_epoch bigint[] := '{}';
BEGIN
    -- Mostly told before anything is written.
    IF EXISTS (
        SELECT FROM unnest(p_share_session, p_share_streams) AS w (session, streams)
        LEFT JOIN {sessions} x ON x.id = w.session
        WHERE x.deleted_at IS NOT NULL OR (
            w.streams > 0 AND coalesce(x.open_streams, 0) + w.streams > p_max_streams))
    THEN
        RETURN;
    END IF;

    PERFORM {commit_as}(p_sync);
    -- A session that is new and gets fewer open streams is one of streams that are gone.
    INSERT INTO {sessions} AS x (id, streams, bytes, open_streams)
    SELECT w.* FROM unnest(p_share_session, p_share_streams, p_share_bytes, p_share_open)
        AS w (id, streams, bytes, open)
    ON CONFLICT (id) DO UPDATE SET
        streams = x.streams + excluded.streams, bytes = x.bytes + excluded.bytes,
        open_streams = x.open_streams + excluded.open_streams
    WHERE x.deleted_at IS NULL AND (
        excluded.streams = 0 OR p_max_streams IS NULL
        OR x.open_streams + excluded.streams <= p_max_streams);
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    IF v_rows <> cardinality(p_share_session) THEN
        RAISE SQLSTATE 'MCE02';
    END IF;
    -- Under their sessions' locks no one creates them any more. The INSERT below would wait for
    -- whoever just extends one that is there, who may wait for a stream that is extended here.
    IF EXISTS (
        SELECT FROM unnest(p_new_session, p_new_name) AS w (session, name)
        JOIN {streams} s ON s.session = w.session AND s.name = w.name)
    THEN
        RAISE SQLSTATE 'MCE02';
    END IF;

    IF c_known > 0 THEN
        SELECT array_agg(w.first_seq ORDER BY w.place), array_agg(w.stored_at ORDER BY w.place),
            array_agg(w.epoch ORDER BY w.place)
        INTO v_first_seq, v_stored_at, v_epoch
        FROM {extend}(
            ARRAY(SELECT generate_series(1, c_known)), p_known, p_keys, p_first, p_count, p_bytes,
            p_last_tag, p_completes, p_owner, p_ttl, p_running, p_tag, p_retry, p_message,
            p_stream_ttl, p_offset, p_sync, false) AS x
        CROSS JOIN unnest(x.o_places, x.o_first_seqs, x.o_stored_at, x.o_epochs)
            AS w (place, first_seq, stored_at, epoch);
        IF cardinality(v_first_seq) IS DISTINCT FROM c_known THEN
            RAISE SQLSTATE 'MCE02';
        END IF;
    END IF;

    IF c_new > 0 THEN
        v_now := {now}(p_offset);
        WITH created AS (
            INSERT INTO {streams} AS s (
                key, session, name, first_seq, last_seq, last_tag, total_bytes, own_bytes,
                oldest_at, newest_at, active_at, since, complete, state, large, unbooked, owner,
                lease_until)
            SELECT p_keys[w.n], w.session, w.name, 1, p_count[w.n], p_last_tag[w.n], p_bytes[w.n],
                octet_length(w.session) + octet_length(w.name) + 256,
                v_now, v_now, v_now, v_now, p_completes[w.n], {state}(p_completes[w.n], NULL),
                {large}(p_bytes[w.n], 0), {unbooked}(p_bytes[w.n], 0, w.session),
                CASE WHEN NOT p_completes[w.n] THEN p_owner[w.n] END,
                CASE WHEN NOT p_completes[w.n] THEN v_now + p_ttl[w.n] END
            FROM (
                SELECT x.session, x.name, c_known + x.place AS n
                FROM unnest(p_new_session, p_new_name) WITH ORDINALITY AS x (session, name, place)) w
            ORDER BY w.n
            ON CONFLICT (session, name) DO NOTHING
            RETURNING s.id, s.session, s.name)
        -- The order of groups.
        SELECT array_agg(c.id ORDER BY c.session, c.name) INTO v_ids FROM created c;
        IF cardinality(v_ids) IS DISTINCT FROM c_new THEN
            RAISE SQLSTATE 'MCE02';
        END IF;
        INSERT INTO {events} (stream, seq, tag, stored_at, running_bytes, retry_ms, message)
        SELECT v_ids[n - c_known], i - p_first[n] + 1, p_tag[i], v_now, p_running[i], p_retry[i],
            p_message[i]
        FROM generate_series(c_known + 1, c_known + c_new) AS n
        CROSS JOIN generate_series(p_first[n], p_first[n] + p_count[n] - 1) AS i;
    END IF;

    PERFORM {add_totals}(c_new, 0, cardinality(p_message), p_all_bytes, 0);
    RETURN QUERY
    SELECT w.n, 0::bigint, w.id, p_keys[w.n], coalesce(w.first_seq, 1),
        coalesce(w.stored_at, v_now), coalesce(w.epoch, 0)
    FROM unnest(p_known || v_ids, v_first_seq, v_stored_at, v_epoch)
        WITH ORDINALITY AS w (id, first_seq, stored_at, epoch, n);
EXCEPTION WHEN SQLSTATE 'MCE02' THEN
    -- Everything is undone, so that nothing has to last.
    PERFORM set_config('synchronous_commit', 'off', true);
END
$body$;
