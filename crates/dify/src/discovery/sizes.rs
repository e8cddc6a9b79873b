//! The sizes that the pool budget is made of.

use super::Search;
use crate::deployment::Sizes;

const MOST: u32 = 1_000_000;
const MOST_SECS: u64 = 365 * 24 * 60 * 60;
/// What the plugin daemon opens at most, which no compose file of Dify says.
const PLUGIN_DAEMON_POOL: u32 = 30;
/// Since 1.13 the image's own default.
const CELERY_WORKERS_1_13: u32 = 4;

pub(super) fn find(search: &mut Search<'_>, version: Option<&str>) -> Sizes {
    let mut count = |key: &str, variable: &str| search.number(&format!("sizes.{key}"), variable, 0..=MOST);
    let api_workers = count("api_workers", "SERVER_WORKER_AMOUNT");
    let api_connections = count("api_connections", "SERVER_WORKER_CONNECTIONS");
    let pool_size = count("pool_size", "SQLALCHEMY_POOL_SIZE");
    let max_overflow = count("max_overflow", "SQLALCHEMY_MAX_OVERFLOW");
    let postgres_max_connections = count("postgres_max_connections", "POSTGRES_MAX_CONNECTIONS");
    let longest = longest_run(search);
    Sizes {
        api_workers,
        api_connections,
        pool_size,
        max_overflow,
        celery_workers: celery_workers(search, version),
        plugin_daemon_pool: Some(plugin_daemon_pool(search)),
        // Of another database, this variable says nothing.
        postgres_max_connections: postgres_max_connections.filter(|_| is_own_database(search)),
        longest_run_secs: longest,
        pinned_queues: pinned_queues(search),
    }
}

/// As the image's entrypoint chooses: the concurrency, else the most of autoscaling, else the amount.
fn celery_workers(search: &mut Search<'_>, version: Option<&str>) -> Option<u32> {
    const KEY: &str = "sizes.celery_workers";
    if search.environment.is_set("CELERY_WORKER_CONCURRENCY") {
        return search.number(KEY, "CELERY_WORKER_CONCURRENCY", 1..=MOST);
    }
    if search.flag("CELERY_AUTO_SCALE") && search.environment.is_set("CELERY_MAX_WORKERS") {
        return search.number(KEY, "CELERY_MAX_WORKERS", 1..=MOST);
    }
    if !search.environment.is_set("CELERY_WORKER_AMOUNT") && version.is_some_and(is_1_13) {
        search.came_from(KEY, "CELERY_WORKER_AMOUNT", None);
        return Some(CELERY_WORKERS_1_13);
    }
    match search.environment.said("CELERY_WORKER_AMOUNT") {
        Some(_) => search.number(KEY, "CELERY_WORKER_AMOUNT", 1..=MOST),
        // Set and empty: the entrypoint's `${CELERY_WORKER_AMOUNT:-1}`.
        None => Some(1),
    }
}

fn is_1_13(version: &str) -> bool {
    let mut numbers = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    (numbers.next(), numbers.next()) >= (Some(1), Some(13))
}

fn plugin_daemon_pool(search: &Search<'_>) -> u32 {
    let daemon =
        search.environment.compose.as_ref().and_then(|compose| compose.services.get("plugin_daemon"));
    let told = daemon.and_then(|daemon| daemon.environment.get("DB_MAX_OPEN_CONNS"));
    told.and_then(|text| text.parse().ok()).unwrap_or(PLUGIN_DAEMON_POOL)
}

fn is_own_database(search: &Search<'_>) -> bool {
    let host = search.environment.said("DB_HOST").map(|value| value.text).unwrap_or_default();
    match &search.environment.compose {
        Some(compose) => compose.service(host.trim()).is_some(),
        None => search.environment.is_set("POSTGRES_MAX_CONNECTIONS"),
    }
}

fn longest_run(search: &mut Search<'_>) -> Option<u64> {
    const KEY: &str = "sizes.longest_run";
    let workflow = search.number(KEY, "WORKFLOW_MAX_EXECUTION_TIME", 1..=MOST_SECS);
    let of_workflow = search.origins.get(KEY).cloned();
    let app = search.number(KEY, "APP_MAX_EXECUTION_TIME", 1..=MOST_SECS);
    if workflow >= app
        && let Some(origin) = of_workflow
    {
        search.origins.insert(KEY.to_owned(), origin);
    }
    workflow.max(app)
}

fn pinned_queues(search: &mut Search<'_>) -> Option<Vec<String>> {
    const KEY: &str = "sizes.pinned_queues";
    let list = search.text(KEY, "CELERY_WORKER_QUEUES").or_else(|| search.text(KEY, "CELERY_QUEUES"))?;
    let queues: Vec<String> =
        list.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
    (!queues.is_empty()).then_some(queues)
}
