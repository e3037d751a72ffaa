-- Where devices are and were. Degrees are WGS 84; times are UTC milliseconds.

-- Clustered by device and time: a day of one device is one range of the table, however many rows there are.
CREATE TABLE IF NOT EXISTS fix (
    device BIGINT NOT NULL,
    fix_ms BIGINT NOT NULL,
    source BIGINT NOT NULL,            -- 1 gps, 2 wifi, 0 not placed
    arrival_ms BIGINT NOT NULL,
    latitude DOUBLE,                   -- null when not placed
    longitude DOUBLE,
    accuracy_m DOUBLE,                 -- null, as the next four: not known
    altitude_m DOUBLE,
    speed_mps DOUBLE,
    course_deg DOUBLE,
    battery BIGINT,
    grp BIGINT NOT NULL,               -- in whose room the device was; 0: none
    flags BIGINT NOT NULL,             -- bit n: the flag of number n
    scan LONGBLOB,                     -- a Scan: what was heard
    PRIMARY KEY (device, fix_ms, source)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- Frames of reports that are in: one that comes again changes nothing. Rows leave after a day.
CREATE TABLE IF NOT EXISTS fix_frame (
    producer BIGINT NOT NULL,
    number BIGINT NOT NULL,
    time_ms BIGINT NOT NULL,
    PRIMARY KEY (producer, number)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE INDEX IF NOT EXISTS fix_frame_time ON fix_frame (time_ms);

-- What became of the reports of a device that arrived on a day: received = stored + duplicate + refused.
CREATE TABLE IF NOT EXISTS fix_fate (
    device BIGINT NOT NULL,
    day BIGINT NOT NULL,               -- since 1970-01-01, UTC
    received BIGINT NOT NULL,
    stored BIGINT NOT NULL,
    duplicate BIGINT NOT NULL,
    refused BIGINT NOT NULL,
    PRIMARY KEY (device, day)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

CREATE TABLE IF NOT EXISTS fix_refused (
    device BIGINT NOT NULL,
    day BIGINT NOT NULL,
    reason BIGINT NOT NULL,
    field VARCHAR(64) NOT NULL,
    reports BIGINT NOT NULL,
    PRIMARY KEY (device, day, reason, field)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- Access points, each of one tenant.
CREATE TABLE IF NOT EXISTS wifi_point (
    tenant BIGINT NOT NULL,
    bssid BIGINT NOT NULL,             -- the six bytes as a number
    latitude_e15 BIGINT NOT NULL,      -- degrees times 10^15: what was posted is kept to the last decimal
    longitude_e15 BIGINT NOT NULL,
    description VARCHAR(200) NOT NULL,
    account BIGINT NOT NULL,           -- who saved it; 0: learned
    weight DOUBLE NOT NULL,            -- of what was learned; 0: saved by somebody, and never changed by learning
    changed_ms BIGINT NOT NULL,
    PRIMARY KEY (tenant, bssid)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

CREATE TABLE IF NOT EXISTS fence (
    id BIGINT NOT NULL PRIMARY KEY,
    account BIGINT NOT NULL,           -- whose it is, and who is told
    name VARCHAR(128) NOT NULL,
    shape LONGBLOB NOT NULL,           -- JSON: a circle or a polygon
    tell BIGINT NOT NULL,              -- bits: 1 enter, 2 leave
    stay_ms BIGINT NOT NULL,           -- 0: not told
    deleted_ms BIGINT NOT NULL         -- 0: live
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE INDEX IF NOT EXISTS fence_account ON fence (account, id);
INSERT IGNORE INTO counter (name, value) VALUES ('fence', 0);

-- Where a device stands with a fence, as of its newest fix.
CREATE TABLE IF NOT EXISTS fence_state (
    fence BIGINT NOT NULL,
    device BIGINT NOT NULL,
    inside BIGINT NOT NULL,            -- 0 or 1
    since_ms BIGINT NOT NULL,          -- of the fix that brought it there
    fix_ms BIGINT NOT NULL,            -- of the last fix looked at
    stayed BIGINT NOT NULL,            -- 0 or 1: that it stays was told
    PRIMARY KEY (fence, device)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- Secrets by which phones report over HTTP, each of one device; only their hashes.
CREATE TABLE IF NOT EXISTS phone_secret (
    hash VARBINARY(32) NOT NULL PRIMARY KEY,
    account BIGINT NOT NULL UNIQUE,
    created_ms BIGINT NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
