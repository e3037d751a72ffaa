-- The highest client_seq that was refused: a refusal is final for its number, also after Redis was lost.

ALTER TABLE topic_producer ADD COLUMN IF NOT EXISTS refused BIGINT NOT NULL DEFAULT 0;
