-- Hours of series, so that weeks can be summed: `dify_minutes` in coarser grain, written with them.
CREATE TABLE dify_hours (
  source KEYTEXT NOT NULL,
  hour BIGINT NOT NULL,
  series BIGINT NOT NULL,
  count BIGINT NOT NULL,
  took_us BIGINT NOT NULL,
  waits BIGINT NOT NULL,
  wait_us BIGINT NOT NULL,
  tokens BIGINT NOT NULL,
  input_tokens BIGINT NOT NULL,
  output_tokens BIGINT NOT NULL,
  price_nanos BIGINT NOT NULL,
  sketch TEXT NOT NULL,
  PRIMARY KEY (source, hour, series)
) STORED BY KEY;

-- What was counted before there were hours. Sketches join by writing them one after the other; a figure that no minute
-- can have is left out, so that no sum overflows.
INSERT INTO dify_hours (source, hour, series, count, took_us, waits, wait_us, tokens, input_tokens, output_tokens,
    price_nanos, sketch)
  SELECT source, minute / 60, series, CAST(sum(count) AS BIGINT),
    CAST(sum(CASE WHEN took_us < 100000000000000000 THEN took_us ELSE 0 END) AS BIGINT), CAST(sum(waits) AS BIGINT),
    CAST(sum(CASE WHEN wait_us < 100000000000000000 THEN wait_us ELSE 0 END) AS BIGINT),
    CAST(sum(CASE WHEN tokens < 100000000000000000 THEN tokens ELSE 0 END) AS BIGINT),
    CAST(sum(CASE WHEN input_tokens < 100000000000000000 THEN input_tokens ELSE 0 END) AS BIGINT),
    CAST(sum(CASE WHEN output_tokens < 100000000000000000 THEN output_tokens ELSE 0 END) AS BIGINT),
    CAST(sum(CASE WHEN price_nanos < 100000000000000000 THEN price_nanos ELSE 0 END) AS BIGINT),
    string_agg(sketch, ',')
  FROM dify_minutes GROUP BY source, minute / 60, series;
