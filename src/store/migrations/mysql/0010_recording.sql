-- Recorded bursts of talk, each announced once.

CREATE TABLE IF NOT EXISTS recording (
    id BIGINT NOT NULL PRIMARY KEY,    -- in the order in which they are announced
    source VARBINARY(1024) NOT NULL,   -- what tells it from all others, as whoever recorded it says
    source_hash BINARY(16) NOT NULL UNIQUE, -- XXH3-128 of source: an index has no room for all of it
    entry VARCHAR(48) NOT NULL,        -- of the stream of talk, that brought it first
    tenant BIGINT NOT NULL,
    grp BIGINT NOT NULL,
    speaker BIGINT NOT NULL,
    file TEXT NOT NULL,
    md5 VARCHAR(1024) NOT NULL,
    spoken_ms BIGINT NOT NULL,         -- when it was over
    duration_ms BIGINT NOT NULL,       -- 0: not said
    host VARCHAR(1024) NOT NULL,
    received_ms BIGINT NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE INDEX IF NOT EXISTS recording_grp ON recording (grp, spoken_ms);
INSERT IGNORE INTO counter (name, value) VALUES ('recording', 0);
