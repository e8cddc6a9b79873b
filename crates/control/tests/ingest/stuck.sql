WITH dataset AS (
  INSERT INTO datasets (id, tenant_id, name, created_by) VALUES
    (generated_id('dataset', 1), generated_id('tenant', 1), 'Handbook', generated_id('user', 1)) RETURNING id
)
INSERT INTO documents (tenant_id, dataset_id, position, data_source_type, batch, name, created_from, created_by,
    created_at, processing_started_at, indexing_status)
  SELECT generated_id('tenant', 1), id, 1, 'upload_file', 'b', name, 'web', generated_id('user', 1),
    (now() AT TIME ZONE 'utc') - interval '2 hours', (now() AT TIME ZONE 'utc') - interval '2 hours', state
  FROM dataset, (VALUES ('handbook.pdf', 'parsing'), ('done.pdf', 'completed')) AS documents(name, state)
