-- CALL generate(first, last, start, step): runs with these numbers, `step` seconds apart, five nodes each; one run in 20 failed;
-- one in 100 was triggered; one in 50 is a chatflow's and has a message. The same number makes the same run.

CREATE FUNCTION generated_id(kind text, number bigint) RETURNS uuid LANGUAGE sql IMMUTABLE AS
  'SELECT md5(kind || number)::uuid';

CREATE PROCEDURE generate(first bigint, last bigint, start timestamp, step float8) LANGUAGE plpgsql AS $$
DECLARE
  -- A graph of 4 kB, as small workflows have; PostgreSQL packs it.
  graph constant text := '{"nodes": [' || rtrim(repeat('{"id": "llm", "type": "custom", "position": {"x": 330, "y": 200}, "data": {"type": "llm"}}, ', 45), ', ') || ']}';
  prompts constant text := '{"model_mode": "chat", "prompts": [{"role": "system", "text": "' || repeat('You are a helpful assistant who knows the handbook. ', 40) || '", "files": []}], ';
BEGIN
  INSERT INTO apps (id, tenant_id, name, mode, enable_site, enable_api)
    SELECT generated_id('app', i), generated_id('tenant', 1), 'App ' || i,
      CASE WHEN i = 0 THEN 'advanced-chat' ELSE 'workflow' END, true, true
    FROM generate_series(0, 19) i ON CONFLICT DO NOTHING;

  INSERT INTO workflow_runs (id, tenant_id, app_id, workflow_id, type, triggered_from, version, graph, inputs, status,
      outputs, error, elapsed_time, total_tokens, total_steps, created_by_role, created_by, created_at, finished_at)
    SELECT generated_id('run', i), generated_id('tenant', 1), generated_id('app', i % 20), generated_id('workflow', i % 20),
      CASE WHEN i % 20 = 0 THEN 'chat' ELSE 'workflow' END,
      CASE WHEN i % 100 = 1 THEN 'webhook' ELSE 'app-run' END, '2026-11-20 10:00:00.000000', graph,
      '{"query": "question ' || i || '"}',
      CASE WHEN i % 20 = 7 THEN 'failed' ELSE 'succeeded' END,
      CASE WHEN i % 20 = 7 THEN NULL ELSE '{"text": "answer ' || i || '"}' END,
      CASE WHEN i % 40 = 7 THEN '[openai_api_compatible] Error: API request failed with status code 429: rate limit'
           WHEN i % 40 = 27 THEN '[Errno 111] Connection refused' END,
      0.3 + (i % 97) * 0.05, 100 + i % 400, 5, 'end_user', generated_id('user', i % 1000),
      start + i * step * interval '1 second',
      start + (i * step + 0.3 + (i % 97) * 0.05) * interval '1 second'
    FROM generate_series(first, last) i;

  INSERT INTO workflow_app_logs (tenant_id, app_id, workflow_id, workflow_run_id, created_from, created_by_role,
      created_by, created_at)
    SELECT generated_id('tenant', 1), generated_id('app', i % 20), generated_id('workflow', i % 20),
      generated_id('run', i), CASE WHEN i % 3 = 0 THEN 'web-app' ELSE 'service-api' END, 'end_user',
      generated_id('user', i % 1000), start + i * step * interval '1 second'
    FROM generate_series(first, last) i;

  INSERT INTO workflow_node_executions (id, tenant_id, app_id, workflow_id, triggered_from, workflow_run_id, index,
      node_id, node_type, title, inputs, process_data, outputs, status, error, elapsed_time, execution_metadata,
      created_at, created_by_role, created_by, finished_at, node_execution_id)
    SELECT generated_id('node' || n, i), generated_id('tenant', 1), generated_id('app', i % 20),
      generated_id('workflow', i % 20), 'workflow-run', generated_id('run', i), n + 1,
      (ARRAY['start', 'knowledge', 'llm', 'template', 'end'])[n + 1],
      (ARRAY['start', 'knowledge-retrieval', 'llm', 'template-transform', 'end'])[n + 1],
      (ARRAY['Start', 'Knowledge', 'LLM', 'Template', 'End'])[n + 1],
      '{"query": "question ' || i || '"}',
      CASE WHEN n = 2 THEN prompts || '"usage": {"prompt_tokens": ' || 80 + i % 300 || ', "prompt_unit_price": "0.15", "prompt_price_unit": "0.000001", "prompt_price": "0.000012", "completion_tokens": ' || 20 + i % 100 || ', "completion_unit_price": "0.60", "completion_price_unit": "0.000001", "completion_price": "0.000012", "total_tokens": ' || 100 + i % 400 || ', "total_price": "0.000024", "currency": "USD", "latency": 1.1, "time_to_first_token": 0.4, "time_to_generate": 0.7}, "finish_reason": "stop", "model_provider": "langgenius/openai_api_compatible/openai_api_compatible", "model_name": "model-' || i % 4 || '"}'
           ELSE '{}' END,
      CASE WHEN n <> 1 THEN '{"text": "answer ' || i || '"}'
           WHEN i % 10 = 3 THEN '{"result": []}'
           ELSE '{"result": [{"title": "page ' || i || '", "content": "a \"result\": [] in a text"}]}' END,
      CASE WHEN n = 2 AND i % 20 = 7 THEN 'failed' ELSE 'succeeded' END,
      CASE WHEN n = 2 AND i % 20 = 7 THEN 'Connection refused' END,
      0.05 + (i % 97) * 0.008,
      CASE WHEN n = 2 THEN '{"total_tokens": ' || 100 + i % 400 || ', "total_price": "0.000024", "currency": "USD"}' END,
      start + (i * step + 0.02 + n * 0.06) * interval '1 second', 'end_user', generated_id('user', i % 1000),
      start + (i * step + 0.07 + n * 0.06) * interval '1 second', generated_id('node' || n, i)::text
    FROM generate_series(first, last) i CROSS JOIN generate_series(0, 4) n;

  INSERT INTO messages (id, app_id, conversation_id, inputs, query, message, message_tokens, message_unit_price, answer,
      answer_tokens, answer_unit_price, provider_response_latency, total_price, currency, from_source, created_at,
      updated_at, workflow_run_id, status, invoke_from, app_mode)
    SELECT generated_id('message', i), generated_id('app', 0), generated_id('conversation', i), '{}', 'question', '{}',
      80, 0.15, 'answer', 20, 0.6, 1.5, 0.000024, 'USD', 'api', start + i * step * interval '1 second',
      start + (i * step + 2) * interval '1 second', generated_id('run', i), 'normal', 'service-api', 'advanced-chat'
    FROM generate_series(first, last) i WHERE i % 50 = 0 OR i = 1;

  INSERT INTO workflow_trigger_logs (id, tenant_id, app_id, workflow_id, workflow_run_id, root_node_id,
      trigger_metadata, trigger_type, trigger_data, inputs, status, queue_name, retry_count, elapsed_time, created_at,
      created_by_role, created_by, triggered_at, finished_at)
    SELECT generated_id('trigger', i), generated_id('tenant', 1), generated_id('app', i % 20),
      generated_id('workflow', i % 20), generated_id('run', i), 'hook', '{}', 'trigger-webhook', '{}', '{}', 'succeeded',
      'workflow_team', 0, 0.3, start + (i * step - 2) * interval '1 second', 'end_user', 'nobody',
      start + (i * step - 1.5) * interval '1 second', start + (i * step + 1) * interval '1 second'
    FROM generate_series(first, last) i WHERE i % 100 = 1;
END
$$;
