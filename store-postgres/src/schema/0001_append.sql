-- A batch, in one statement: locks, decides and inserts. It decides as StreamMeta::plan_append,
-- SessionState::check_new_stream and StreamMeta::push do. Each statement inside sees everything
-- that was committed before its locks were granted, since the isolation level is READ COMMITTED.
--
-- Groups that just extend a live stream, which most do, are taken all at once, after the others.
--
-- Locks are taken in the order in which every function here takes them: sessions by ID, streams by
-- their number, new streams by their names, a row of the totals.
CREATE FUNCTION {append} (
    -- The sessions concerned, each once, in order.
    p_sessions text[],
    -- Groups, in the order of session and name: a session of '' stands for none.
    p_session text[], p_name text[], p_key bytea[], p_count bigint[], p_bytes bigint[],
    p_last_tag bigint[], p_completes boolean[],
    -- Events: the number of their group, their place in it, and the bytes of the group up to them.
    p_group bigint[], p_place bigint[], p_running bigint[], p_tag bigint[], p_retry bigint[],
    p_message text[],
    -- Leases that groups want: each owner once in a group, as it came first, with the last ttl.
    p_lease_group bigint[], p_lease_owner text[], p_lease_ttl bigint[],
    p_stream_ttl bigint, p_completed_ttl bigint, p_tombstone_ttl bigint, p_max_streams bigint,
    p_offset bigint, p_sync text
)
-- A row for each group. o_code: 0 stored, 1 complete, 2 session deleted, 3 limit reached.
RETURNS TABLE (o_code bigint, o_key bytea, o_first_seq bigint, o_stored_at bigint, o_epoch bigint)
LANGUAGE plpgsql {settings} AS $body$
#variable_conflict use_column
DECLARE
    c_extend  CONSTANT integer := 0;
    c_create  CONSTANT integer := 1;
    c_replace CONSTANT integer := 2;
    c_revive  CONSTANT integer := 3;
    v_groups  CONSTANT integer := cardinality(p_session);
    g record;
    v_gone record;
    -- Groups whose streams are there, and of these streams: the number, when they expire, and
    -- whether they are complete or tombstones.
    v_found bigint[];
    v_locked bigint[];
    v_expiries bigint[];
    v_closed boolean[];
    -- Groups that just extend a live stream.
    v_plain bigint[];
    v_now bigint;
    v_plan integer;
    v_expires bigint;
    v_deleted_at bigint;
    v_open bigint;
    -- Open streams of the session that was counted last.
    v_counted bigint;
    v_counted_of text;
    v_owner text;
    v_until bigint;
    v_ttl bigint;
    -- By group: why it is refused, where its events go, and what it adds to its session. Stream 0
    -- is not decided, or refused.
    v_code bigint[] := array_fill(0::bigint, ARRAY[v_groups]);
    v_stream bigint[] := array_fill(0::bigint, ARRAY[v_groups]);
    v_key bytea[] := array_fill(NULL::bytea, ARRAY[v_groups]);
    v_epoch bigint[] := array_fill(NULL::bigint, ARRAY[v_groups]);
    v_before bigint[] := array_fill(NULL::bigint, ARRAY[v_groups]);
    v_total bigint[] := array_fill(NULL::bigint, ARRAY[v_groups]);
    v_at bigint[] := array_fill(NULL::bigint, ARRAY[v_groups]);
    v_d_rows bigint[] := array_fill(0::bigint, ARRAY[v_groups]);
    v_d_open bigint[] := array_fill(0::bigint, ARRAY[v_groups]);
    v_d_bytes bigint[] := array_fill(0::bigint, ARRAY[v_groups]);
    -- Of this group.
    v_id bigint;
    v_last bigint;
    v_bytes bigint;
    v_newest bigint;
    v_active bigint;
    v_rows bigint;
    v_opened bigint;
    v_held bigint;
    -- Of all.
    v_streams bigint := 0;
    v_tombstones bigint := 0;
    v_events bigint := 0;
    v_all_bytes bigint := 0;
BEGIN
    PERFORM {commit_as}(p_sync);
    INSERT INTO {sessions} AS x (id) SELECT w.id FROM unnest(p_sessions) AS w (id)
    ON CONFLICT (id) DO UPDATE SET bytes = x.bytes WHERE false;
    SELECT coalesce(array_agg(l.n), '{}'), coalesce(array_agg(l.id), '{}'),
        array_agg(l.expires), array_agg(l.closed)
    INTO v_found, v_locked, v_expiries, v_closed
    FROM (
        SELECT w.n, s.id, s.complete OR s.expired_at IS NOT NULL AS closed,
            {expires_at}(s.expired_at, s.complete, s.active_at, s.lease_until, p_stream_ttl,
                p_completed_ttl) AS expires
        FROM unnest(p_session, p_name) WITH ORDINALITY AS w (session, name, n)
        JOIN {streams} s ON s.session = w.session AND s.name = w.name
        ORDER BY s.id FOR UPDATE OF s) l;
    v_now := {now}(p_offset);
    v_plain := ARRAY(
        SELECT l.n FROM unnest(v_found, v_expiries, v_closed) AS l (n, expires, closed)
        WHERE NOT l.closed AND (l.expires <= v_now) IS NOT TRUE
        EXCEPT SELECT n FROM unnest(p_lease_group) AS w (n));

    -- All but the plain ones, in order. What others insert is waited for here, so nothing may be
    -- changed before that comes later in the order.
    FOR g IN
        SELECT w.*, s.*
        FROM unnest(p_session, p_name, p_key, p_count, p_bytes, p_last_tag, p_completes)
            WITH ORDINALITY
            AS w (w_session, w_name, w_key, w_count, w_bytes, w_last_tag, w_completes, w_n)
        LEFT JOIN unnest(v_plain) AS plain (n) ON plain.n = w.w_n
        LEFT JOIN {streams} s ON s.session = w.w_session AND s.name = w.w_name
        WHERE plain.n IS NULL
        ORDER BY w.w_n
    LOOP
        IF g.id IS NOT NULL AND g.id <> ALL (v_locked) THEN
            -- Another instance created a session-less stream after the locks were taken: it is
            -- seen here and not locked.
            RAISE EXCEPTION 'a stream was created meanwhile' USING ERRCODE = 'MCE01';
        END IF;
        o_code := 0;
        v_expires := {expires_at}(
            g.expired_at, g.complete, g.active_at, g.lease_until, p_stream_ttl, p_completed_ttl);
        IF g.id IS NULL THEN
            v_plan := c_create;
        ELSIF v_expires + p_tombstone_ttl <= v_now THEN
            v_plan := c_replace;
        ELSIF g.complete THEN
            o_code := 1;
        ELSIF g.expired_at IS NOT NULL OR v_expires <= v_now THEN
            v_plan := c_revive;
        ELSE
            v_plan := c_extend;
        END IF;

        IF o_code = 0 AND v_plan <> c_extend AND g.w_session <> '' THEN
            SELECT x.deleted_at, x.open_streams INTO v_deleted_at, v_open
            FROM {sessions} x WHERE x.id = g.w_session;
            IF v_deleted_at + p_tombstone_ttl > v_now THEN
                o_code := 2;
            ELSIF v_open + v_groups > p_max_streams THEN
                -- Expired streams that wait for the sweep are in the row's count, and those that
                -- this batch has created are not: near the limit the streams are counted, once
                -- for all of the session's groups, which follow each other.
                IF v_counted_of IS DISTINCT FROM g.w_session THEN
                    v_counted_of := g.w_session;
                    SELECT count(*) INTO v_counted FROM {streams} s
                    WHERE s.session = g.w_session AND s.state = 0
                        AND (p_stream_ttl IS NULL OR s.active_at > v_now - p_stream_ttl
                            OR s.lease_until > v_now);
                END IF;
                IF v_counted >= p_max_streams THEN
                    o_code := 3;
                END IF;
            END IF;
        END IF;

        IF o_code <> 0 THEN
            v_code[g.w_n] := o_code;
            CONTINUE;
        END IF;

        v_rows := 0;
        v_opened := 0;
        v_held := 0;
        IF v_plan = c_replace THEN
            v_gone := {drop_streams}(ARRAY[g.id]);
            v_rows := - v_gone.o_rows;
            v_opened := - v_gone.o_open;
            v_held := - v_gone.o_bytes;
            v_streams := v_streams - v_gone.o_streams;
            v_tombstones := v_tombstones - v_gone.o_tombstones;
            v_events := v_events - v_gone.o_events;
        ELSIF v_plan = c_revive THEN
            IF g.last_seq >= g.first_seq THEN
                INSERT INTO {garbage} (stream, below) VALUES (g.id, g.last_seq + 1);
            END IF;
            v_held := g.removed_bytes - g.total_bytes;
            v_events := v_events - (g.last_seq + 1 - g.first_seq);
            IF g.expired_at IS NOT NULL THEN
                v_opened := 1;
                v_streams := v_streams + 1;
                v_tombstones := v_tombstones - 1;
            END IF;
        END IF;

        -- The lease: another's that lasts stays; else the first who wants it gets it.
        v_owner := CASE WHEN v_plan = c_extend THEN g.owner END;
        v_until := CASE WHEN v_plan = c_extend THEN g.lease_until END;
        IF g.w_completes THEN
            v_owner := NULL;
            v_until := NULL;
        ELSIF g.w_n = ANY (p_lease_group) THEN
            IF v_owner IS NULL OR v_until <= v_now THEN
                SELECT w.owner INTO v_owner
                FROM unnest(p_lease_group, p_lease_owner) WITH ORDINALITY AS w (n, owner, place)
                WHERE w.n = g.w_n ORDER BY w.place LIMIT 1;
            END IF;
            SELECT w.ttl INTO v_ttl
            FROM unnest(p_lease_group, p_lease_owner, p_lease_ttl) AS w (n, owner, ttl)
            WHERE w.n = g.w_n AND w.owner = v_owner;
            IF FOUND THEN
                v_until := v_now + v_ttl;
            END IF;
        END IF;

        IF v_plan IN (c_create, c_replace) THEN
            v_last := 0;
            v_bytes := 0;
            v_newest := v_now;
            INSERT INTO {streams} (
                key, session, name, first_seq, last_seq, last_tag, total_bytes, own_bytes,
                oldest_at, newest_at, active_at, since, complete, owner, lease_until)
            VALUES (
                g.w_key, g.w_session, g.w_name, 1, g.w_count, g.w_last_tag, g.w_bytes,
                octet_length(g.w_session) + octet_length(g.w_name) + 256,
                v_now, v_now, v_now, v_now, g.w_completes, v_owner, v_until)
            ON CONFLICT (session, name) DO NOTHING
            RETURNING id, own_bytes INTO v_id, v_ttl;
            IF NOT FOUND THEN
                -- Another instance created it since: to lock it now could deadlock.
                RAISE EXCEPTION 'a stream was created meanwhile' USING ERRCODE = 'MCE01';
            END IF;
            v_rows := v_rows + 1;
            v_opened := v_opened + 1;
            v_held := v_held + v_ttl;
            v_streams := v_streams + 1;
            v_key[g.w_n] := g.w_key;
            v_epoch[g.w_n] := 0;
        ELSE
            v_id := g.id;
            v_last := g.last_seq;
            v_bytes := g.total_bytes;
            v_newest := greatest(g.newest_at, v_now);
            v_active := greatest(g.active_at, v_now);
            IF v_plan = c_extend THEN
                UPDATE {streams} s SET
                    last_seq = v_last + g.w_count, last_tag = g.w_last_tag,
                    total_bytes = v_bytes + g.w_bytes,
                    oldest_at = coalesce(s.oldest_at, v_newest),
                    newest_at = v_newest, active_at = v_active,
                    since = CASE WHEN g.w_completes THEN v_active ELSE s.since END,
                    complete = g.w_completes, owner = v_owner, lease_until = v_until
                WHERE s.id = v_id;
            ELSE
                UPDATE {streams} s SET
                    first_seq = v_last + 1, removed_tag = s.last_tag, removed_bytes = v_bytes,
                    last_seq = v_last + g.w_count, last_tag = g.w_last_tag,
                    total_bytes = v_bytes + g.w_bytes, oldest_at = v_newest,
                    newest_at = v_newest, active_at = v_active, since = v_active,
                    expired_at = NULL, complete = g.w_completes, owner = v_owner,
                    lease_until = v_until
                WHERE s.id = v_id;
            END IF;
            v_key[g.w_n] := g.key;
            v_epoch[g.w_n] := g.reader_epoch;
        END IF;
        IF g.w_completes THEN
            v_opened := v_opened - 1;
        ELSIF v_plan <> c_extend AND v_counted_of = g.w_session THEN
            v_counted := v_counted + 1;
        END IF;
        v_held := v_held + g.w_bytes;
        v_events := v_events + g.w_count;
        v_all_bytes := v_all_bytes + v_held;
        v_stream[g.w_n] := v_id;
        v_before[g.w_n] := v_last;
        v_total[g.w_n] := v_bytes;
        v_at[g.w_n] := v_newest;
        v_d_rows[g.w_n] := v_rows;
        v_d_open[g.w_n] := v_opened;
        v_d_bytes[g.w_n] := v_held;
    END LOOP;

    WITH extended AS (
        UPDATE {streams} s SET
            last_seq = s.last_seq + w.count, last_tag = w.last_tag,
            total_bytes = s.total_bytes + w.bytes,
            oldest_at = coalesce(s.oldest_at, greatest(s.newest_at, v_now)),
            newest_at = greatest(s.newest_at, v_now), active_at = greatest(s.active_at, v_now),
            since = CASE WHEN w.completes THEN greatest(s.active_at, v_now) ELSE s.since END,
            complete = w.completes,
            owner = CASE WHEN NOT w.completes THEN s.owner END,
            lease_until = CASE WHEN NOT w.completes THEN s.lease_until END
        FROM unnest(p_count, p_bytes, p_last_tag, p_completes)
            WITH ORDINALITY AS w (count, bytes, last_tag, completes, n)
        JOIN unnest(v_plain) AS plain (n) ON plain.n = w.n
        JOIN unnest(v_found, v_locked) AS l (n, id) ON l.n = w.n
        WHERE s.id = l.id
        RETURNING w.n, w.count, w.bytes, w.completes, s.id, s.key, s.reader_epoch,
            s.last_seq - w.count AS before, s.total_bytes - w.bytes AS total, s.newest_at)
    SELECT array_agg(coalesce(x.id, o.stream) ORDER BY o.n),
        array_agg(coalesce(x.key, o.key) ORDER BY o.n),
        array_agg(coalesce(x.reader_epoch, o.epoch) ORDER BY o.n),
        array_agg(coalesce(x.before, o.before) ORDER BY o.n),
        array_agg(coalesce(x.total, o.total) ORDER BY o.n),
        array_agg(coalesce(x.newest_at, o.at) ORDER BY o.n),
        array_agg(CASE WHEN x.completes THEN -1 ELSE o.open END ORDER BY o.n),
        array_agg(coalesce(x.bytes, o.bytes) ORDER BY o.n),
        v_events + coalesce(sum(x.count), 0), v_all_bytes + coalesce(sum(x.bytes), 0)
    INTO v_stream, v_key, v_epoch, v_before, v_total, v_at, v_d_open, v_d_bytes,
        v_events, v_all_bytes
    FROM unnest(v_stream, v_key, v_epoch, v_before, v_total, v_at, v_d_open, v_d_bytes)
        WITH ORDINALITY AS o (stream, key, epoch, before, total, at, open, bytes, n)
    LEFT JOIN extended x ON x.n = o.n;

    INSERT INTO {events} (stream, seq, tag, stored_at, running_bytes, retry_ms, message)
    SELECT v_stream[e.n::int], v_before[e.n::int] + e.place, e.tag, v_at[e.n::int],
        v_total[e.n::int] + e.running, e.retry, e.message
    FROM unnest(p_group, p_place, p_running, p_tag, p_retry, p_message)
        AS e (n, place, running, tag, retry, message)
    WHERE v_stream[e.n::int] <> 0;
    UPDATE {sessions} x SET
        bytes = x.bytes + d.bytes, streams = x.streams + d.rows,
        open_streams = x.open_streams + d.open,
        deleted_at = CASE WHEN d.rows > 0 THEN NULL ELSE x.deleted_at END
    FROM (
        SELECT w.session, sum(w.rows) AS rows, sum(w.open) AS open, sum(w.bytes) AS bytes
        FROM unnest(p_session, v_stream, v_d_rows, v_d_open, v_d_bytes)
            AS w (session, stream, rows, open, bytes)
        WHERE w.session <> '' AND w.stream <> 0 GROUP BY w.session) d
    WHERE x.id = d.session;
    IF EXISTS (SELECT FROM unnest(v_stream) AS w (stream) WHERE w.stream <> 0) THEN
        PERFORM {add_totals}(v_streams, v_tombstones, v_events, v_all_bytes, 0);
    END IF;
    RETURN QUERY
    SELECT w.code, CASE WHEN w.code = 0 THEN w.key END, w.before + 1, w.stored_at, w.epoch
    FROM unnest(v_code, v_key, v_before, v_at, v_epoch) WITH ORDINALITY
        AS w (code, key, before, stored_at, epoch, n)
    ORDER BY w.n;
END
$body$;
