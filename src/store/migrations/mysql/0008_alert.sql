-- Emergency alerts. Times are UTC milliseconds.

CREATE TABLE IF NOT EXISTS alert (
    id BIGINT NOT NULL PRIMARY KEY,
    device BIGINT NOT NULL,
    tenant BIGINT NOT NULL,
    manager BIGINT NOT NULL,           -- of the device when it was raised; 0: none
    opened_ms BIGINT NOT NULL,
    closed_ms BIGINT NOT NULL,         -- 0: open
    version BIGINT NOT NULL,
    state LONGBLOB NOT NULL            -- JSON: the whole of it, from which Redis is filled again when it was emptied
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE INDEX IF NOT EXISTS alert_tenant ON alert (tenant, opened_ms, id);
CREATE INDEX IF NOT EXISTS alert_open ON alert (closed_ms, opened_ms);

-- What happened to alerts. Nothing removes it.
CREATE TABLE IF NOT EXISTS alert_event (
    alert BIGINT NOT NULL,
    number BIGINT NOT NULL,
    time_ms BIGINT NOT NULL,
    event BIGINT NOT NULL,             -- an AlertEvent
    actor BIGINT NOT NULL,             -- 0: nobody, or an operator
    body LONGBLOB NOT NULL,            -- an AlertBody
    PRIMARY KEY (alert, number)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- Who is told of the alerts of an account's devices, and of those below that have none of their own.
CREATE TABLE IF NOT EXISTS escalation (
    account BIGINT NOT NULL PRIMARY KEY,
    chain LONGBLOB NOT NULL            -- JSON
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
