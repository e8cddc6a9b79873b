-- Dify 1.12.1's tables as far as they are read here: columns, types, defaults and indexes as a running one has them.
-- For tests and for the benchmark of reading.

-- Stands for the extension uuid-ossp, which may be missing where tests run.
CREATE FUNCTION uuid_generate_v4() RETURNS uuid LANGUAGE sql VOLATILE AS 'SELECT gen_random_uuid()';

-- Milliseconds in the first 48 bits, then the version, then chance (RFC 9562).
CREATE FUNCTION uuidv7() RETURNS uuid LANGUAGE sql VOLATILE AS $$
  SELECT encode(
    set_bit(set_bit(overlay(uuid_send(gen_random_uuid())
      PLACING substring(int8send(floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3)
      FROM 1 FOR 6), 52, 1), 53, 1), 'hex')::uuid
$$;

CREATE TABLE alembic_version (
  version_num varchar(32) PRIMARY KEY
);
INSERT INTO alembic_version VALUES ('788d3099ae3a');

CREATE TABLE tenants (
  id uuid NOT NULL DEFAULT uuid_generate_v4(),
  name varchar(255) NOT NULL,
  encrypt_public_key text,
  plan varchar(255) NOT NULL DEFAULT 'basic',
  status varchar(255) NOT NULL DEFAULT 'normal',
  created_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP(0),
  updated_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP(0),
  custom_config text,
  PRIMARY KEY (id)
);


CREATE TABLE apps (
  id uuid NOT NULL DEFAULT uuid_generate_v4(),
  tenant_id uuid NOT NULL,
  name varchar(255) NOT NULL,
  mode varchar(255) NOT NULL,
  icon varchar(255),
  icon_background varchar(255),
  app_model_config_id uuid,
  status varchar(255) NOT NULL DEFAULT 'normal',
  enable_site boolean NOT NULL,
  enable_api boolean NOT NULL,
  api_rpm integer NOT NULL DEFAULT 0,
  api_rph integer NOT NULL DEFAULT 0,
  is_demo boolean NOT NULL DEFAULT false,
  is_public boolean NOT NULL DEFAULT false,
  created_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP(0),
  updated_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP(0),
  is_universal boolean NOT NULL DEFAULT false,
  workflow_id uuid,
  description text NOT NULL DEFAULT '',
  tracing text,
  max_active_requests integer,
  icon_type varchar(255),
  created_by uuid,
  updated_by uuid,
  use_icon_as_answer_icon boolean NOT NULL DEFAULT false,
  PRIMARY KEY (id)
);
CREATE INDEX app_tenant_id_idx ON apps USING btree (tenant_id);

CREATE TABLE workflows (
  id uuid NOT NULL DEFAULT uuid_generate_v4(),
  tenant_id uuid NOT NULL,
  app_id uuid NOT NULL,
  type varchar(255) NOT NULL,
  version varchar(255) NOT NULL,
  graph text NOT NULL,
  features text NOT NULL,
  created_by uuid NOT NULL,
  created_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP(0),
  updated_by uuid,
  updated_at timestamp NOT NULL,
  environment_variables text NOT NULL DEFAULT '{}',
  conversation_variables text NOT NULL DEFAULT '{}',
  marked_name varchar NOT NULL DEFAULT '',
  marked_comment varchar NOT NULL DEFAULT '',
  rag_pipeline_variables text NOT NULL DEFAULT '{}',
  PRIMARY KEY (id)
);
CREATE INDEX workflow_version_idx ON workflows USING btree (tenant_id, app_id, version);

CREATE TABLE workflow_runs (
  id uuid NOT NULL DEFAULT uuid_generate_v4(),
  tenant_id uuid NOT NULL,
  app_id uuid NOT NULL,
  workflow_id uuid NOT NULL,
  type varchar(255) NOT NULL,
  triggered_from varchar(255) NOT NULL,
  version varchar(255) NOT NULL,
  graph text,
  inputs text,
  status varchar(255) NOT NULL,
  outputs text,
  error text,
  elapsed_time double precision NOT NULL DEFAULT 0,
  total_tokens bigint NOT NULL DEFAULT 0,
  total_steps integer DEFAULT 0,
  created_by_role varchar(255) NOT NULL,
  created_by uuid NOT NULL,
  created_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP(0),
  finished_at timestamp,
  exceptions_count integer DEFAULT 0,
  PRIMARY KEY (id)
);
CREATE INDEX workflow_run_created_at_id_idx ON workflow_runs USING btree (created_at, id);
CREATE INDEX workflow_run_triggerd_from_idx ON workflow_runs USING btree (tenant_id, app_id, triggered_from);

CREATE TABLE workflow_node_executions (
  id uuid NOT NULL DEFAULT uuid_generate_v4(),
  tenant_id uuid NOT NULL,
  app_id uuid NOT NULL,
  workflow_id uuid NOT NULL,
  triggered_from varchar(255) NOT NULL,
  workflow_run_id uuid,
  "index" integer NOT NULL,
  predecessor_node_id varchar(255),
  node_id varchar(255) NOT NULL,
  node_type varchar(255) NOT NULL,
  title varchar(255) NOT NULL,
  inputs text,
  process_data text,
  outputs text,
  status varchar(255) NOT NULL,
  error text,
  elapsed_time double precision NOT NULL DEFAULT 0,
  execution_metadata text,
  created_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP(0),
  created_by_role varchar(255) NOT NULL,
  created_by uuid NOT NULL,
  finished_at timestamp,
  node_execution_id varchar(255),
  PRIMARY KEY (id)
);
CREATE INDEX workflow_node_execution_id_idx ON workflow_node_executions USING btree (tenant_id, app_id, workflow_id, triggered_from, node_execution_id);
CREATE INDEX workflow_node_execution_node_run_idx ON workflow_node_executions USING btree (tenant_id, app_id, workflow_id, triggered_from, node_id);
CREATE INDEX workflow_node_execution_workflow_run_id_idx ON workflow_node_executions USING btree (workflow_run_id);
CREATE INDEX workflow_node_executions_tenant_id_idx ON workflow_node_executions USING btree (tenant_id, workflow_id, node_id, created_at DESC);

CREATE TABLE workflow_app_logs (
  id uuid NOT NULL DEFAULT uuid_generate_v4(),
  tenant_id uuid NOT NULL,
  app_id uuid NOT NULL,
  workflow_id uuid NOT NULL,
  workflow_run_id uuid NOT NULL,
  created_from varchar(255) NOT NULL,
  created_by_role varchar(255) NOT NULL,
  created_by uuid NOT NULL,
  created_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP(0),
  PRIMARY KEY (id)
);
CREATE INDEX workflow_app_log_app_idx ON workflow_app_logs USING btree (tenant_id, app_id);
CREATE INDEX workflow_app_log_workflow_run_id_idx ON workflow_app_logs USING btree (workflow_run_id);

CREATE TABLE workflow_trigger_logs (
  id uuid NOT NULL DEFAULT uuidv7(),
  tenant_id uuid NOT NULL,
  app_id uuid NOT NULL,
  workflow_id uuid NOT NULL,
  workflow_run_id uuid,
  root_node_id varchar(255),
  trigger_metadata text NOT NULL,
  trigger_type varchar(50) NOT NULL,
  trigger_data text NOT NULL,
  inputs text NOT NULL,
  outputs text,
  status varchar(50) NOT NULL,
  error text,
  queue_name varchar(100) NOT NULL,
  celery_task_id varchar(255),
  retry_count integer NOT NULL,
  elapsed_time double precision,
  total_tokens integer,
  created_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP,
  created_by_role varchar(255) NOT NULL,
  created_by varchar(255) NOT NULL,
  triggered_at timestamp,
  finished_at timestamp,
  PRIMARY KEY (id)
);
CREATE INDEX workflow_trigger_log_created_at_idx ON workflow_trigger_logs USING btree (created_at);
CREATE INDEX workflow_trigger_log_status_idx ON workflow_trigger_logs USING btree (status);
CREATE INDEX workflow_trigger_log_tenant_app_idx ON workflow_trigger_logs USING btree (tenant_id, app_id);
CREATE INDEX workflow_trigger_log_workflow_id_idx ON workflow_trigger_logs USING btree (workflow_id);
CREATE INDEX workflow_trigger_log_workflow_run_idx ON workflow_trigger_logs USING btree (workflow_run_id);

CREATE TABLE app_triggers (
  id uuid NOT NULL DEFAULT uuidv7(),
  tenant_id uuid NOT NULL,
  app_id uuid NOT NULL,
  node_id varchar(64),
  trigger_type varchar(50) NOT NULL,
  title varchar(255) NOT NULL,
  provider_name varchar(255),
  status varchar(50) NOT NULL,
  created_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP,
  updated_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP,
  PRIMARY KEY (id)
);
CREATE INDEX app_trigger_tenant_app_idx ON app_triggers USING btree (tenant_id, app_id);

CREATE TABLE workflow_schedule_plans (
  id uuid NOT NULL DEFAULT uuidv7(),
  app_id uuid NOT NULL,
  node_id varchar(64) NOT NULL,
  tenant_id uuid NOT NULL,
  cron_expression varchar(255) NOT NULL,
  timezone varchar(64) NOT NULL,
  next_run_at timestamp,
  created_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP,
  updated_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP,
  PRIMARY KEY (id)
);
CREATE INDEX workflow_schedule_plan_next_idx ON workflow_schedule_plans USING btree (next_run_at);

CREATE TABLE conversations (
  id uuid NOT NULL DEFAULT uuid_generate_v4(),
  app_id uuid NOT NULL,
  app_model_config_id uuid,
  model_provider varchar(255),
  override_model_configs text,
  model_id varchar(255),
  mode varchar(255) NOT NULL,
  name varchar(255) NOT NULL,
  summary text,
  inputs json NOT NULL,
  introduction text,
  system_instruction text,
  system_instruction_tokens integer NOT NULL DEFAULT 0,
  status varchar(255) NOT NULL,
  from_source varchar(255) NOT NULL,
  from_end_user_id uuid,
  from_account_id uuid,
  read_at timestamp,
  read_account_id uuid,
  created_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP(0),
  updated_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP(0),
  is_deleted boolean NOT NULL DEFAULT false,
  invoke_from varchar(255),
  dialogue_count integer NOT NULL DEFAULT 0,
  PRIMARY KEY (id)
);
CREATE INDEX conversation_app_from_user_idx ON conversations USING btree (app_id, from_source, from_end_user_id);

CREATE TABLE messages (
  id uuid NOT NULL DEFAULT uuid_generate_v4(),
  app_id uuid NOT NULL,
  model_provider varchar(255),
  model_id varchar(255),
  override_model_configs text,
  conversation_id uuid NOT NULL,
  inputs json NOT NULL,
  query text NOT NULL,
  message json NOT NULL,
  message_tokens integer NOT NULL DEFAULT 0,
  message_unit_price numeric(10,4) NOT NULL,
  answer text NOT NULL,
  answer_tokens integer NOT NULL DEFAULT 0,
  answer_unit_price numeric(10,4) NOT NULL,
  provider_response_latency double precision NOT NULL DEFAULT 0,
  total_price numeric(10,7),
  currency varchar(255) NOT NULL,
  from_source varchar(255) NOT NULL,
  from_end_user_id uuid,
  from_account_id uuid,
  created_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP(0),
  updated_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP(0),
  agent_based boolean NOT NULL DEFAULT false,
  message_price_unit numeric(10,7) NOT NULL DEFAULT 0.001,
  answer_price_unit numeric(10,7) NOT NULL DEFAULT 0.001,
  workflow_run_id uuid,
  status varchar(255) NOT NULL DEFAULT 'normal',
  error text,
  message_metadata text,
  invoke_from varchar(255),
  parent_message_id uuid,
  app_mode varchar(255),
  PRIMARY KEY (id)
);
CREATE INDEX message_account_idx ON messages USING btree (app_id, from_source, from_account_id);
CREATE INDEX message_app_id_idx ON messages USING btree (app_id, created_at);
CREATE INDEX message_app_mode_idx ON messages USING btree (app_mode);
CREATE INDEX message_conversation_id_idx ON messages USING btree (conversation_id);
CREATE INDEX message_created_at_id_idx ON messages USING btree (created_at, id);
CREATE INDEX message_created_at_idx ON messages USING btree (created_at);
CREATE INDEX message_end_user_idx ON messages USING btree (app_id, from_source, from_end_user_id);
CREATE INDEX message_workflow_run_id_idx ON messages USING btree (conversation_id, workflow_run_id);

CREATE TABLE message_feedbacks (
  id uuid NOT NULL DEFAULT uuid_generate_v4(),
  app_id uuid NOT NULL,
  conversation_id uuid NOT NULL,
  message_id uuid NOT NULL,
  rating varchar(255) NOT NULL,
  content text,
  from_source varchar(255) NOT NULL,
  from_end_user_id uuid,
  from_account_id uuid,
  created_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP(0),
  updated_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP(0),
  PRIMARY KEY (id)
);
CREATE INDEX message_feedback_app_idx ON message_feedbacks USING btree (app_id);
CREATE INDEX message_feedback_conversation_idx ON message_feedbacks USING btree (conversation_id, from_source, rating);
CREATE INDEX message_feedback_message_idx ON message_feedbacks USING btree (message_id, from_source);

CREATE TABLE datasets (
  id uuid NOT NULL DEFAULT uuid_generate_v4(),
  tenant_id uuid NOT NULL,
  name varchar(255) NOT NULL,
  description text,
  provider varchar(255) NOT NULL DEFAULT 'vendor',
  permission varchar(255) NOT NULL DEFAULT 'only_me',
  data_source_type varchar(255),
  indexing_technique varchar(255),
  index_struct text,
  created_by uuid NOT NULL,
  created_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP(0),
  updated_by uuid,
  updated_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP(0),
  embedding_model varchar(255) DEFAULT 'text-embedding-ada-002',
  embedding_model_provider varchar(255) DEFAULT 'openai',
  collection_binding_id uuid,
  retrieval_model jsonb,
  built_in_field_enabled boolean NOT NULL DEFAULT false,
  keyword_number integer DEFAULT 10,
  icon_info jsonb,
  runtime_mode varchar(255) DEFAULT 'general',
  pipeline_id uuid,
  chunk_structure varchar(255),
  enable_api boolean NOT NULL DEFAULT true,
  is_multimodal boolean NOT NULL DEFAULT false,
  summary_index_setting jsonb,
  PRIMARY KEY (id)
);
CREATE INDEX dataset_tenant_idx ON datasets USING btree (tenant_id);
CREATE INDEX retrieval_model_idx ON datasets USING gin (retrieval_model);

CREATE TABLE documents (
  id uuid NOT NULL DEFAULT uuid_generate_v4(),
  tenant_id uuid NOT NULL,
  dataset_id uuid NOT NULL,
  position integer NOT NULL,
  data_source_type varchar(255) NOT NULL,
  data_source_info text,
  dataset_process_rule_id uuid,
  batch varchar(255) NOT NULL,
  name varchar(255) NOT NULL,
  created_from varchar(255) NOT NULL,
  created_by uuid NOT NULL,
  created_api_request_id uuid,
  created_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP(0),
  processing_started_at timestamp,
  file_id text,
  word_count integer,
  parsing_completed_at timestamp,
  cleaning_completed_at timestamp,
  splitting_completed_at timestamp,
  tokens integer,
  indexing_latency double precision,
  completed_at timestamp,
  is_paused boolean DEFAULT false,
  paused_by uuid,
  paused_at timestamp,
  error text,
  stopped_at timestamp,
  indexing_status varchar(255) NOT NULL DEFAULT 'waiting',
  enabled boolean NOT NULL DEFAULT true,
  disabled_at timestamp,
  disabled_by uuid,
  archived boolean NOT NULL DEFAULT false,
  archived_reason varchar(255),
  archived_by uuid,
  archived_at timestamp,
  updated_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP(0),
  doc_type varchar(40),
  doc_metadata jsonb,
  doc_form varchar(255) NOT NULL DEFAULT 'text_model',
  doc_language varchar(255),
  need_summary boolean NOT NULL DEFAULT false,
  PRIMARY KEY (id)
);
CREATE INDEX document_dataset_id_idx ON documents USING btree (dataset_id);
CREATE INDEX document_is_paused_idx ON documents USING btree (is_paused);
CREATE INDEX document_metadata_idx ON documents USING gin (doc_metadata);
CREATE INDEX document_tenant_idx ON documents USING btree (tenant_id);

CREATE TABLE document_segments (
  id uuid NOT NULL DEFAULT uuid_generate_v4(),
  tenant_id uuid NOT NULL,
  dataset_id uuid NOT NULL,
  document_id uuid NOT NULL,
  position integer NOT NULL,
  content text NOT NULL,
  word_count integer NOT NULL,
  tokens integer NOT NULL,
  keywords json,
  index_node_id varchar(255),
  index_node_hash varchar(255),
  hit_count integer NOT NULL,
  enabled boolean NOT NULL DEFAULT true,
  disabled_at timestamp,
  disabled_by uuid,
  status varchar(255) NOT NULL DEFAULT 'waiting',
  created_by uuid NOT NULL,
  created_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP(0),
  indexing_at timestamp,
  completed_at timestamp,
  error text,
  stopped_at timestamp,
  answer text,
  updated_by uuid,
  updated_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP(0),
  PRIMARY KEY (id)
);
CREATE INDEX document_segment_dataset_id_idx ON document_segments USING btree (dataset_id);
CREATE INDEX document_segment_document_id_idx ON document_segments USING btree (document_id);
CREATE INDEX document_segment_node_dataset_idx ON document_segments USING btree (index_node_id, dataset_id);
CREATE INDEX document_segment_tenant_dataset_idx ON document_segments USING btree (dataset_id, tenant_id);
CREATE INDEX document_segment_tenant_document_idx ON document_segments USING btree (document_id, tenant_id);
CREATE INDEX document_segment_tenant_idx ON document_segments USING btree (tenant_id);
