-- The model gateway: what virtual keys have spent, how targets stand, and calls found by their model.

-- One row for each key and window of its budget. Money is in micro-dollars.
CREATE TABLE allowances (
  key_name KEYTEXT NOT NULL,
  window_start BIGINT NOT NULL,
  taken BIGINT NOT NULL,
  updated_at BIGINT NOT NULL,
  PRIMARY KEY (key_name, window_start)
);
CREATE INDEX allowances_updated ON allowances (updated_at);

-- The last word of each gateway process.
CREATE TABLE standings (
  instance KEYTEXT PRIMARY KEY,
  at BIGINT NOT NULL,
  body TEXT NOT NULL
);

ALTER TABLE records ADD COLUMN model KEYTEXT;
-- A body with an escaped NUL in it has no model that the column could hold.
UPDATE records SET model = substr(body AS_JSON ->> 'model', 1, 200)
  WHERE path = 'model' AND replace(body, '\u0000', '') = body;
CREATE INDEX records_model ON records (model, opened_at) WHERE model IS NOT NULL;
