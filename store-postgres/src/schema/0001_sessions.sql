-- A session's record if it is neither absent nor unused for p_ttl; renews it.
CREATE FUNCTION {load_session} (p_id text, p_ttl bigint, p_offset bigint, p_sync text)
RETURNS SETOF text
LANGUAGE plpgsql {settings} AS $body$
DECLARE
    v_now bigint := {now}(p_offset);
BEGIN
    PERFORM {commit_as}(p_sync);
    RETURN QUERY UPDATE {sessions} x SET used_at = greatest(x.used_at, v_now)
    WHERE x.id = p_id AND x.record IS NOT NULL AND (p_ttl IS NULL OR x.used_at > v_now - p_ttl)
    RETURNING x.record;
END
$body$;

-- Stores a record; false while the session's deletion is remembered.
CREATE FUNCTION {store_session} (
    p_id text, p_record text, p_tombstone_ttl bigint, p_offset bigint, p_sync text
) RETURNS boolean
LANGUAGE plpgsql {settings} AS $body$
DECLARE
    x {sessions};
    v_now bigint;
BEGIN
    PERFORM {commit_as}(p_sync);
    PERFORM {lock_session}(p_id);
    SELECT * INTO x FROM {sessions} y WHERE y.id = p_id;
    v_now := {now}(p_offset);
    IF x.deleted_at + p_tombstone_ttl > v_now THEN
        RETURN false;
    END IF;
    UPDATE {sessions} y SET
        record = p_record, used_at = v_now, listed_at = v_now, deleted_at = NULL
    WHERE y.id = p_id;
    IF x.record IS NULL THEN
        PERFORM {add_totals}(0, 0, 0, 0, 1);
    END IF;
    RETURN true;
END
$body$;

CREATE FUNCTION {delete_stream} (p_session text, p_name text, p_sync text)
RETURNS TABLE (o_streams bigint, o_events bigint, o_bytes bigint)
LANGUAGE plpgsql {settings} AS $body$
DECLARE
    v_is_locked boolean;
    v_id bigint;
    v_gone record;
BEGIN
    PERFORM {commit_as}(p_sync);
    PERFORM 1 FROM {sessions} x WHERE x.id = p_session FOR NO KEY UPDATE;
    v_is_locked := FOUND;
    SELECT s.id INTO v_id FROM {streams} s
    WHERE s.session = p_session AND s.name = p_name FOR UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    IF p_session <> '' AND NOT v_is_locked THEN
        -- Both were created since. To lock the session now could deadlock.
        RAISE EXCEPTION 'a stream was created meanwhile' USING ERRCODE = 'MCE01';
    END IF;
    v_gone := {drop_streams}(ARRAY[v_id]);
    UPDATE {sessions} x SET
        bytes = x.bytes - v_gone.o_booked, streams = x.streams - v_gone.o_rows,
        open_streams = x.open_streams - v_gone.o_open
    WHERE x.id = p_session;
    PERFORM {forget_empty}(ARRAY[p_session]);
    PERFORM {add_totals}(
        - v_gone.o_streams, - v_gone.o_tombstones, - v_gone.o_events, - v_gone.o_bytes, 0);
    RETURN QUERY SELECT v_gone.o_streams, v_gone.o_events, v_gone.o_bytes;
END
$body$;

-- Deletes a session: streams and record go, a mark stays.
CREATE FUNCTION {delete_session} (p_id text, p_offset bigint, p_sync text)
RETURNS TABLE (o_streams bigint, o_events bigint, o_bytes bigint, o_record boolean)
LANGUAGE plpgsql {settings} AS $body$
DECLARE
    v_ids bigint[];
    v_gone record;
    v_record boolean;
BEGIN
    PERFORM {commit_as}(p_sync);
    PERFORM {lock_session}(p_id);
    v_ids := ARRAY(SELECT s.id FROM {streams} s WHERE s.session = p_id ORDER BY s.id FOR UPDATE);
    SELECT x.record IS NOT NULL INTO v_record FROM {sessions} x WHERE x.id = p_id;
    v_gone := {drop_streams}(v_ids);
    UPDATE {sessions} x SET
        record = NULL, deleted_at = {now}(p_offset), bytes = x.bytes - v_gone.o_booked,
        streams = x.streams - v_gone.o_rows, open_streams = x.open_streams - v_gone.o_open
    WHERE x.id = p_id;
    PERFORM {add_totals}(
        - v_gone.o_streams, - v_gone.o_tombstones, - v_gone.o_events, - v_gone.o_bytes,
        - v_record::int);
    RETURN QUERY SELECT v_gone.o_streams, v_gone.o_events, v_gone.o_bytes, v_record;
END
$body$;

-- Forgets at most p_limit expired records and overdue deletion marks, and sessions that hold
-- nothing else; answers how many. What another transaction has locked waits for the next sweep.
CREATE FUNCTION {forget_sessions} (
    p_ttl bigint, p_tombstone_ttl bigint, p_limit bigint, p_offset bigint
) RETURNS bigint
LANGUAGE plpgsql {settings} AS $body$
DECLARE
    v_now bigint := {now}(p_offset);
    v_expired text[];
    v_unmarked text[];
BEGIN
    IF p_ttl IS NULL THEN
        v_expired := '{}';
    ELSE
        UPDATE {sessions} x SET listed_at = x.used_at
        WHERE x.id IN (
            SELECT y.id FROM {sessions} y
            WHERE y.record IS NOT NULL AND y.listed_at <= v_now - p_ttl
                AND y.used_at > v_now - p_ttl
            ORDER BY y.listed_at, y.id LIMIT p_limit FOR NO KEY UPDATE SKIP LOCKED);
        v_expired := ARRAY(
            SELECT y.id FROM {sessions} y
            WHERE y.record IS NOT NULL AND y.listed_at <= v_now - p_ttl
                AND y.used_at <= v_now - p_ttl
            ORDER BY y.listed_at, y.id LIMIT p_limit FOR NO KEY UPDATE SKIP LOCKED);
        UPDATE {sessions} x SET record = NULL WHERE x.id = ANY (v_expired);
    END IF;
    v_unmarked := ARRAY(
        SELECT y.id FROM {sessions} y
        WHERE y.deleted_at IS NOT NULL AND y.deleted_at <= v_now - p_tombstone_ttl
        ORDER BY y.deleted_at LIMIT p_limit - cardinality(v_expired)
        FOR NO KEY UPDATE SKIP LOCKED);
    UPDATE {sessions} x SET deleted_at = NULL WHERE x.id = ANY (v_unmarked);
    PERFORM {forget_empty}(v_expired || v_unmarked);
    IF cardinality(v_expired) > 0 THEN
        PERFORM {add_totals}(0, 0, 0, 0, - cardinality(v_expired));
    END IF;
    RETURN cardinality(v_expired) + cardinality(v_unmarked);
END
$body$;
