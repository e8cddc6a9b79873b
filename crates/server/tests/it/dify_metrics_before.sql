-- What happened before the instance began.

CALL generate(1, 100, (now() AT TIME ZONE 'utc')::timestamp - interval '10 minutes', 0.1);
INSERT INTO message_feedbacks (app_id, conversation_id, message_id, rating, from_source, created_at)
  SELECT generated_id('app', 0), generated_id('conversation', 50 * i), generated_id('message', 50 * i), 'like',
    'user', (now() AT TIME ZONE 'utc')::timestamp + (i - 1) * interval '1 minute'
  FROM generate_series(1, 2) i;
INSERT INTO apps (id, tenant_id, name, mode, enable_site, enable_api)
  SELECT generated_id('one of many', i), generated_id('tenant', 1), 'One of many ' || i, 'workflow', true, true
  FROM generate_series(1, 230) i;
