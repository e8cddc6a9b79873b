-- Outbox: for whom a delivery is, and which others it follows.
-- Deliveries of one topic to one receiver go out one after the other, by their turn. `lease_until` is set while one is
-- in somebody's hands.
ALTER TABLE outbox ADD COLUMN receiver KEYTEXT;
ALTER TABLE outbox ADD COLUMN topic KEYTEXT;
ALTER TABLE outbox ADD COLUMN turn BIGINT;
ALTER TABLE outbox ADD COLUMN lease_until BIGINT;
-- Whether it may have arrived already: whoever had it in hand died, or lost the answer.
ALTER TABLE outbox ADD COLUMN may_repeat BIGINT NOT NULL DEFAULT 0;
CREATE INDEX outbox_topic ON outbox (receiver, topic, turn) WHERE topic IS NOT NULL;
CREATE INDEX outbox_receiver ON outbox (receiver, next_at) WHERE receiver IS NOT NULL;
CREATE INDEX outbox_alerts ON outbox (created_at) WHERE kind = 'alert';

-- Runs of which no request tells how they ended: those accepted to be answered later, and those whose process died.
ALTER TABLE runs ADD COLUMN answered_later BIGINT NOT NULL DEFAULT 0;
CREATE INDEX runs_answered_later ON runs (finished_at) WHERE answered_later = 1;

-- How long triggered runs waited, as a sketch; of what was counted before there is none.
ALTER TABLE dify_minutes ADD COLUMN wait_sketch TEXT NOT NULL DEFAULT '';
ALTER TABLE dify_hours ADD COLUMN wait_sketch TEXT NOT NULL DEFAULT '';

-- Service levels: what is counted for them, their documents with each change, and how they stand.

-- The labels of what is counted; the number is made from them.
CREATE TABLE sli_series (
  id BIGINT PRIMARY KEY,
  path KEYTEXT NOT NULL,
  app_id KEYTEXT NOT NULL,
  app KEYTEXT NOT NULL,
  mode KEYTEXT NOT NULL,
  endpoint KEYTEXT NOT NULL,
  model KEYTEXT NOT NULL,
  provider KEYTEXT NOT NULL,
  version KEYTEXT NOT NULL
);

-- What one process counted in one minute, whole: written again until the minute is over. `slots`: good and bad in each
-- five seconds. `took` and `first_token` are sketches of good requests.
CREATE TABLE sli_minutes (
  minute BIGINT NOT NULL,
  series BIGINT NOT NULL,
  instance KEYTEXT NOT NULL,
  good BIGINT NOT NULL,
  client BIGINT NOT NULL,
  gateway BIGINT NOT NULL,
  dify BIGINT NOT NULL,
  worker BIGINT NOT NULL,
  plugin BIGINT NOT NULL,
  provider BIGINT NOT NULL,
  vector BIGINT NOT NULL,
  slots TEXT NOT NULL,
  took TEXT NOT NULL,
  first_token TEXT NOT NULL,
  updated_at BIGINT NOT NULL,
  PRIMARY KEY (minute, series, instance)
) STORED BY KEY;
CREATE INDEX sli_minutes_updated ON sli_minutes (updated_at);

-- The same by hour, for windows of weeks.
CREATE TABLE sli_hours (
  hour BIGINT NOT NULL,
  series BIGINT NOT NULL,
  instance KEYTEXT NOT NULL,
  good BIGINT NOT NULL,
  client BIGINT NOT NULL,
  gateway BIGINT NOT NULL,
  dify BIGINT NOT NULL,
  worker BIGINT NOT NULL,
  plugin BIGINT NOT NULL,
  provider BIGINT NOT NULL,
  vector BIGINT NOT NULL,
  took TEXT NOT NULL,
  first_token TEXT NOT NULL,
  PRIMARY KEY (hour, series, instance)
) STORED BY KEY;

-- What operators decided; those that nobody changed are not here. `body` NULL: removed.
CREATE TABLE slos (
  name KEYTEXT PRIMARY KEY,
  body TEXT,
  revision BIGINT NOT NULL,
  actor KEYTEXT NOT NULL,
  updated_at BIGINT NOT NULL
);

CREATE TABLE slo_changes (
  name KEYTEXT NOT NULL,
  revision BIGINT NOT NULL,
  at BIGINT NOT NULL,
  actor KEYTEXT NOT NULL,
  why TEXT NOT NULL,
  before TEXT,
  after TEXT,
  PRIMARY KEY (name, revision)
);
CREATE INDEX slo_changes_at ON slo_changes (at);

-- The last word of the control that judges, with what it has to remember.
CREATE TABLE slo_states (
  name KEYTEXT PRIMARY KEY,
  at BIGINT NOT NULL,
  body TEXT NOT NULL
);

-- Alerts: who is told of them together, what keeps them quiet, and who is on call instead of somebody else.

-- Why nobody is told of it: `shadow`, `silence:ID` or `inhibited:COMPONENT`; NULL: whoever is to know is told.
ALTER TABLE alerts ADD COLUMN suppressed TEXT;
ALTER TABLE alerts ADD COLUMN acknowledged_by TEXT;
ALTER TABLE alerts ADD COLUMN acknowledged_at BIGINT;

-- Alerts that are told of together, with what was told, to whom, and how far it was escalated.
CREATE TABLE alert_groups (
  id KEYTEXT PRIMARY KEY,
  shadow BIGINT NOT NULL,
  body TEXT NOT NULL,
  updated_at BIGINT NOT NULL,
  ended_at BIGINT
);
CREATE INDEX alert_groups_ended ON alert_groups (ended_at);

CREATE TABLE silences (
  id KEYTEXT PRIMARY KEY,
  matchers TEXT NOT NULL,
  starts_at BIGINT NOT NULL,
  ends_at BIGINT NOT NULL,
  author TEXT NOT NULL,
  comment TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  ended_by TEXT
);
CREATE INDEX silences_ends ON silences (ends_at);

CREATE TABLE oncall_overrides (
  id KEYTEXT PRIMARY KEY,
  schedule TEXT NOT NULL,
  person TEXT NOT NULL,
  starts_at BIGINT NOT NULL,
  ends_at BIGINT NOT NULL,
  author TEXT NOT NULL,
  comment TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  ended_by TEXT
);
CREATE INDEX oncall_overrides_ends ON oncall_overrides (ends_at);
