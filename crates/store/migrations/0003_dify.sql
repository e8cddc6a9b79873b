-- What was read of Dify's databases: items (runs, messages, triggers, feedback) for a while, minutes for longer.

-- How far each kind was read. `sequence` grows with each batch: a second reader finds another number and stops.
CREATE TABLE dify_cursors (
  source KEYTEXT NOT NULL,
  kind KEYTEXT NOT NULL,
  sequence BIGINT NOT NULL,
  at BIGINT NOT NULL,
  id KEYTEXT NOT NULL,
  updated_at BIGINT NOT NULL,
  PRIMARY KEY (source, kind)
);

-- In the order of their time, so that a batch is written to one place. `look_at` is set while an item is not at its end.
CREATE TABLE dify_items (
  source KEYTEXT NOT NULL,
  kind KEYTEXT NOT NULL,
  created_at BIGINT NOT NULL,
  id KEYTEXT NOT NULL,
  app_id KEYTEXT NOT NULL,
  status TEXT NOT NULL,
  class TEXT NOT NULL,
  look_at BIGINT,
  body TEXT NOT NULL,
  PRIMARY KEY (source, kind, created_at, id)
) STORED BY KEY;
CREATE INDEX dify_items_open ON dify_items (source, kind, look_at) WHERE look_at IS NOT NULL;
CREATE INDEX dify_items_app ON dify_items (source, app_id, created_at);

-- Each combination of labels that was counted. Their number is bounded by who writes.
CREATE TABLE dify_series (
  source KEYTEXT NOT NULL,
  id BIGINT NOT NULL,
  kind TEXT NOT NULL,
  app_id TEXT NOT NULL,
  mode TEXT NOT NULL,
  origin TEXT NOT NULL,
  version TEXT NOT NULL,
  node_type TEXT NOT NULL,
  provider TEXT NOT NULL,
  model TEXT NOT NULL,
  status TEXT NOT NULL,
  class TEXT NOT NULL,
  currency TEXT NOT NULL,
  PRIMARY KEY (source, id)
);

-- Prices are billionths of the series' currency; `sketch` holds durations.
CREATE TABLE dify_minutes (
  source KEYTEXT NOT NULL,
  minute BIGINT NOT NULL,
  series BIGINT NOT NULL,
  count BIGINT NOT NULL,
  took_us BIGINT NOT NULL,
  waits BIGINT NOT NULL,
  wait_us BIGINT NOT NULL,
  tokens BIGINT NOT NULL,
  input_tokens BIGINT NOT NULL,
  output_tokens BIGINT NOT NULL,
  price_nanos BIGINT NOT NULL,
  sketch TEXT NOT NULL,
  PRIMARY KEY (source, minute, series)
) STORED BY KEY;

-- The last word on something that has no history: documents that are under way, the schema, the reading itself.
CREATE TABLE dify_states (
  source KEYTEXT NOT NULL,
  name KEYTEXT NOT NULL,
  at BIGINT NOT NULL,
  body TEXT NOT NULL,
  PRIMARY KEY (source, name)
);
