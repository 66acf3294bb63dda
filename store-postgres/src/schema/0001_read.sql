-- A page: the stream, with the tag of the event that the page starts after, then the events, in any
-- order. Sequences have no holes, so a range bounds the work; running bytes tell where a page is full
-- before its messages are touched.
--
-- As it is one SELECT in the language SQL, STABLE, not STRICT and without settings, the server makes
-- it a part of the statement that calls it, and sends rows as it finds them. It runs under the settings
-- of the connection, then.
CREATE FUNCTION {page} (
    p_key bytea, p_after bigint, p_events bigint, p_bytes bigint, p_offset bigint
)
RETURNS TABLE (
    o_seq bigint, o_tag bigint, o_stored_at bigint, o_running_bytes bigint, o_retry_ms bigint,
    o_message text)
LANGUAGE sql STABLE AS $body$
    WITH place AS MATERIALIZED (
        SELECT s.id AS stream, least(greatest(p_after, s.first_seq - 1), s.last_seq) AS after,
            CASE WHEN p_after >= s.first_seq THEN a.tag END AS tag,
            CASE WHEN p_after >= s.first_seq THEN a.running_bytes ELSE s.removed_bytes END AS before,
            pg_catalog.row_to_json(s)::text AS meta
        FROM {streams} s LEFT JOIN {events} a ON a.stream = s.id AND a.seq = p_after
        WHERE s.key = p_key)
    SELECT 0::bigint, place.tag, {now}(p_offset), 0::bigint, NULL::bigint, place.meta FROM place
    UNION ALL
    SELECT e.seq, e.tag, e.stored_at, e.running_bytes, e.retry_ms, e.message
    FROM place JOIN {events} e ON e.stream = place.stream
    WHERE e.seq > place.after AND e.seq <= place.after + p_events
        AND (e.running_bytes - place.before <= p_bytes OR e.seq = place.after + 1)
$body$;

-- A page, for a connection whose settings are not ours.
CREATE FUNCTION {read} (
    p_key bytea, p_after bigint, p_events bigint, p_bytes bigint, p_offset bigint
)
RETURNS TABLE (
    o_seq bigint, o_tag bigint, o_stored_at bigint, o_running_bytes bigint, o_retry_ms bigint,
    o_message text)
LANGUAGE plpgsql STABLE {settings} AS $body$
BEGIN
    RETURN QUERY SELECT * FROM {page}(p_key, p_after, p_events, p_bytes, p_offset);
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
