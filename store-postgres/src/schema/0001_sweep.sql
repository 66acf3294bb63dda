-- Streams that a sweep should look at, after a cursor, in the order of a sort key.
CREATE FUNCTION {candidates} (
    p_which text, p_bound bigint, p_session text, p_at bigint, p_id bigint, p_limit bigint
)
RETURNS TABLE (o_at bigint, o_id bigint, o_stream text)
LANGUAGE plpgsql STABLE {settings} AS $body$
DECLARE
    v_state CONSTANT integer := CASE p_which WHEN 'idle' THEN 0 WHEN 'complete' THEN 1 ELSE 2 END;
BEGIN
    CASE p_which
    WHEN 'idle', 'complete', 'tombstones' THEN
        RETURN QUERY SELECT s.since, s.id, row_to_json(s)::text FROM {streams} s
        WHERE s.state = v_state AND s.since <= p_bound AND (s.since, s.id) > (p_at, p_id)
        ORDER BY s.since, s.id LIMIT p_limit;
    WHEN 'aged' THEN
        RETURN QUERY SELECT s.oldest_at, s.id, row_to_json(s)::text FROM {streams} s
        WHERE s.oldest_at IS NOT NULL AND s.oldest_at <= p_bound
            AND (s.oldest_at, s.id) > (p_at, p_id)
        ORDER BY s.oldest_at, s.id LIMIT p_limit;
    WHEN 'large' THEN
        RETURN QUERY SELECT 0::bigint, s.id, row_to_json(s)::text FROM {streams} s
        WHERE s.large AND s.total_bytes - s.removed_bytes >= p_bound AND s.id > p_id
        ORDER BY s.id LIMIT p_limit;
    WHEN 'any size' THEN
        RETURN QUERY SELECT 0::bigint, s.id, row_to_json(s)::text FROM {streams} s
        WHERE s.total_bytes - s.removed_bytes >= p_bound AND s.id > p_id
        ORDER BY s.id LIMIT p_limit;
    WHEN 'least recent' THEN
        -- The first streams of either living state, by the index.
        RETURN QUERY SELECT s.since, s.id, row_to_json(s)::text FROM {streams} s
        WHERE s.id IN (
            (SELECT x.id FROM {streams} x WHERE x.state = 0 AND (x.since, x.id) > (p_at, p_id)
                ORDER BY x.since, x.id LIMIT p_limit)
            UNION ALL
            (SELECT x.id FROM {streams} x WHERE x.state = 1 AND (x.since, x.id) > (p_at, p_id)
                ORDER BY x.since, x.id LIMIT p_limit))
        ORDER BY s.since, s.id LIMIT p_limit;
    WHEN 'of session' THEN
        RETURN QUERY SELECT s.active_at, s.id, row_to_json(s)::text FROM {streams} s
        WHERE s.session = p_session AND s.state < 2 AND (s.active_at, s.id) > (p_at, p_id)
        ORDER BY s.active_at, s.id LIMIT p_limit;
    WHEN 'tombstones of' THEN
        RETURN QUERY SELECT s.since, s.id, row_to_json(s)::text FROM {streams} s
        WHERE s.session = p_session AND s.state = 2 AND (s.since, s.id) > (p_at, p_id)
        ORDER BY s.since, s.id LIMIT p_limit;
    END CASE;
END
$body$;

-- Puts incomplete streams where their last append or renewal belongs.
CREATE FUNCTION {refresh} (p_ids bigint[]) RETURNS void
LANGUAGE plpgsql {settings} AS $body$
BEGIN
    PERFORM {commit_as}('off');
    PERFORM 1 FROM {streams} s WHERE s.id = ANY (p_ids) ORDER BY s.id FOR NO KEY UPDATE;
    UPDATE {streams} s SET since = s.active_at WHERE s.id = ANY (p_ids) AND s.state = 0;
END
$body$;

-- Books what at most p_limit streams after p_after hold in their sessions; answers the last of
-- them, NULL when there are no more. An append goes before or after: it has no lock but its
-- streams', and this none that comes before a session's.
CREATE FUNCTION {book} (p_after bigint, p_limit bigint) RETURNS bigint
LANGUAGE plpgsql {settings} AS $body$
DECLARE
    v_ids bigint[];
BEGIN
    -- A crash may take it back as a whole, to be booked again.
    PERFORM {commit_as}('off');
    v_ids := ARRAY(
        SELECT s.id FROM {streams} s WHERE s.unbooked AND s.id > p_after ORDER BY s.id LIMIT p_limit);
    PERFORM 1 FROM {sessions} x
    WHERE x.id IN (SELECT s.session FROM {streams} s WHERE s.id = ANY (v_ids))
    ORDER BY x.id FOR NO KEY UPDATE;
    PERFORM 1 FROM {streams} s WHERE s.id = ANY (v_ids) ORDER BY s.id FOR NO KEY UPDATE;
    WITH due AS (
        SELECT s.id, s.session, s.total_bytes - s.booked_bytes AS bytes
        FROM {streams} s WHERE s.id = ANY (v_ids)),
    booked AS (
        UPDATE {streams} s SET booked_bytes = s.total_bytes
        WHERE s.id = ANY (v_ids) AND s.unbooked)
    UPDATE {sessions} x SET bytes = x.bytes + d.bytes
    FROM (SELECT due.session, sum(due.bytes) AS bytes FROM due GROUP BY due.session) d
    WHERE x.id = d.session;
    RETURN v_ids[cardinality(v_ids)];
END
$body$;

-- As booked.
CREATE FUNCTION {large_sessions} (p_min bigint, p_after text, p_limit bigint)
RETURNS TABLE (o_id text, o_bytes bigint)
LANGUAGE plpgsql STABLE {settings} AS $body$
BEGIN
    IF p_min >= 1048576 THEN
        RETURN QUERY SELECT x.id, x.bytes FROM {sessions} x
        WHERE x.large AND x.bytes >= p_min AND x.id > p_after ORDER BY x.id LIMIT p_limit;
    ELSE
        RETURN QUERY SELECT x.id, x.bytes FROM {sessions} x
        WHERE x.bytes >= p_min AND x.id > p_after ORDER BY x.id LIMIT p_limit;
    END IF;
END
$body$;

-- Applies the removals that still fit: 'prefix' up to p_through, 'whole' at p_at, 'tombstone'.
-- Answers for each how many events it took, NULL where it did not fit, and the stream's name.
CREATE FUNCTION {remove} (
    p_key bytea[], p_what text[], p_through bigint[], p_at bigint[], p_last_seq bigint[],
    p_active_at bigint[], p_sync text
)
RETURNS TABLE (o_events bigint, o_session text, o_name text)
LANGUAGE plpgsql {settings} AS $body$
DECLARE
    r record;
    s {streams};
    v_sessions text[];
    v_end record;
    v_next bigint;
    v_gone record;
    v_rows bigint;
    v_open bigint;
    v_bytes bigint;
    v_booked bigint;
    v_fits boolean;
    v_streams bigint := 0;
    v_tombstones bigint := 0;
    v_events bigint := 0;
    v_all_bytes bigint := 0;
    v_changed boolean := false;
BEGIN
    PERFORM {commit_as}(p_sync);
    v_sessions := ARRAY(
        SELECT DISTINCT x.session FROM {streams} x WHERE x.key = ANY (p_key) AND x.session <> '');
    PERFORM 1 FROM {sessions} x WHERE x.id = ANY (v_sessions) ORDER BY x.id FOR NO KEY UPDATE;
    PERFORM 1 FROM {streams} x WHERE x.key = ANY (p_key) ORDER BY x.id FOR UPDATE;
    FOR r IN
        SELECT * FROM unnest(p_key, p_what, p_through, p_at, p_last_seq, p_active_at)
            WITH ORDINALITY AS w (key, what, through, at, last_seq, active_at, n)
        ORDER BY w.n
    LOOP
        o_events := NULL;
        o_session := NULL;
        o_name := NULL;
        SELECT * INTO s FROM {streams} x WHERE x.key = r.key;
        v_fits := FOUND;
        IF v_fits AND r.what <> 'prefix' THEN
            v_fits := s.last_seq = r.last_seq AND s.active_at = r.active_at
                AND (r.what = 'tombstone' OR s.state < 2);
        ELSIF v_fits THEN
            SELECT e.tag, e.running_bytes INTO v_end FROM {events} e
            WHERE e.stream = s.id AND e.seq = r.through
                AND r.through BETWEEN s.first_seq AND s.last_seq;
            v_fits := FOUND;
        END IF;
        IF NOT v_fits THEN
            RETURN NEXT;
            CONTINUE;
        END IF;

        v_rows := 0;
        v_open := 0;
        IF r.what = 'prefix' THEN
            v_next := (
                SELECT e.stored_at FROM {events} e WHERE e.stream = s.id AND e.seq = r.through + 1);
            UPDATE {streams} x SET
                first_seq = r.through + 1, removed_tag = v_end.tag,
                removed_bytes = v_end.running_bytes, oldest_at = v_next
            WHERE x.id = s.id;
            INSERT INTO {garbage} (stream, below) VALUES (s.id, r.through + 1);
            o_events := r.through + 1 - s.first_seq;
            v_bytes := s.removed_bytes - v_end.running_bytes;
            v_booked := v_bytes;
        ELSIF r.what = 'whole' THEN
            o_events := s.last_seq + 1 - s.first_seq;
            v_bytes := s.removed_bytes - s.total_bytes;
            v_booked := v_bytes;
            v_open := CASE s.state WHEN 0 THEN -1 ELSE 0 END;
            v_streams := v_streams - 1;
            v_tombstones := v_tombstones + 1;
            UPDATE {streams} x SET
                first_seq = x.last_seq + 1, removed_tag = x.last_tag,
                removed_bytes = x.total_bytes, oldest_at = NULL, expired_at = r.at, since = r.at
            WHERE x.id = s.id;
            IF o_events > 0 THEN
                INSERT INTO {garbage} (stream, below) VALUES (s.id, s.last_seq + 1);
            END IF;
        ELSE
            v_gone := {drop_streams}(ARRAY[s.id]);
            o_events := v_gone.o_events;
            v_bytes := - v_gone.o_bytes;
            v_booked := - v_gone.o_booked;
            v_rows := - v_gone.o_rows;
            v_open := - v_gone.o_open;
            v_streams := v_streams - v_gone.o_streams;
            v_tombstones := v_tombstones - v_gone.o_tombstones;
        END IF;
        v_events := v_events - o_events;
        v_all_bytes := v_all_bytes + v_bytes;
        v_changed := true;
        UPDATE {sessions} x SET
            bytes = x.bytes + v_booked, streams = x.streams + v_rows,
            open_streams = x.open_streams + v_open
        WHERE x.id = s.session;
        o_session := s.session;
        o_name := s.name;
        RETURN NEXT;
    END LOOP;
    IF v_changed THEN
        PERFORM {forget_empty}(v_sessions);
        PERFORM {add_totals}(v_streams, v_tombstones, v_events, v_all_bytes, 0);
    END IF;
END
$body$;

-- Frees at most p_max rows of removed events; answers how many. What another instance frees at the
-- same time is passed over.
CREATE FUNCTION {reclaim} (p_max bigint) RETURNS bigint
LANGUAGE plpgsql {settings} AS $body$
DECLARE
    r record;
    v_freed bigint := 0;
    v_now_freed bigint;
    v_empty bigint[];
BEGIN
    -- A crash may bring rows back as garbage, but nothing else.
    PERFORM {commit_as}('off');
    LOOP
        v_empty := '{}';
        FOR r IN
            SELECT x.id, x.stream, x.below FROM {garbage} x
            ORDER BY x.id LIMIT 256 FOR UPDATE SKIP LOCKED
        LOOP
            EXIT WHEN v_freed >= p_max;
            DELETE FROM {events} e WHERE e.ctid = ANY (ARRAY(
                SELECT y.ctid FROM {events} y
                WHERE y.stream = r.stream AND y.seq < r.below
                ORDER BY y.seq LIMIT p_max - v_freed));
            GET DIAGNOSTICS v_now_freed = ROW_COUNT;
            v_freed := v_freed + v_now_freed;
            EXIT WHEN v_freed >= p_max;
            v_empty := v_empty || r.id;
        END LOOP;
        DELETE FROM {garbage} x WHERE x.id = ANY (v_empty);
        EXIT WHEN v_freed > 0 OR cardinality(v_empty) = 0;
    END LOOP;
    RETURN v_freed;
END
$body$;

-- Claims background sweeping; a ttl of zero gives it back. A claim that lasts longer than an hour
-- was made before the clock was set back.
CREATE FUNCTION {claim_sweep} (p_instance text, p_ttl bigint, p_offset bigint) RETURNS boolean
LANGUAGE plpgsql {settings} AS $body$
DECLARE
    v_now bigint;
BEGIN
    PERFORM 1 FROM {sweeps} FOR NO KEY UPDATE;
    v_now := {now}(p_offset);
    UPDATE {sweeps} x SET sweeper = p_instance, sweep_until = v_now + p_ttl
    WHERE x.sweeper IS NULL OR x.sweeper = p_instance OR x.sweep_until <= v_now
        OR x.sweep_until > v_now + 3600000;
    RETURN FOUND;
END
$body$;
