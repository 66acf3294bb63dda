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
        RETURN QUERY SELECT s.since, s.id, row_to_json(s)::text
        FROM (
            (SELECT * FROM {streams} x WHERE x.state = 0 AND (x.since, x.id) > (p_at, p_id)
                ORDER BY x.since, x.id LIMIT p_limit)
            UNION ALL
            (SELECT * FROM {streams} x WHERE x.state = 1 AND (x.since, x.id) > (p_at, p_id)
                ORDER BY x.since, x.id LIMIT p_limit)) s
        ORDER BY s.since, s.id LIMIT p_limit;
    -- By the session's index, however few of all streams its own are.
    WHEN 'of session' THEN
        RETURN QUERY WITH s AS MATERIALIZED (SELECT * FROM {streams} x WHERE x.session = p_session)
        SELECT s.active_at, s.id, row_to_json(s)::text FROM s
        WHERE s.state < 2 AND (s.active_at, s.id) > (p_at, p_id)
        ORDER BY s.active_at, s.id LIMIT p_limit;
    WHEN 'tombstones of' THEN
        RETURN QUERY WITH s AS MATERIALIZED (SELECT * FROM {streams} x WHERE x.session = p_session)
        SELECT s.since, s.id, row_to_json(s)::text FROM s
        WHERE s.state = 2 AND (s.since, s.id) > (p_at, p_id)
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
        UPDATE {streams} s SET booked_bytes = s.total_bytes, unbooked = false
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

-- Applies the removals that still fit, each of another stream: 'prefix' up to p_through, 'whole' at
-- p_at, 'tombstone'. Answers for each how many events it took, NULL where it did not fit, and the
-- stream's name.
--
-- Tables are sought by subqueries that are none of the planner's to join (OFFSET 0), and rows changed
-- where these found them: a plan that was made while a table was small would read all of it.
CREATE FUNCTION {remove} (
    p_key bytea[], p_what text[], p_through bigint[], p_at bigint[], p_last_seq bigint[],
    p_active_at bigint[], p_sync text
)
RETURNS TABLE (o_events bigint, o_session text, o_name text)
LANGUAGE plpgsql {settings} AS $body$
DECLARE
    v_ids bigint[];
    v_sessions text[];
    -- Columns by removal, and what is gone all told.
    v_done record;
BEGIN
    PERFORM {commit_as}(p_sync);
    SELECT array_agg(s.id), array_agg(DISTINCT s.session) FILTER (WHERE s.session <> '')
    INTO v_ids, v_sessions
    FROM unnest(p_key) AS w (key)
    CROSS JOIN LATERAL (
        SELECT x.id, x.session FROM {streams} x WHERE x.key = w.key OFFSET 0) s;
    PERFORM 1 FROM {sessions} x WHERE x.id = ANY (v_sessions) ORDER BY x.id FOR NO KEY UPDATE;
    PERFORM 1 FROM {streams} s WHERE s.id = ANY (v_ids) ORDER BY s.id FOR UPDATE;

    WITH asked AS (
        SELECT w.n, w.what, w.at, s.row, s.id, s.session, s.name, s.state, s.first_seq, s.removed_bytes,
            s.booked_bytes, s.own_bytes,
            -- The last event that is taken: that of a prefix, or of the stream.
            coalesce(e.seq, s.last_seq) AS through, coalesce(e.tag, s.last_tag) AS tag,
            coalesce(e.running_bytes, s.total_bytes) AS running_bytes, rest.stored_at AS oldest_at,
            coalesce(CASE w.what
                WHEN 'prefix' THEN e.seq IS NOT NULL
                ELSE s.last_seq = w.last_seq AND s.active_at = w.active_at
                    AND (w.what = 'tombstone' OR s.state < 2) END, false) AS fits
        FROM unnest(p_key, p_what, p_through, p_at, p_last_seq, p_active_at)
            WITH ORDINALITY AS w (key, what, through, at, last_seq, active_at, n)
        LEFT JOIN LATERAL (
            SELECT x.ctid AS row, x.* FROM {streams} x WHERE x.key = w.key OFFSET 0) s ON true
        LEFT JOIN LATERAL (
            SELECT * FROM {events} x WHERE x.stream = s.id AND x.seq = w.through
                AND x.seq BETWEEN s.first_seq AND s.last_seq OFFSET 0) e ON true
        LEFT JOIN LATERAL (
            SELECT x.stored_at FROM {events} x
            WHERE x.stream = s.id AND x.seq = w.through + 1 OFFSET 0) rest ON true),
    -- With what each takes from the sums of its session and of everything.
    fitting AS (
        SELECT a.*, a.through + 1 - a.first_seq AS events,
            a.running_bytes - a.removed_bytes AS bytes,
            CASE WHEN a.what <> 'prefix' AND a.state = 0 THEN 1 ELSE 0 END AS open,
            CASE WHEN a.what <> 'prefix' AND a.state < 2 THEN 1 ELSE 0 END AS streams
        FROM asked a WHERE a.fits),
    shortened AS (
        UPDATE {streams} s SET
            first_seq = f.through + 1, removed_tag = f.tag, removed_bytes = f.running_bytes,
            oldest_at = f.oldest_at, expired_at = coalesce(f.at, s.expired_at),
            since = coalesce(f.at, s.since),
            state = {state}(s.complete, coalesce(f.at, s.expired_at)),
            large = {large}(s.total_bytes, f.running_bytes)
        FROM fitting f WHERE s.ctid = f.row AND f.what <> 'tombstone'),
    dropped AS (
        DELETE FROM {streams} s USING fitting f WHERE s.ctid = f.row AND f.what = 'tombstone'),
    queued AS (
        INSERT INTO {garbage} (stream, below)
        SELECT f.id, f.through + 1 FROM fitting f WHERE f.events > 0),
    shared AS (
        UPDATE {sessions} x SET
            bytes = x.bytes - c.bytes, streams = x.streams - c.rows,
            open_streams = x.open_streams - c.open
        FROM (
            SELECT f.session, sum(f.open) AS open, count(*) FILTER (WHERE f.what = 'tombstone') AS rows,
                sum(CASE f.what
                    WHEN 'tombstone' THEN f.booked_bytes - f.removed_bytes + f.own_bytes
                    ELSE f.bytes END)::bigint AS bytes
            FROM fitting f GROUP BY f.session) c
        CROSS JOIN LATERAL (
            SELECT y.ctid AS row FROM {sessions} y WHERE y.id = c.session OFFSET 0) y
        WHERE x.ctid = y.row),
    gone AS (
        SELECT sum(f.streams) AS streams, sum(f.events)::bigint AS events,
            sum(CASE f.what WHEN 'whole' THEN -1 WHEN 'tombstone' THEN 1 - f.streams ELSE 0 END)
                AS tombstones,
            sum(f.bytes + CASE f.what WHEN 'tombstone' THEN f.own_bytes ELSE 0 END)::bigint AS bytes
        FROM fitting f),
    answer AS (
        SELECT array_agg(CASE WHEN a.fits THEN a.through + 1 - a.first_seq END ORDER BY a.n) AS events,
            array_agg(a.session ORDER BY a.n) AS session, array_agg(a.name ORDER BY a.n) AS name
        FROM asked a)
    SELECT answer.events AS took, answer.session, answer.name, gone.* INTO v_done FROM answer, gone;

    IF v_done.events IS NOT NULL THEN
        PERFORM {forget_empty}(v_sessions);
        PERFORM {add_totals}(
            - v_done.streams, - v_done.tombstones, - v_done.events, - v_done.bytes, 0);
    END IF;
    RETURN QUERY SELECT * FROM unnest(v_done.took, v_done.session, v_done.name);
END
$body$;

-- Frees at most p_max rows of removed events; answers how many. What another instance frees at the
-- same time is passed over.
CREATE FUNCTION {reclaim} (p_max bigint) RETURNS bigint
LANGUAGE plpgsql {settings} AS $body$
DECLARE
    v_ids bigint[];
    v_streams bigint[];
    v_below bigint[];
    v_freed bigint;
    v_done bigint;
BEGIN
    -- A crash may bring rows back as garbage, but nothing else.
    PERFORM {commit_as}('off');
    LOOP
        SELECT array_agg(g.id), array_agg(g.stream), array_agg(g.below)
        INTO v_ids, v_streams, v_below
        FROM (
            SELECT x.id, x.stream, x.below FROM {garbage} x
            ORDER BY x.id LIMIT 256 FOR UPDATE SKIP LOCKED) g;
        DELETE FROM {events} e WHERE e.ctid = ANY (ARRAY(
            SELECT y.ctid FROM unnest(v_streams, v_below) AS g (stream, below)
            CROSS JOIN LATERAL (
                SELECT y.ctid FROM {events} y
                WHERE y.stream = g.stream AND y.seq < g.below ORDER BY y.seq LIMIT p_max) y
            LIMIT p_max));
        GET DIAGNOSTICS v_freed = ROW_COUNT;
        -- Those of which nothing is left. (As a join, NOT EXISTS might read all events.)
        DELETE FROM {garbage} x WHERE x.id = ANY (v_ids) AND (
            SELECT y.seq FROM {events} y
            WHERE y.stream = x.stream AND y.seq < x.below LIMIT 1) IS NULL;
        GET DIAGNOSTICS v_done = ROW_COUNT;
        EXIT WHEN v_freed > 0 OR v_done = 0;
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
