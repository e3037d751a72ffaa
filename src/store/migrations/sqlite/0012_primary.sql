-- Which server of a pair is the primary. SQLite has no pair: the table is there so that both databases have the same ones.

CREATE TABLE sql_primary (
    one INTEGER NOT NULL PRIMARY KEY, -- always 1
    epoch INTEGER NOT NULL,           -- always 1
    server INTEGER NOT NULL,          -- always 0
    settled INTEGER NOT NULL,         -- always 1
    raised_ms INTEGER NOT NULL,
    raised_by TEXT NOT NULL
);

INSERT INTO sql_primary (one, epoch, server, settled, raised_ms, raised_by) VALUES (1, 1, 0, 1, 0, 'migration');
