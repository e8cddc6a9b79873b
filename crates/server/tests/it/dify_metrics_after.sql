-- What happens while it runs.

CALL generate(1001, 1400, (now() AT TIME ZONE 'utc')::timestamp, 0);
INSERT INTO workflow_runs (id, tenant_id, app_id, workflow_id, type, triggered_from, version, status, elapsed_time,
    created_by_role, created_by, created_at, finished_at)
  SELECT generated_id('run of many', i), generated_id('tenant', 1), generated_id('one of many', i),
    generated_id('workflow', i), 'workflow', 'app-run', '1', 'succeeded', 0.5, 'end_user', generated_id('user', 1),
    (now() AT TIME ZONE 'utc')::timestamp, (now() AT TIME ZONE 'utc')::timestamp
  FROM generate_series(1, 230) i;
