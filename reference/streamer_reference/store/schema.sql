-- One file, shared by the gateway's process and its workers. Payloads are JSON text, exact.
-- The columns stand in the order of the fields of `base.Connection`, `Request` and `Outbox`.
-- `now_ms()` is the clock of the process that writes.
CREATE TABLE IF NOT EXISTS connections (
    connection_id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    permissions TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    connected_at_ms INTEGER NOT NULL,
    last_ping_ms INTEGER NOT NULL,
    token_expires_at_s REAL NOT NULL,
    source_ip TEXT NOT NULL,
    user_agent TEXT NOT NULL,
    expires_at_s INTEGER NOT NULL,
    bucket_empty_at_ms REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS connections_by_tenant ON connections (tenant_id);
CREATE INDEX IF NOT EXISTS connections_by_expiry ON connections (expires_at_s);

CREATE TABLE IF NOT EXISTS requests (
    key TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    request_id TEXT NOT NULL,
    connection_id TEXT NOT NULL,
    action TEXT NOT NULL,
    payload TEXT NOT NULL,
    metadata TEXT NOT NULL,
    permissions TEXT NOT NULL,
    correlation_id TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    expires_at_s INTEGER NOT NULL,
    status TEXT NOT NULL,
    changed_at_ms INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    deaths INTEGER NOT NULL,
    not_before_ms INTEGER NOT NULL,
    worker_id TEXT,
    outcome TEXT,
    trace_header TEXT NOT NULL
);
-- Sparse: only what is open, so that looking for work does not read what has ended.
CREATE INDEX IF NOT EXISTS requests_open ON requests (status, not_before_ms) WHERE outcome IS NULL;
CREATE INDEX IF NOT EXISTS requests_in_flight ON requests (connection_id) WHERE outcome IS NULL;
CREATE INDEX IF NOT EXISTS requests_by_expiry ON requests (expires_at_s) WHERE outcome NOT NULL;

-- Apart from the requests, so that progress neither rewrites a payload nor reaches the stream.
CREATE TABLE IF NOT EXISTS outbox (
    key TEXT PRIMARY KEY,
    sequence INTEGER NOT NULL,
    message TEXT NOT NULL,
    taken INTEGER NOT NULL,
    closed INTEGER NOT NULL,
    percentage REAL NOT NULL,
    stored_at_ms INTEGER NOT NULL,
    waiting TEXT
);
CREATE INDEX IF NOT EXISTS outbox_undelivered ON outbox (stored_at_ms) WHERE closed AND NOT taken;
CREATE INDEX IF NOT EXISTS outbox_unnumbered ON outbox (key) WHERE NOT closed;

CREATE TABLE IF NOT EXISTS subscriptions (
    key TEXT NOT NULL,
    connection_id TEXT NOT NULL,
    PRIMARY KEY (key, connection_id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS subscriptions_by_connection ON subscriptions (connection_id);

CREATE VIEW IF NOT EXISTS stored AS
    SELECT r.*, o.sequence, o.message, o.taken, o.closed, o.percentage, o.stored_at_ms, o.waiting,
        (SELECT json_group_array(s.connection_id) FROM subscriptions s WHERE s.key = r.key)
    FROM requests r JOIN outbox o ON o.key = r.key;

CREATE TABLE IF NOT EXISTS workers (
    worker_id TEXT PRIMARY KEY,
    invocation_id TEXT NOT NULL,
    lease_until_ms INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS counters (
    key TEXT PRIMARY KEY, count INTEGER NOT NULL, changed_at_ms INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS counters_by_age ON counters (changed_at_ms);
CREATE TABLE IF NOT EXISTS dead_letters (
    id INTEGER PRIMARY KEY, record TEXT NOT NULL, reason TEXT NOT NULL, parked_at_ms INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS dead_letters_by_age ON dead_letters (parked_at_ms);

-- The change log that is read as a DynamoDB stream. A write that changes nothing leaves no record.
CREATE TABLE IF NOT EXISTS changes (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    event_name TEXT NOT NULL,
    key TEXT NOT NULL,
    old_image TEXT,
    new_image TEXT,
    created_at_s REAL NOT NULL
);
CREATE TRIGGER IF NOT EXISTS requests_inserted AFTER INSERT ON requests BEGIN
    INSERT INTO changes (event_name, key, new_image, created_at_s) VALUES ('INSERT', NEW.key,
        json_object('status', NEW.status, 'attempt', NEW.attempt, 'deaths', NEW.deaths),
        now_ms() / 1000.0);
END;
CREATE TRIGGER IF NOT EXISTS requests_changed AFTER UPDATE ON requests
WHEN OLD.status <> NEW.status OR OLD.attempt <> NEW.attempt BEGIN
    INSERT INTO changes (event_name, key, old_image, new_image, created_at_s) VALUES ('MODIFY',
        NEW.key,
        json_object('status', OLD.status, 'attempt', OLD.attempt, 'deaths', OLD.deaths),
        json_object('status', NEW.status, 'attempt', NEW.attempt, 'deaths', NEW.deaths,
            'request_id', NEW.request_id, 'correlation_id', NEW.correlation_id,
            'connection_id', NEW.connection_id, 'tenant_id', NEW.tenant_id,
            'trace_header', NEW.trace_header),
        now_ms() / 1000.0);
END;
CREATE TRIGGER IF NOT EXISTS requests_removed AFTER DELETE ON requests BEGIN
    DELETE FROM outbox WHERE key = OLD.key;
    DELETE FROM subscriptions WHERE key = OLD.key;
    INSERT INTO changes (event_name, key, old_image, created_at_s) VALUES ('REMOVE', OLD.key,
        json_object('status', OLD.status, 'attempt', OLD.attempt, 'deaths', OLD.deaths),
        now_ms() / 1000.0);
END;
