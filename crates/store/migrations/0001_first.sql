-- Times are microseconds since 1970 UTC, ids are text. JSON is never filtered on.
-- KEYTEXT, BYTES and STORED BY KEY are respelled for each database; see src/db/dialect.rs.

CREATE TABLE meta (
  name KEYTEXT PRIMARY KEY,
  number BIGINT NOT NULL,
  text TEXT NOT NULL
);
INSERT INTO meta (name, number, text) VALUES ('schema', 0, ''), ('apps', 0, ''), ('timeline', 0, '');

CREATE TABLE apps (
  id KEYTEXT PRIMARY KEY,
  name TEXT NOT NULL,
  mode TEXT NOT NULL,
  description TEXT NOT NULL,
  icon TEXT NOT NULL,
  icon_background TEXT NOT NULL,
  version_id KEYTEXT NOT NULL,
  version_number BIGINT NOT NULL,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX apps_name ON apps (name, mode);

CREATE TABLE app_versions (
  id KEYTEXT PRIMARY KEY,
  app_id KEYTEXT NOT NULL,
  number BIGINT NOT NULL,
  dsl_text TEXT NOT NULL,
  created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX app_versions_app ON app_versions (app_id, number);

CREATE TABLE app_keys (
  hash KEYTEXT PRIMARY KEY,
  app_id KEYTEXT NOT NULL,
  prefix TEXT NOT NULL,
  created_at BIGINT NOT NULL
);

-- The documents come last: SQLite reads a row from its start and only as far as it must.
CREATE TABLE runs (
  id KEYTEXT PRIMARY KEY,
  app_id KEYTEXT NOT NULL,
  app_name TEXT NOT NULL,
  mode TEXT NOT NULL,
  kind TEXT NOT NULL,
  upstream TEXT,
  version_id KEYTEXT NOT NULL,
  version TEXT NOT NULL,
  status TEXT NOT NULL,
  error TEXT,
  error_kind TEXT,
  end_user_id KEYTEXT,
  session_id TEXT NOT NULL,
  task_id KEYTEXT,
  conversation_id KEYTEXT,
  request_id KEYTEXT,
  trace_id KEYTEXT,
  upstream_run_id KEYTEXT,
  total_tokens BIGINT NOT NULL,
  total_steps BIGINT NOT NULL,
  exceptions_count BIGINT NOT NULL,
  created_at BIGINT NOT NULL,
  started_at BIGINT,
  finished_at BIGINT,
  elapsed_us BIGINT,
  usage TEXT,
  inputs TEXT NOT NULL,
  payload TEXT,
  outputs TEXT,
  nodes TEXT
);
CREATE INDEX runs_app ON runs (app_id, id);
-- Runs that have not ended stand together at one end of it.
CREATE INDEX runs_finished ON runs (finished_at);

CREATE TABLE run_events (
  run_id KEYTEXT NOT NULL,
  epoch BIGINT NOT NULL,
  seq BIGINT NOT NULL,
  at BIGINT NOT NULL,
  body TEXT NOT NULL,
  PRIMARY KEY (run_id, epoch, seq)
);

-- One row for each run that is waiting, held or dead; its id is the run's. A job that is done is gone.
-- Its payload stands with the run, so that a heartbeat rewrites a short row.
-- due_at: queued, not before; leased, the end of the lease; dead, NULL. So one index finds whatever can be taken.
CREATE TABLE jobs (
  id KEYTEXT PRIMARY KEY,
  app_id KEYTEXT NOT NULL,
  kind TEXT NOT NULL,
  upstream TEXT,
  state TEXT NOT NULL,
  due_at BIGINT,
  owner KEYTEXT,
  epoch BIGINT NOT NULL,
  attempt BIGINT NOT NULL,
  crashes BIGINT NOT NULL,
  failures TEXT NOT NULL,
  repeatable BIGINT NOT NULL,
  started_upstream BIGINT NOT NULL,
  cancel_requested BIGINT NOT NULL,
  replays BIGINT NOT NULL,
  last_class TEXT,
  last_error TEXT,
  submitted_at BIGINT NOT NULL,
  leased_at BIGINT,
  died_at BIGINT,
  callback_url TEXT
) STORED BY KEY;
CREATE INDEX jobs_due ON jobs (due_at) WHERE due_at IS NOT NULL;

CREATE TABLE idempotency (
  scope KEYTEXT NOT NULL,
  key KEYTEXT NOT NULL,
  body_hash KEYTEXT NOT NULL,
  run_id KEYTEXT NOT NULL,
  created_at BIGINT NOT NULL,
  PRIMARY KEY (scope, key)
);
CREATE INDEX idempotency_created ON idempotency (created_at);

CREATE TABLE outbox (
  id KEYTEXT PRIMARY KEY,
  kind TEXT NOT NULL,
  run_id KEYTEXT,
  url TEXT NOT NULL,
  payload TEXT,
  state TEXT NOT NULL,
  attempts BIGINT NOT NULL,
  next_at BIGINT,
  last_status BIGINT,
  last_error TEXT,
  created_at BIGINT NOT NULL,
  ended_at BIGINT
);
CREATE INDEX outbox_next ON outbox (next_at) WHERE next_at IS NOT NULL;
CREATE INDEX outbox_run ON outbox (run_id) WHERE run_id IS NOT NULL;
CREATE INDEX outbox_failed ON outbox (ended_at) WHERE state = 'failed';

CREATE TABLE workers (
  id KEYTEXT PRIMARY KEY,
  slot BIGINT NOT NULL,
  pid BIGINT NOT NULL,
  host TEXT NOT NULL,
  started_at BIGINT NOT NULL,
  beat_at BIGINT NOT NULL,
  jobs BIGINT NOT NULL
);

CREATE TABLE end_users (
  id KEYTEXT PRIMARY KEY,
  app_id KEYTEXT NOT NULL,
  session_id KEYTEXT NOT NULL,
  created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX end_users_session ON end_users (app_id, session_id);

CREATE TABLE conversations (
  id KEYTEXT PRIMARY KEY,
  app_id KEYTEXT NOT NULL,
  end_user_id KEYTEXT NOT NULL,
  name TEXT NOT NULL,
  inputs TEXT NOT NULL,
  introduction TEXT NOT NULL,
  variables TEXT NOT NULL,
  dialogue_count BIGINT NOT NULL,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL
);
CREATE INDEX conversations_user ON conversations (end_user_id, updated_at);

CREATE TABLE messages (
  id KEYTEXT PRIMARY KEY,
  conversation_id KEYTEXT NOT NULL,
  app_id KEYTEXT NOT NULL,
  end_user_id KEYTEXT NOT NULL,
  parent_message_id KEYTEXT,
  run_id KEYTEXT,
  status TEXT NOT NULL,
  error TEXT,
  created_at BIGINT NOT NULL,
  inputs TEXT NOT NULL,
  query TEXT NOT NULL,
  answer TEXT NOT NULL,
  metadata TEXT NOT NULL,
  files TEXT NOT NULL
);
CREATE INDEX messages_conversation ON messages (conversation_id, id);
CREATE INDEX messages_run ON messages (run_id) WHERE run_id IS NOT NULL;

CREATE TABLE feedbacks (
  message_id KEYTEXT NOT NULL,
  end_user_id KEYTEXT NOT NULL,
  app_id KEYTEXT NOT NULL,
  conversation_id KEYTEXT NOT NULL,
  rating TEXT NOT NULL,
  content TEXT,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL,
  PRIMARY KEY (message_id, end_user_id)
);
CREATE INDEX feedbacks_app ON feedbacks (app_id, created_at);

CREATE TABLE files (
  id KEYTEXT PRIMARY KEY,
  app_id KEYTEXT NOT NULL,
  end_user_id KEYTEXT NOT NULL,
  name TEXT NOT NULL,
  extension TEXT NOT NULL,
  mime_type TEXT NOT NULL,
  size BIGINT NOT NULL,
  created_at BIGINT NOT NULL
);
CREATE INDEX files_created ON files (created_at);

CREATE TABLE file_contents (
  id KEYTEXT PRIMARY KEY,
  content BYTES NOT NULL
);

CREATE TABLE records (
  request_id KEYTEXT PRIMARY KEY,
  opened_at BIGINT NOT NULL,
  path TEXT NOT NULL,
  app_id KEYTEXT,
  outcome TEXT NOT NULL,
  run_id KEYTEXT,
  body TEXT NOT NULL
);
CREATE INDEX records_opened ON records (opened_at);
CREATE INDEX records_run ON records (run_id) WHERE run_id IS NOT NULL;

CREATE TABLE alerts (
  id KEYTEXT PRIMARY KEY,
  rule TEXT NOT NULL,
  subject TEXT NOT NULL,
  severity TEXT NOT NULL,
  state TEXT NOT NULL,
  summary TEXT NOT NULL,
  detail TEXT NOT NULL,
  opened_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL,
  resolved_at BIGINT
);
CREATE INDEX alerts_resolved ON alerts (resolved_at);

CREATE TABLE timeline (
  seq BIGINT PRIMARY KEY,
  at BIGINT NOT NULL,
  subject KEYTEXT NOT NULL,
  kind TEXT NOT NULL,
  actor TEXT NOT NULL,
  text TEXT NOT NULL,
  detail TEXT NOT NULL,
  hash TEXT NOT NULL
);
CREATE INDEX timeline_subject ON timeline (subject, seq);

CREATE TABLE runbook_executions (
  id KEYTEXT PRIMARY KEY,
  runbook TEXT NOT NULL,
  subject TEXT NOT NULL,
  alert_id KEYTEXT,
  state TEXT NOT NULL,
  ended BIGINT NOT NULL,
  detail TEXT NOT NULL,
  started_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL
);

CREATE TABLE leases (
  name KEYTEXT PRIMARY KEY,
  holder TEXT NOT NULL,
  epoch BIGINT NOT NULL,
  until BIGINT NOT NULL
);

CREATE TABLE settings (
  name KEYTEXT PRIMARY KEY,
  value TEXT NOT NULL,
  revision BIGINT NOT NULL,
  actor TEXT NOT NULL,
  updated_at BIGINT NOT NULL
);
