-- Bursts whose end nobody recorded.

ALTER TABLE recording ADD COLUMN IF NOT EXISTS cut BIGINT NOT NULL DEFAULT 0; -- 0 or 1
