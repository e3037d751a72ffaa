-- Which server of a pair is the primary. One row, raised by whoever promotes a server, and replicated like all others: a server is written to
-- only while the row names it, with the highest epoch that anybody has seen.

CREATE TABLE IF NOT EXISTS sql_primary (
    one BIGINT NOT NULL PRIMARY KEY, -- always 1
    epoch BIGINT NOT NULL,           -- rises with each promotion; 1 at first
    server BIGINT NOT NULL,          -- @@server_id of the primary
    settled BIGINT NOT NULL,         -- 0 while the switch that raised it is under way, 1 afterwards
    raised_ms BIGINT NOT NULL,       -- UTC
    raised_by VARCHAR(200) NOT NULL  -- who ran the command, on which machine
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

INSERT IGNORE INTO sql_primary (one, epoch, server, settled, raised_ms, raised_by) VALUES (1, 1, @@global.server_id, 1, 0, 'migration');
