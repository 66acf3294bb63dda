-- StreamMeta::plan_renew. o_code: 0 held, 1 another's, 2 complete, 3 gone.
CREATE FUNCTION {renew} (
    p_session text, p_name text, p_owner text, p_ttl bigint, p_stream_ttl bigint,
    p_completed_ttl bigint, p_offset bigint, p_sync text
)
RETURNS TABLE (o_code bigint, o_remaining bigint)
LANGUAGE plpgsql {settings} AS $body$
DECLARE
    s {streams};
    v_now bigint;
BEGIN
    SELECT * INTO s FROM {streams} x
    WHERE x.session = p_session AND x.name = p_name FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN QUERY SELECT 3::bigint, 0::bigint;
        RETURN;
    END IF;
    v_now := {now}(p_offset);
    IF s.expired_at IS NOT NULL OR {expires_at}(
        s.expired_at, s.complete, s.active_at, s.lease_until, p_stream_ttl, p_completed_ttl)
        <= v_now
    THEN
        RETURN QUERY SELECT 3::bigint, 0::bigint;
    ELSIF s.complete THEN
        RETURN QUERY SELECT 2::bigint, 0::bigint;
    ELSIF s.owner <> p_owner AND s.lease_until > v_now THEN
        RETURN QUERY SELECT 1::bigint, s.lease_until - v_now;
    ELSE
        PERFORM {commit_as}(p_sync);
        UPDATE {streams} x SET
            owner = p_owner, lease_until = v_now + p_ttl, active_at = greatest(x.active_at, v_now)
        WHERE x.id = s.id;
        RETURN QUERY SELECT 0::bigint, 0::bigint;
    END IF;
END
$body$;

-- Raises a stream's reader epoch.
CREATE FUNCTION {take_over} (p_key bytea, p_sync text)
RETURNS TABLE (o_epoch bigint, o_session text, o_name text)
LANGUAGE plpgsql {settings} AS $body$
BEGIN
    PERFORM {commit_as}(p_sync);
    UPDATE {streams} s SET reader_epoch = s.reader_epoch + 1 WHERE s.key = p_key
    RETURNING s.reader_epoch, s.session, s.name INTO o_epoch, o_session, o_name;
    IF FOUND THEN
        PERFORM {add_totals}(0, 0, 0, 0, 0);
        RETURN NEXT;
    END IF;
END
$body$;
