-- A page: the stream, with the tag of the event that the page starts after, then the events.
-- STABLE: every statement inside sees the snapshot of the statement that calls it. Sequences have
-- no holes, so a range bounds the work; running bytes tell where a page is full before its
-- messages are touched.
CREATE FUNCTION {read} (
    p_key bytea, p_after bigint, p_events bigint, p_bytes bigint, p_offset bigint
)
RETURNS TABLE (
    o_seq bigint, o_tag bigint, o_stored_at bigint, o_running_bytes bigint, o_retry_ms bigint,
    o_message text)
LANGUAGE plpgsql STABLE {settings} AS $body$
DECLARE
    s {streams};
    v_after bigint;
    v_before bigint;
    v_tag bigint;
BEGIN
    SELECT * INTO s FROM {streams} x WHERE x.key = p_key;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    v_after := least(greatest(p_after, s.first_seq - 1), s.last_seq);
    v_before := s.removed_bytes;
    IF p_after >= s.first_seq THEN
        SELECT e.tag, e.running_bytes INTO v_tag, v_before
        FROM {events} e WHERE e.stream = s.id AND e.seq = p_after;
    END IF;
    RETURN QUERY SELECT
        0::bigint, v_tag, {now}(p_offset), 0::bigint, NULL::bigint, row_to_json(s)::text;
    RETURN QUERY SELECT e.seq, e.tag, e.stored_at, e.running_bytes, e.retry_ms, e.message
    FROM {events} e
    WHERE e.stream = s.id AND e.seq > v_after AND e.seq <= v_after + p_events
        AND (e.running_bytes - v_before <= p_bytes OR e.seq = v_after + 1)
    ORDER BY e.seq;
END
$body$;

CREATE FUNCTION {find} (p_session text, p_name text, p_offset bigint)
RETURNS TABLE (o_stream text, o_now bigint)
LANGUAGE plpgsql STABLE {settings} AS $body$
BEGIN
    RETURN QUERY SELECT row_to_json(s)::text, {now}(p_offset) FROM {streams} s
    WHERE s.session = p_session AND s.name = p_name;
END
$body$;

CREATE FUNCTION {usage} ()
RETURNS TABLE (
    o_sessions bigint, o_streams bigint, o_tombstones bigint, o_events bigint, o_bytes bigint)
LANGUAGE plpgsql STABLE {settings} AS $body$
BEGIN
    RETURN QUERY SELECT sum(t.sessions)::bigint, sum(t.streams)::bigint, sum(t.tombstones)::bigint,
        sum(t.events)::bigint, sum(t.bytes)::bigint
    FROM {totals} t;
END
$body$;

-- How many commits there were that a follower may have to hear of.
CREATE FUNCTION {changes} () RETURNS bigint
LANGUAGE plpgsql STABLE {settings} AS $body$
BEGIN
    RETURN (SELECT sum(t.changes)::bigint FROM {totals} t);
END
$body$;
