-- One row: the sums of everything, so that usage never scans.
CREATE TABLE totals (
    one         INTEGER PRIMARY KEY CHECK (one = 1),
    next_stream INTEGER NOT NULL, -- the next streams.id; an ID is never used twice
    streams     INTEGER NOT NULL,
    tombstones  INTEGER NOT NULL,
    events      INTEGER NOT NULL,
    bytes       INTEGER NOT NULL,
    sessions    INTEGER NOT NULL, -- sessions with a record
    sweeper     TEXT,             -- who sweeps in the background, and until when
    sweep_until INTEGER NOT NULL
);
INSERT INTO totals VALUES (1, 1, 0, 0, 0, 0, 0, NULL, 0);

-- A session has a row while it has a record, a deletion mark, or a stream.
CREATE TABLE sessions (
    id           TEXT PRIMARY KEY NOT NULL,
    record       TEXT,
    used_at      INTEGER NOT NULL DEFAULT 0,
    deleted_at   INTEGER,
    bytes        INTEGER NOT NULL DEFAULT 0,
    streams      INTEGER NOT NULL DEFAULT 0, -- rows in streams, tombstones among them
    open_streams INTEGER NOT NULL DEFAULT 0, -- rows in streams with state 0
    large        INTEGER NOT NULL DEFAULT 0  -- whether worth shrinking: see below
);
CREATE INDEX sessions_used ON sessions (used_at) WHERE record IS NOT NULL;
CREATE INDEX sessions_deleted ON sessions (deleted_at) WHERE deleted_at IS NOT NULL;
-- Holds only what is worth shrinking, so that ordinary appends do not touch it.
CREATE INDEX sessions_large ON sessions (id) WHERE large;

CREATE TABLE streams (
    id            INTEGER PRIMARY KEY,
    key           BLOB    NOT NULL UNIQUE,
    session       TEXT    NOT NULL, -- '' for a session-less stream
    name          TEXT    NOT NULL,
    first_seq     INTEGER NOT NULL, -- the oldest kept event; last_seq + 1 if there is none
    last_seq      INTEGER NOT NULL,
    last_tag      INTEGER NOT NULL,
    removed_tag   INTEGER,          -- the tag of event first_seq - 1
    removed_bytes INTEGER NOT NULL,
    total_bytes   INTEGER NOT NULL,
    oldest_at     INTEGER,          -- when the oldest kept event was stored
    newest_at     INTEGER NOT NULL,
    active_at     INTEGER NOT NULL,
    state         INTEGER NOT NULL, -- 0 incomplete, 1 complete, 2 tombstone
    complete      INTEGER NOT NULL,
    expired_at    INTEGER,
    owner         TEXT,
    lease_until   INTEGER NOT NULL,
    reader_epoch  INTEGER NOT NULL,
    -- The sweep's order. For a tombstone expired_at, else active_at or, while the stream is
    -- incomplete, an earlier value of it: so an append touches no index, and the sweep moves the
    -- few rows that it meets.
    since         INTEGER NOT NULL,
    version       INTEGER NOT NULL, -- raised by every change but of since and large
    large         INTEGER NOT NULL DEFAULT 0, -- whether worth trimming: see below
    UNIQUE (session, name)
);
CREATE INDEX streams_since ON streams (state, since);
CREATE INDEX streams_oldest ON streams (oldest_at) WHERE oldest_at IS NOT NULL;
-- Holds only long streams, so that ordinary appends do not touch it.
CREATE INDEX streams_large ON streams (id) WHERE large;

-- An index on bytes themselves would be written by every append.
CREATE TRIGGER sessions_insert AFTER INSERT ON sessions WHEN NEW.bytes >= 1048576 BEGIN
    UPDATE sessions SET large = 1 WHERE id = NEW.id;
END;
CREATE TRIGGER sessions_update AFTER UPDATE OF bytes ON sessions
WHEN (NEW.bytes >= 1048576) <> NEW.large BEGIN
    UPDATE sessions SET large = NOT NEW.large WHERE id = NEW.id;
END;
CREATE TRIGGER streams_insert AFTER INSERT ON streams
WHEN NEW.total_bytes - NEW.removed_bytes >= 65536 BEGIN
    UPDATE streams SET large = 1 WHERE id = NEW.id;
END;
CREATE TRIGGER streams_update AFTER UPDATE OF total_bytes, removed_bytes ON streams
WHEN (NEW.total_bytes - NEW.removed_bytes >= 65536) <> NEW.large BEGIN
    UPDATE streams SET large = NOT NEW.large WHERE id = NEW.id;
END;

-- A rowid table with an index: keyed by (stream, seq) without rowids, messages would sit in the
-- tree that every insert walks, and inserts measured five times slower.
CREATE TABLE events (
    stream        INTEGER NOT NULL,
    seq           INTEGER NOT NULL,
    tag           INTEGER NOT NULL,
    stored_at     INTEGER NOT NULL,
    running_bytes INTEGER NOT NULL, -- bytes of this and all earlier events of the stream
    retry_ms      INTEGER,
    message       TEXT
);
CREATE UNIQUE INDEX events_place ON events (stream, seq);

-- An event for a stream that the writer knows already: one statement, checked against what the
-- writer believes, that fails whole if the stream has changed since.
CREATE VIEW known_append AS SELECT
    NULL AS stream, NULL AS version, NULL AS session, NULL AS seq, NULL AS tag, NULL AS stored_at,
    NULL AS active_at, NULL AS running_bytes, NULL AS bytes, NULL AS retry_ms, NULL AS message,
    NULL AS owner, NULL AS lease_until, NULL AS completes;
CREATE TRIGGER known_append_insert INSTEAD OF INSERT ON known_append BEGIN
    UPDATE streams SET
        last_seq = NEW.seq, last_tag = NEW.tag, total_bytes = NEW.running_bytes,
        newest_at = NEW.stored_at, active_at = NEW.active_at, owner = NEW.owner,
        lease_until = NEW.lease_until, version = version + 1
    WHERE id = NEW.stream AND version = NEW.version;
    SELECT RAISE(ABORT, 'the stream has changed') WHERE changes() = 0;
    UPDATE streams SET complete = 1, state = 1, since = NEW.active_at
    WHERE id = NEW.stream AND NEW.completes;
    INSERT INTO events (stream, seq, tag, stored_at, running_bytes, retry_ms, message) VALUES
        (NEW.stream, NEW.seq, NEW.tag, NEW.stored_at, NEW.running_bytes, NEW.retry_ms, NEW.message);
    UPDATE sessions SET bytes = bytes + NEW.bytes, open_streams = open_streams - NEW.completes
    WHERE id = NEW.session;
    UPDATE totals SET events = events + 1, bytes = bytes + NEW.bytes;
END;

-- Rows of events below a sequence wait here to be freed in bounded steps.
CREATE TABLE garbage (
    stream INTEGER PRIMARY KEY,
    below  INTEGER NOT NULL
);
