-- Two runs that began two hours ago and whose rows say that they run; WRITER may do what marks one failed.
SET timezone = 'UTC';
INSERT INTO workflow_runs (id, tenant_id, app_id, workflow_id, type, triggered_from, version, status, created_by_role,
                           created_by, created_at)
SELECT run, run, run, run, 'workflow', 'app-run', '1', 'running', 'account', run, LOCALTIMESTAMP - interval '2 hours'
FROM unnest(ARRAY['00000000-0000-4000-8000-000000000001', '00000000-0000-4000-8000-000000000002']::uuid[]) AS run;
GRANT UPDATE (status, error, finished_at) ON workflow_runs TO WRITER;
