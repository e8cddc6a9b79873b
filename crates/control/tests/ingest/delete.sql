DELETE FROM workflow_runs WHERE status = 'running'
