-- A batch, in one statement: locks, decides and inserts. It decides as StreamMeta::plan_append,
-- SessionState::check_new_stream and StreamMeta::push do. Each statement inside sees everything
-- that was committed before its locks were granted, since the isolation level is READ COMMITTED.
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
    v_locked bigint[];
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
    -- By group: where its events go, and what it adds to its session. Stream 0 is refused.
    v_stream bigint[] := '{}';
    v_before bigint[] := '{}';
    v_total bigint[] := '{}';
    v_at bigint[] := '{}';
    v_d_rows bigint[] := '{}';
    v_d_open bigint[] := '{}';
    v_d_bytes bigint[] := '{}';
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
    v_stored boolean := false;
BEGIN
    PERFORM {commit_as}(p_sync);
    INSERT INTO {sessions} AS x (id) SELECT w.id FROM unnest(p_sessions) AS w (id)
    ON CONFLICT (id) DO UPDATE SET bytes = x.bytes WHERE false;
    v_locked := ARRAY(
        SELECT s.id FROM unnest(p_session, p_name) AS w (session, name)
        JOIN {streams} s ON s.session = w.session AND s.name = w.name
        ORDER BY s.id FOR UPDATE OF s);
    v_now := {now}(p_offset);

    FOR g IN
        SELECT w.*, s.*, count(s.id) OVER () AS found
        FROM unnest(p_session, p_name, p_key, p_count, p_bytes, p_last_tag, p_completes)
            WITH ORDINALITY
            AS w (w_session, w_name, w_key, w_count, w_bytes, w_last_tag, w_completes, w_n)
        LEFT JOIN {streams} s ON s.session = w.w_session AND s.name = w.w_name
        ORDER BY w.w_n
    LOOP
        IF g.found > cardinality(v_locked) THEN
            -- Another instance created a session-less stream after the locks were taken: it is
            -- seen here and not locked. Nothing has been written yet.
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
            v_stream := v_stream || 0::bigint;
            v_before := v_before || 0::bigint;
            v_total := v_total || 0::bigint;
            v_at := v_at || 0::bigint;
            v_d_rows := v_d_rows || 0::bigint;
            v_d_open := v_d_open || 0::bigint;
            v_d_bytes := v_d_bytes || 0::bigint;
            o_key := NULL;
            o_first_seq := NULL;
            o_stored_at := NULL;
            o_epoch := NULL;
            RETURN NEXT;
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
            o_key := g.w_key;
            o_epoch := 0;
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
            o_key := g.key;
            o_epoch := g.reader_epoch;
        END IF;
        IF g.w_completes THEN
            v_opened := v_opened - 1;
        ELSIF v_plan <> c_extend AND v_counted_of = g.w_session THEN
            v_counted := v_counted + 1;
        END IF;
        v_held := v_held + g.w_bytes;
        v_events := v_events + g.w_count;
        v_all_bytes := v_all_bytes + v_held;
        v_stored := true;

        v_stream := v_stream || v_id;
        v_before := v_before || v_last;
        v_total := v_total || v_bytes;
        v_at := v_at || v_newest;
        v_d_rows := v_d_rows || v_rows;
        v_d_open := v_d_open || v_opened;
        v_d_bytes := v_d_bytes || v_held;
        o_first_seq := v_last + 1;
        o_stored_at := v_newest;
        RETURN NEXT;
    END LOOP;

    IF NOT v_stored THEN
        RETURN;
    END IF;
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
    PERFORM {add_totals}(v_streams, v_tombstones, v_events, v_all_bytes, 0);
END
$body$;
