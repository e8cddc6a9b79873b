-- What the benchmark of reading asks the server itself.

CREATE EXTENSION IF NOT EXISTS pg_stat_statements;

CREATE VIEW slowest AS
  SELECT round(s.max_exec_time::numeric, 1)::float8 AS slowest_ms, round(s.mean_exec_time::numeric, 2)::float8 AS mean_ms,
    s.calls, s.rows, left(regexp_replace(s.query, '\s+', ' ', 'g'), 90) AS query
  FROM pg_stat_statements s JOIN pg_roles r ON r.oid = s.userid
  WHERE r.rolname = 'bench_reader' ORDER BY s.max_exec_time DESC LIMIT 5;

CREATE VIEW reader_connections AS
  SELECT count(*) AS connections FROM pg_stat_activity WHERE usename = 'bench_reader';

-- Whether the reader may write anywhere: it must not.
CREATE VIEW rights AS
  SELECT count(*) AS writable FROM pg_tables
  WHERE schemaname = 'public' AND has_table_privilege('bench_reader', format('%I.%I', schemaname, tablename),
    'INSERT, UPDATE, DELETE, TRUNCATE');

CREATE VIEW size AS SELECT pg_size_pretty(pg_database_size(current_database())) AS size;
