-- A batch, in one statement: locks, decides and inserts. It decides as StreamMeta::plan_append,
-- SessionState::check_new_stream and StreamMeta::push do. Each statement inside sees everything
-- that was committed before its locks were granted, since the isolation level is READ COMMITTED.
--
-- Most groups just extend a live stream: these are left to `extend`. A batch of nothing else locks as
-- that updates.
--
-- Locks are taken in the order in which every function here takes them: sessions by ID, streams by
-- their number, new streams by their names, a row of the totals.
CREATE FUNCTION {append} (
    -- Groups, in the order of session and name: a session of '' stands for none. Of each, where its
    -- events begin, and the lease that it wants if only one owner wants it.
    p_session text[], p_name text[], p_key bytea[], p_first bigint[], p_count bigint[],
    p_bytes bigint[], p_last_tag bigint[], p_completes boolean[], p_owner text[], p_ttl bigint[],
    -- Events, with the bytes of the group up to them.
    p_running bigint[], p_tag bigint[], p_retry bigint[], p_message text[],
    -- Leases of groups in which several owners want it: each once, as it came first, with its last
    -- ttl.
    p_lease_group bigint[], p_lease_owner text[], p_lease_ttl bigint[],
    p_all_bytes bigint, p_stream_ttl bigint, p_completed_ttl bigint, p_tombstone_ttl bigint,
    p_max_streams bigint, p_offset bigint, p_sync text
)
-- A row for each group, by number. o_code: 0 stored, 1 complete, 2 session deleted, 3 limit
-- reached. o_id: the stream's number.
RETURNS TABLE (
    o_group bigint, o_code bigint, o_id bigint, o_key bytea, o_first_seq bigint,
    o_stored_at bigint, o_epoch bigint)
LANGUAGE plpgsql {settings} AS $body$
#variable_conflict use_column
DECLARE
    c_create  CONSTANT integer := 1;
    c_replace CONSTANT integer := 2;
    c_revive  CONSTANT integer := 3;
    c_extend  CONSTANT integer := 4;
    v_groups  CONSTANT bigint := cardinality(p_session);
    -- Groups that just extend a live stream, in the order of these, with what they want of them,
    -- and the same by group.
    v_plain bigint[];
    v_plain_ids bigint[];
    v_plain_keys bytea[];
    v_plain_owners text[];
    v_plain_ttls bigint[];
    v_is_plain boolean[];
    v_was_plain boolean[];
    -- Streams that are locked, if not all groups are plain.
    v_locked bigint[];
    v_now bigint;
    g record;
    v_gone record;
    v_n bigint;
    v_plan integer;
    v_expires bigint;
    v_last bigint;
    v_bytes bigint;
    v_active bigint;
    v_owner text;
    v_until bigint;
    v_ttl bigint;
    -- The session that was looked at last, and its open streams, if they were counted.
    v_session text := '';
    v_deleted_at bigint;
    v_open bigint;
    v_counted bigint;
    -- By group, of those that are not plain: where their events go. Stream 0 is refused.
    v_stream bigint[];
    v_before bigint[];
    v_total bigint[];
    v_at bigint[];
    -- By group: what it adds to its session.
    v_d_rows bigint[];
    v_d_open bigint[];
    v_d_bytes bigint[];
    -- New streams: their groups and leases, and their numbers.
    v_new bigint[] := '{}';
    v_new_owner text[] := '{}';
    v_new_until bigint[] := '{}';
    v_new_ids bigint[];
    -- What is added to the totals: all of it, until some is refused.
    v_streams bigint := 0;
    v_tombstones bigint := 0;
    v_events bigint := cardinality(p_message);
    v_all_bytes bigint := p_all_bytes;
    v_refused bigint := 0;
BEGIN
    PERFORM {commit_as}(p_sync);
    LOOP
        v_now := {now}(p_offset);
        SELECT coalesce(array_agg(l.n), '{}'), coalesce(array_agg(l.id), '{}'), array_agg(l.key),
            array_agg(l.owner), array_agg(l.ttl)
        INTO v_plain, v_plain_ids, v_plain_keys, v_plain_owners, v_plain_ttls
        FROM (
            SELECT w.n, s.id, s.key, w.owner, w.ttl
            FROM unnest(p_session, p_name, p_owner, p_ttl)
                WITH ORDINALITY AS w (session, name, owner, ttl, n)
            JOIN {streams} s ON s.session = w.session AND s.name = w.name
            WHERE {is_live}(s.complete, s.expired_at, s.active_at, s.lease_until, p_stream_ttl,
                    v_now)
                AND w.n <> ALL (p_lease_group)
            ORDER BY s.id) l;
        EXIT WHEN v_locked IS NOT NULL
            OR (cardinality(v_plain) = v_groups AND true <> ALL (p_completes));

        -- What is not plain changes a session. Locks come in order, so everything is locked before
        -- anything is changed, and then looked at once more.
        v_was_plain := array_fill(false, ARRAY[v_groups::int]);
        FOREACH v_n IN ARRAY v_plain LOOP
            v_was_plain[v_n] := NOT p_completes[v_n];
        END LOOP;
        INSERT INTO {sessions} AS x (id)
        SELECT DISTINCT w.session COLLATE "C" FROM unnest(p_session, v_was_plain) AS w (session, plain)
        WHERE w.session <> '' AND NOT w.plain ORDER BY 1
        ON CONFLICT (id) DO UPDATE SET bytes = x.bytes WHERE false;
        v_locked := ARRAY(
            SELECT s.id FROM unnest(p_session, p_name) AS w (session, name)
            JOIN {streams} s ON s.session = w.session AND s.name = w.name
            ORDER BY s.id FOR UPDATE OF s);
    END LOOP;

    IF v_locked IS NOT NULL THEN
        v_is_plain := array_fill(false, ARRAY[v_groups::int]);
        v_d_rows := array_fill(0::bigint, ARRAY[v_groups::int]);
        v_d_open := v_d_rows;
        v_d_bytes := v_d_rows;
        v_stream := v_d_rows;
        v_before := v_d_rows;
        v_total := v_d_rows;
        v_at := v_d_rows;
        FOREACH v_n IN ARRAY v_plain LOOP
            v_is_plain[v_n] := true;
            IF p_completes[v_n] THEN
                v_d_open[v_n] := -1;
            END IF;
        END LOOP;
        IF EXISTS (SELECT FROM unnest(v_was_plain, v_is_plain) AS w (was, is_now)
                WHERE w.was AND NOT w.is_now)
            OR EXISTS (SELECT unnest(v_plain_ids) EXCEPT SELECT unnest(v_locked))
        THEN
            -- Its session is not locked; or, of a session-less stream that was just created, the
            -- stream itself. To lock it now could deadlock.
            RAISE EXCEPTION 'a stream was changed meanwhile' USING ERRCODE = 'MCE01';
        END IF;

        FOR g IN
            SELECT w.*, s.*
            FROM unnest(p_session, p_name, p_count, p_bytes, p_last_tag, p_completes, p_owner, p_ttl)
                WITH ORDINALITY
                AS w (w_session, w_name, w_count, w_bytes, w_last_tag, w_completes, w_owner, w_ttl, w_n)
            LEFT JOIN {streams} s ON s.session = w.w_session AND s.name = w.w_name
            WHERE NOT v_is_plain[w.w_n]
            ORDER BY w.w_n
        LOOP
            o_group := g.w_n;
            o_code := 0;
            IF g.id IS NULL THEN
                v_plan := c_create;
            ELSE
                IF g.id <> ALL (v_locked) THEN
                    -- Another instance created a session-less stream after the locks were taken:
                    -- it is seen here and not locked.
                    RAISE EXCEPTION 'a stream was created meanwhile' USING ERRCODE = 'MCE01';
                END IF;
                v_expires := {expires_at}(g.expired_at, g.complete, g.active_at, g.lease_until,
                    p_stream_ttl, p_completed_ttl);
                IF v_expires + p_tombstone_ttl <= v_now THEN
                    v_plan := c_replace;
                ELSIF g.complete THEN
                    o_code := 1;
                ELSIF g.expired_at IS NOT NULL OR v_expires <= v_now THEN
                    v_plan := c_revive;
                ELSE
                    v_plan := c_extend;
                END IF;
            END IF;

            IF o_code = 0 AND v_plan <> c_extend AND g.w_session <> '' THEN
                IF v_session <> g.w_session THEN
                    v_session := g.w_session;
                    v_counted := NULL;
                    SELECT x.deleted_at, x.open_streams INTO v_deleted_at, v_open
                    FROM {sessions} x WHERE x.id = v_session;
                END IF;
                IF v_deleted_at + p_tombstone_ttl > v_now THEN
                    o_code := 2;
                ELSIF v_open + v_groups > p_max_streams THEN
                    -- Expired streams that wait for the sweep are in the row's count, and those
                    -- that this batch has created are not: near the limit the streams are counted,
                    -- once for all of the session's groups, which follow each other.
                    IF v_counted IS NULL THEN
                        SELECT count(*) INTO v_counted FROM {streams} s
                        WHERE s.session = v_session AND s.state = 0
                            AND {is_live}(s.complete, s.expired_at, s.active_at, s.lease_until,
                                p_stream_ttl, v_now);
                    END IF;
                    IF v_counted >= p_max_streams THEN
                        o_code := 3;
                    END IF;
                END IF;
            END IF;

            IF o_code <> 0 THEN
                v_refused := v_refused + 1;
                v_events := v_events - g.w_count;
                v_all_bytes := v_all_bytes - g.w_bytes;
                o_id := NULL;
                o_key := NULL;
                o_first_seq := NULL;
                o_stored_at := NULL;
                o_epoch := NULL;
                RETURN NEXT;
                CONTINUE;
            END IF;

            IF v_plan = c_replace THEN
                v_gone := {drop_streams}(ARRAY[g.id]);
                v_d_rows[g.w_n] := - v_gone.o_rows;
                v_d_open[g.w_n] := - v_gone.o_open;
                v_d_bytes[g.w_n] := - v_gone.o_booked;
                v_streams := v_streams - v_gone.o_streams;
                v_tombstones := v_tombstones - v_gone.o_tombstones;
                v_events := v_events - v_gone.o_events;
                v_all_bytes := v_all_bytes - v_gone.o_bytes;
            ELSIF v_plan = c_revive THEN
                IF g.last_seq >= g.first_seq THEN
                    INSERT INTO {garbage} (stream, below) VALUES (g.id, g.last_seq + 1);
                END IF;
                v_bytes := g.removed_bytes - g.total_bytes;
                v_d_bytes[g.w_n] := v_bytes;
                v_all_bytes := v_all_bytes + v_bytes;
                v_events := v_events - (g.last_seq + 1 - g.first_seq);
                IF g.expired_at IS NOT NULL THEN
                    v_d_open[g.w_n] := 1;
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
            ELSIF g.w_owner IS NOT NULL THEN
                IF v_owner IS NULL OR v_until <= v_now THEN
                    v_owner := g.w_owner;
                END IF;
                IF v_owner = g.w_owner THEN
                    v_until := v_now + g.w_ttl;
                END IF;
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
                v_new := v_new || g.w_n;
                v_new_owner := v_new_owner || v_owner;
                v_new_until := v_new_until || v_until;
                v_d_rows[g.w_n] := v_d_rows[g.w_n] + 1;
                v_d_open[g.w_n] := v_d_open[g.w_n] + 1;
                v_bytes := octet_length(g.w_session) + octet_length(g.w_name) + 256;
                v_d_bytes[g.w_n] := v_d_bytes[g.w_n] + v_bytes;
                v_all_bytes := v_all_bytes + v_bytes;
                v_streams := v_streams + 1;
                v_last := 0;
                v_at[g.w_n] := v_now;
            ELSE
                v_last := g.last_seq;
                v_stream[g.w_n] := g.id;
                v_total[g.w_n] := g.total_bytes;
                v_at[g.w_n] := greatest(g.newest_at, v_now);
                v_active := greatest(g.active_at, v_now);
                IF v_plan = c_extend THEN
                    UPDATE {streams} s SET
                        last_seq = v_last + g.w_count, last_tag = g.w_last_tag,
                        total_bytes = g.total_bytes + g.w_bytes,
                        oldest_at = coalesce(s.oldest_at, v_at[g.w_n]), newest_at = v_at[g.w_n],
                        active_at = v_active,
                        since = CASE WHEN g.w_completes THEN v_active ELSE s.since END,
                        complete = g.w_completes, state = {state}(g.w_completes, NULL),
                        large = {large}(g.total_bytes + g.w_bytes, s.removed_bytes),
                        unbooked = {unbooked}(g.total_bytes + g.w_bytes, s.booked_bytes, s.session),
                        owner = v_owner, lease_until = v_until
                    WHERE s.id = g.id;
                ELSE
                    UPDATE {streams} s SET
                        first_seq = v_last + 1, removed_tag = s.last_tag,
                        removed_bytes = g.total_bytes, last_seq = v_last + g.w_count,
                        last_tag = g.w_last_tag, total_bytes = g.total_bytes + g.w_bytes,
                        oldest_at = v_at[g.w_n], newest_at = v_at[g.w_n], active_at = v_active,
                        since = v_active, expired_at = NULL, complete = g.w_completes,
                        state = {state}(g.w_completes, NULL), large = {large}(g.w_bytes, 0),
                        unbooked = {unbooked}(g.total_bytes + g.w_bytes, s.booked_bytes, s.session),
                        owner = v_owner, lease_until = v_until
                    WHERE s.id = g.id;
                END IF;
                o_id := g.id;
                o_key := g.key;
                o_first_seq := v_last + 1;
                o_stored_at := v_at[g.w_n];
                o_epoch := g.reader_epoch;
                RETURN NEXT;
            END IF;
            IF g.w_completes THEN
                v_d_open[g.w_n] := v_d_open[g.w_n] - 1;
            ELSIF v_plan <> c_extend THEN
                v_counted := v_counted + 1;
            END IF;
            v_before[g.w_n] := v_last;
        END LOOP;

        IF cardinality(v_new) > 0 THEN
            WITH created AS (
                INSERT INTO {streams} (
                    key, session, name, first_seq, last_seq, last_tag, total_bytes, own_bytes,
                    oldest_at, newest_at, active_at, since, complete, state, large, unbooked,
                    owner, lease_until)
                SELECT p_key[w.n], p_session[w.n], p_name[w.n], 1, p_count[w.n], p_last_tag[w.n],
                    p_bytes[w.n], octet_length(p_session[w.n]) + octet_length(p_name[w.n]) + 256,
                    v_now, v_now, v_now, v_now, p_completes[w.n],
                    {state}(p_completes[w.n], NULL), {large}(p_bytes[w.n], 0),
                    {unbooked}(p_bytes[w.n], 0, p_session[w.n]), w.owner, w.until
                FROM unnest(v_new, v_new_owner, v_new_until) AS w (n, owner, until)
                ORDER BY w.n
                ON CONFLICT (session, name) DO NOTHING
                RETURNING id, session, name)
            -- The order of groups.
            SELECT array_agg(x.id ORDER BY x.session, x.name) INTO v_new_ids FROM created x;
            IF cardinality(v_new_ids) IS DISTINCT FROM cardinality(v_new) THEN
                -- Another instance created one since.
                RAISE EXCEPTION 'a stream was created meanwhile' USING ERRCODE = 'MCE01';
            END IF;
            FOR v_n IN 1 .. cardinality(v_new) LOOP
                o_group := v_new[v_n];
                o_code := 0;
                o_id := v_new_ids[v_n];
                o_key := p_key[o_group];
                o_first_seq := 1;
                o_stored_at := v_now;
                o_epoch := 0;
                v_stream[o_group] := o_id;
                RETURN NEXT;
            END LOOP;
        END IF;
        INSERT INTO {events} (stream, seq, tag, stored_at, running_bytes, retry_ms, message)
        SELECT w.stream, w.before + i - w.first + 1, p_tag[i], w.at, w.total + p_running[i],
            p_retry[i], p_message[i]
        FROM unnest(v_stream, v_before, v_total, v_at, p_first, p_count)
            AS w (stream, before, total, at, first, count)
        CROSS JOIN generate_series(w.first, w.first + w.count - 1) AS i
        WHERE w.stream <> 0;
        UPDATE {sessions} x SET
            bytes = x.bytes + d.bytes, streams = x.streams + d.rows,
            open_streams = x.open_streams + d.open,
            deleted_at = CASE WHEN d.rows > 0 THEN NULL ELSE x.deleted_at END
        FROM (
            SELECT w.session, sum(w.rows) AS rows, sum(w.open) AS open, sum(w.bytes) AS bytes
            FROM unnest(p_session, v_d_rows, v_d_open, v_d_bytes) AS w (session, rows, open, bytes)
            WHERE w.session <> '' GROUP BY w.session) d
        WHERE x.id = d.session AND (d.rows <> 0 OR d.open <> 0 OR d.bytes <> 0);
    END IF;

    IF cardinality(v_plain) > 0 THEN
        RETURN QUERY
        SELECT v_plain[w.place], 0::bigint, v_plain_ids[w.place], v_plain_keys[w.place],
            w.first_seq, w.stored_at, w.epoch
        FROM {extend}(
            v_plain, v_plain_ids, v_plain_keys, p_first, p_count, p_bytes, p_last_tag, p_completes,
            v_plain_owners, v_plain_ttls, p_running, p_tag, p_retry, p_message, p_stream_ttl,
            p_offset, p_sync, false) AS x
        CROSS JOIN unnest(x.o_places, x.o_first_seqs, x.o_stored_at, x.o_epochs)
            AS w (place, first_seq, stored_at, epoch);
        GET DIAGNOSTICS v_n = ROW_COUNT;
        IF v_n <> cardinality(v_plain) THEN
            RAISE EXCEPTION 'a stream was changed meanwhile' USING ERRCODE = 'MCE01';
        END IF;
    END IF;
    IF v_refused < v_groups THEN
        PERFORM {add_totals}(v_streams, v_tombstones, v_events, v_all_bytes, 0);
    END IF;
END
$body$;
