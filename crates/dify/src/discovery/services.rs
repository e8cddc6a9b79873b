//! What answers HTTP: API, web, plugin daemon, sandbox, proxy; and which version it is.

use super::{Search, place};
use crate::deployment::{Deployment, Service};

/// `langgenius/dify-api`, also from a mirror of it.
const API_IMAGE: &str = "dify-api";
const NGINX: &str = "nginx";
const WEB_URL: &str = "web_url";

pub(super) fn find(search: &mut Search<'_>, deployment: &mut Deployment) {
    deployment.api_url = api(search);
    deployment.web_url = web(search);
    deployment.plugin_daemon = service(
        search,
        "plugin daemon",
        ("plugin_daemon.url", "PLUGIN_DAEMON_URL"),
        ("plugin_daemon.key", "PLUGIN_DAEMON_KEY"),
    );
    deployment.sandbox = service(
        search,
        "sandbox",
        ("sandbox.url", "CODE_EXECUTION_ENDPOINT"),
        ("sandbox.key", "CODE_EXECUTION_API_KEY"),
    );
    deployment.ssrf_proxy_url = search.url("ssrf proxy", "ssrf_proxy_url", "SSRF_PROXY_HTTP_URL");
    if let Some(url) = deployment.ssrf_proxy_url.clone() {
        search.found("ssrf proxy", url, "ssrf_proxy_url");
    }
}

/// The address by which the plugin daemon calls back: the API itself, not the nginx before it, which hides `/health`.
fn api(search: &mut Search<'_>) -> Option<String> {
    let url = search.url("api", "api_url", "PLUGIN_DIFY_INNER_API_URL")?;
    search.found("api", url.clone(), "api_url");
    Some(url)
}

/// The console's own address where the operator told it, else nginx's port on `--host`, else the container.
fn web(search: &mut Search<'_>) -> Option<String> {
    let told =
        ["CONSOLE_WEB_URL", "APP_WEB_URL"].into_iter().find(|name| search.environment.said(name).is_some());
    if let Some(variable) = told {
        let url = search.url("web", WEB_URL, variable)?;
        search.found("web", url.clone(), WEB_URL);
        return Some(url);
    }
    let compose = search.environment.compose.as_ref()?;
    let nginx = compose.service(NGINX);
    let published = nginx.and_then(|nginx| nginx.ports.iter().find(|port| port.target == 80));
    let url = match (search.host, published) {
        (Some(host), Some(port)) => format!("http://{host}:{}", port.published),
        _ if nginx.is_some() => format!("http://{NGINX}"),
        _ => return None,
    };
    search.came_from(WEB_URL, "EXPOSE_NGINX_PORT", None);
    if search.host.is_none() {
        search.note(WEB_URL, place::INSIDE);
    }
    search.found("web", url.clone(), WEB_URL);
    Some(url)
}

fn service(
    search: &mut Search<'_>,
    part: &'static str,
    (url_key, url): (&str, &str),
    (key_key, key): (&str, &str),
) -> Option<Service> {
    let url = search.url(part, url_key, url)?;
    let key = search.secret(key_key, key);
    search.found(part, url.clone(), url_key);
    Some(Service { url, key })
}

/// The tag of the API's image in the compose file.
pub(super) fn version(search: &mut Search<'_>) -> Option<String> {
    let Some(compose) = &search.environment.compose else {
        search.gap(
            "version",
            "there is no compose file beside the .env",
            "the version, published ports, names of services and volumes are not known from it; values that the .env does \
             not set are taken to be those of Dify's own compose file",
        );
        return None;
    };
    let images = compose.services.values().filter_map(|service| service.image.as_deref());
    let tag = |image: &str| {
        let image = image.split('@').next()?;
        let (name, tag) = image.rsplit_once(':')?;
        name.ends_with(API_IMAGE).then(|| tag.to_owned())
    };
    let version = images.filter_map(tag).next();
    match version.clone() {
        Some(version) => search.found("version", version, ""),
        None => search.gap(
            "version",
            format!("no service has the image {API_IMAGE}"),
            "the version is asked of the running API instead",
        ),
    }
    version
}
