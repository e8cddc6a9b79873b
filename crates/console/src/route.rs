//! Every route, as a table that the router is made from and that tests walk.

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request},
    middleware,
    response::{IntoResponse, Redirect, Response},
    routing::{self, MethodRouter},
};
use http::{Method, StatusCode};

use crate::{
    App, Failure,
    action::{self, Action},
    assets, auth, headers, live, login,
    page::{self, Page},
    pages::{
        alerts, apps, dead, dify, groups, incident, models, oncall, overview, preview, procedures, providers,
        quiet, receivers, requests, runbooks, runs, simulation, slo_change, slo_lint, slo_past, slos,
        timeline,
    },
};

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    Open,
    Closed,
}

#[derive(Clone)]
pub(crate) struct Route {
    #[cfg_attr(not(test), expect(dead_code, reason = "tests walk the table; the handler knows its method"))]
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) door: Door,
    handler: MethodRouter<App>,
}

pub(crate) fn table() -> Vec<Route> {
    let mut routes = vec![
        open(Method::GET, "/login", routing::get(login::form)),
        open(Method::POST, "/login", routing::post(login::enter)),
        open(Method::GET, "/assets/{name}", routing::get(assets::serve)),
        closed(Method::POST, "/logout", routing::post(login::leave)),
        closed(Method::GET, "/", routing::get(async || Redirect::to("/overview"))),
        closed(Method::GET, "/live", routing::get(live::serve)),
        closed(Method::GET, "/api/health", routing::get(overview::health)),
        closed(Method::GET, "/api/apps/{id}/export", routing::get(apps::export)),
    ];
    routes.extend(pages());
    routes.extend(actions());
    routes
}

/// Each page brings its twin.
fn pages() -> Vec<Route> {
    let mut routes = Vec::new();
    routes.extend(page::<overview::Overview>("/overview"));
    routes.extend(page::<runs::Runs>("/runs"));
    routes.extend(page::<runs::RunPage>("/runs/{id}"));
    routes.extend(page::<dead::Dead>("/dead"));
    routes.extend(page::<alerts::Alerts>("/alerts"));
    routes.extend(page::<groups::Groups>("/groups"));
    routes.extend(page::<groups::GroupPage>("/groups/{id}"));
    routes.extend(page::<receivers::Receivers>("/receivers"));
    routes.extend(page::<preview::Preview>("/receivers/{name}/preview"));
    routes.extend(page::<quiet::Silences>("/silences"));
    routes.extend(page::<oncall::OnCall>("/oncall"));
    routes.extend(page::<incident::Incident>("/incidents/{id}"));
    routes.extend(page::<requests::Requests>("/requests"));
    routes.extend(page::<requests::Walk>("/requests/{id}"));
    routes.extend(page::<apps::Apps>("/apps"));
    routes.extend(page::<apps::AppPage>("/apps/{id}"));
    routes.extend(page::<dify::components::Components>("/dify"));
    routes.extend(page::<dify::queues::Queues>("/queues"));
    routes.extend(page::<dify::queue::QueuePage>("/queues/{name}"));
    routes.extend(page::<dify::worker::WorkerPage>("/queues/workers/{name}"));
    routes.extend(page::<dify::apps::Apps>("/dify/apps"));
    routes.extend(page::<dify::app::AppPage>("/dify/apps/{id}"));
    routes.extend(page::<providers::Providers>("/providers"));
    routes.extend(page::<providers::ProviderPage>("/providers/{name}"));
    routes.extend(page::<models::Models>("/models"));
    routes.extend(page::<models::ModelPage>("/models/{name}"));
    routes.extend(page::<models::RoutePage>("/models/{name}/route"));
    routes.extend(page::<runbooks::Runbooks>("/runbooks"));
    routes.extend(page::<runbooks::ExecutionPage>("/executions/{id}"));
    routes.extend(page::<slos::Slos>("/slos"));
    routes.extend(page::<slo_lint::Lint>("/slos/lint"));
    routes.extend(page::<slos::SloPage>("/slos/{name}"));
    routes.extend(page::<slo_past::Past>("/slos/{name}/past"));
    routes.extend(page::<timeline::Timeline>("/timeline"));
    routes
}

/// Each action is a form's target and a call under `/api`.
fn actions() -> Vec<Route> {
    let mut routes = Vec::new();
    routes.extend(action::<runs::Cancel>("/runs/{id}/cancel"));
    routes.extend(action::<runs::Retry>("/runs/{id}/retry"));
    routes.extend(action::<alerts::Acknowledge>("/alerts/{id}/ack"));
    routes.extend(action::<groups::AcknowledgeGroup>("/groups/{id}/ack"));
    routes.extend(action::<receivers::TestReceiver>("/receivers/{name}/test"));
    routes.extend(action::<slo_change::Set>("/slos/set"));
    routes.extend(action::<slo_change::Set>("/slos/import"));
    routes.extend(action::<slo_change::Promote>("/slos/{name}/promote"));
    routes.extend(action::<slo_change::Undo>("/slos/{name}/undo"));
    routes.extend(action::<slo_change::Remove>("/slos/{name}/remove"));
    routes.extend(action::<quiet::AddSilence>("/silences"));
    routes.extend(action::<quiet::Unsilence>("/silences/{id}/end"));
    routes.extend(action::<quiet::SetShadow>("/shadows"));
    routes.extend(action::<quiet::Promote>("/shadows/promote"));
    routes.extend(action::<oncall::OverrideCall>("/oncall/override"));
    routes.extend(action::<oncall::ReleaseCall>("/oncall/overrides/{id}/end"));
    routes.extend(action::<apps::Import>("/apps"));
    routes.extend(action::<runbooks::Run>("/runbooks/{name}/run"));
    routes.extend(action::<runbooks::SetFreeze>("/freeze"));
    routes.extend(action::<procedures::Drain>("/providers/{name}/drain"));
    routes.extend(action::<procedures::Restore>("/providers/{name}/restore"));
    routes.extend(action::<procedures::Failover>("/providers/{name}/failover"));
    routes.extend(action::<procedures::UndoFailover>("/providers/{name}/failover/undo"));
    routes.extend(action::<procedures::Test>("/providers/{name}/test"));
    routes.extend(action::<dify::act::Act>("/dify/act"));
    routes.extend(action::<simulation::Simulate>("/route/simulate"));
    routes
}

fn page<P: Page>(path: &str) -> [Route; 2] {
    [
        closed(Method::GET, path, routing::get(page::html::<P>)),
        closed(Method::GET, &format!("/api{path}"), routing::get(page::json::<P>)),
    ]
}

fn action<A: Action>(path: &str) -> [Route; 2] {
    let limit = || DefaultBodyLimit::max(A::BODY_MAX);
    [
        closed(Method::POST, path, routing::post(action::form::<A>).layer(limit())),
        closed(Method::POST, &format!("/api{path}"), routing::post(action::api::<A>).layer(limit())),
    ]
}

fn open(method: Method, path: &str, handler: MethodRouter<App>) -> Route {
    Route { method, path: path.to_owned(), door: Door::Open, handler }
}

fn closed(method: Method, path: &str, handler: MethodRouter<App>) -> Route {
    Route { method, path: path.to_owned(), door: Door::Closed, handler }
}

pub(crate) fn router(app: App) -> Router {
    let mut outside = Router::new();
    let mut inside = Router::new();
    for Route { path, door, handler, .. } in table() {
        match door {
            Door::Open => outside = outside.route(&path, handler),
            Door::Closed => inside = inside.route(&path, handler),
        }
    }
    inside
        .route_layer(middleware::from_fn_with_state(app.clone(), auth::door))
        .merge(outside)
        .method_not_allowed_fallback(wrong_method)
        .fallback(no_route)
        .layer(DefaultBodyLimit::max(action::ACTION_BODY_MAX))
        .layer(middleware::from_fn(auth::same_origin))
        .layer(middleware::from_fn(headers::dress))
        .with_state(app)
}

async fn no_route(request: Request) -> Response {
    page::failed(request.uri().path(), Failure::no_page())
}

async fn wrong_method(request: Request) -> Response {
    let failure = Failure::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "wrong_method",
        format!("this path does not take {}", request.method()),
        "see docs/console.md for what there is",
    );
    page::failed(request.uri().path(), failure).into_response()
}
