-- What the tests of reading do to a Dify, and what they expect to be counted.

-- One run with one node, `age` seconds old. A run that is not at its end has no end.
CREATE PROCEDURE begin_run(number bigint, age float8, state text) LANGUAGE plpgsql AS $$
DECLARE
  began constant timestamp := (clock_timestamp() AT TIME ZONE 'utc') - age * interval '1 second';
BEGIN
  INSERT INTO workflow_runs (id, tenant_id, app_id, workflow_id, type, triggered_from, version, status, error,
      elapsed_time, total_tokens, created_by_role, created_by, created_at, finished_at)
    VALUES (generated_id('run', number), generated_id('tenant', 1), generated_id('app', number % 3),
      generated_id('workflow', 1), 'workflow', 'app-run', 'v1', state,
      CASE state WHEN 'failed' THEN '[openai_api_compatible] Error: API request failed with status code 429: slow down' END,
      CASE state WHEN 'running' THEN 0 ELSE 1.5 END, CASE state WHEN 'running' THEN 0 ELSE 10 + number END, 'end_user',
      generated_id('user', 1), began, CASE state WHEN 'running' THEN NULL ELSE began + interval '1.5 seconds' END);
  INSERT INTO workflow_node_executions (tenant_id, app_id, workflow_id, triggered_from, workflow_run_id, index, node_id,
      node_type, title, status, elapsed_time, execution_metadata, created_at, created_by_role, created_by)
    VALUES (generated_id('tenant', 1), generated_id('app', number % 3), generated_id('workflow', 1), 'workflow-run',
      generated_id('run', number), 1, 'llm', 'llm', 'LLM', 'succeeded', 1,
      '{"total_tokens": 5, "total_price": "0.000001", "currency": "USD"}', began + interval '0.1 seconds', 'end_user',
      generated_id('user', 1));
END
$$;

CREATE PROCEDURE end_run(number bigint) LANGUAGE sql AS $$
  UPDATE workflow_runs SET status = 'succeeded', elapsed_time = 1.5, total_tokens = 10 + number,
      finished_at = created_at + interval '1.5 seconds'
    WHERE id = generated_id('run', number) AND status = 'running'
$$;

-- runs, their tokens, failed ones, nodes
CREATE VIEW expected AS
  SELECT count(*) AS runs, coalesce(sum(total_tokens), 0)::bigint AS tokens,
    count(*) FILTER (WHERE status = 'failed') AS failed,
    (SELECT count(*) FROM workflow_node_executions n JOIN workflow_runs r ON r.id = n.workflow_run_id
      WHERE r.status <> 'running') AS nodes
  FROM workflow_runs WHERE status <> 'running';

CREATE VIEW our_connections AS
  SELECT count(*) AS connections FROM pg_stat_activity
  WHERE application_name = 'mainstay' AND datname = current_database();

-- As a server that restarts: whoever is there is thrown out.
CREATE PROCEDURE end_sessions(who text) LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = who;
END
$$;
