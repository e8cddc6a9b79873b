//! Apps and their compiled versions, kept at hand.
//!
//! A version never changes, so its plan is kept until others push it out. Which version is current does change; that
//! is asked again after [`APP_FRESH`].

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use mainstay_engine::Plan;
use mainstay_store::{
    Store,
    model::{App, Version},
};
use mainstay_wire::{
    dify::{ApiError, InputForm},
    dsl,
};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::time::Instant;

use crate::reply;

/// How long another process's import may go unnoticed. An import through this process is noticed at once.
const APP_FRESH: Duration = Duration::from_millis(500);
const MAX_APPS: usize = 4096;
const MAX_PLANS: usize = 256;

/// A version ready to run.
pub(crate) struct Published {
    pub(crate) id: String,
    pub(crate) app_id: String,
    /// Dify's spelling of a version: when it was published.
    pub(crate) version: String,
    pub(crate) plan: Arc<Plan>,
    pub(crate) form: InputForm,
    pub(crate) features: Value,
    pub(crate) conversation_variables: Vec<dsl::Variable>,
    pub(crate) icon_type: String,
    pub(crate) use_icon_as_answer_icon: bool,
}

pub(crate) struct Catalog {
    store: Store,
    apps: Mutex<HashMap<String, (Instant, Arc<App>)>>,
    plans: Mutex<Plans>,
}

#[derive(Default)]
struct Plans {
    by_version: HashMap<String, Arc<Published>>,
    /// Oldest first.
    order: VecDeque<String>,
}

impl Catalog {
    pub(crate) fn new(store: Store) -> Catalog {
        Catalog { store, apps: Mutex::default(), plans: Mutex::default() }
    }

    pub(crate) async fn app(&self, id: &str) -> Result<Arc<App>, ApiError> {
        let now = Instant::now();
        if let Some((at, app)) = self.apps.lock().get(id)
            && now.duration_since(*at) < APP_FRESH
        {
            return Ok(app.clone());
        }
        let found =
            self.store.apps().get(id).await.map_err(|error| reply::of_store("reading an app", error))?;
        let app =
            Arc::new(found.ok_or_else(|| ApiError::new(403, "forbidden", "The app no longer exists."))?);
        let mut apps = self.apps.lock();
        if apps.len() >= MAX_APPS {
            apps.clear();
        }
        apps.insert(id.to_owned(), (now, app.clone()));
        Ok(app)
    }

    /// Forgets which versions are current.
    pub(crate) fn refresh(&self) {
        self.apps.lock().clear();
    }

    /// The version that runs when a caller names none.
    pub(crate) async fn current(&self, app: &App) -> Result<Arc<Published>, ApiError> {
        self.published(&app.version_id).await?.ok_or_else(ApiError::app_unavailable)
    }

    /// A version by a caller's word for it.
    pub(crate) async fn named(&self, app: &App, id: &str) -> Result<Arc<Published>, ApiError> {
        let Ok(parsed) = uuid::Uuid::try_parse(id) else {
            return Err(ApiError::bad_request(format!("Invalid workflow_id format: '{id}'. ")));
        };
        let found = self.published(&parsed.to_string()).await?;
        found
            .filter(|version| version.app_id == app.id)
            .ok_or_else(|| ApiError::not_found(format!("Workflow not found with id: {id}")))
    }

    pub(crate) async fn published(&self, version_id: &str) -> Result<Option<Arc<Published>>, ApiError> {
        if let Some(found) = self.plans.lock().by_version.get(version_id) {
            return Ok(Some(found.clone()));
        }
        let stored = self.store.apps().version(version_id).await;
        let Some(version) = stored.map_err(|error| reply::of_store("reading a version", error))? else {
            return Ok(None);
        };
        // Compiling takes longer than a runtime's thread may be held.
        let compiled = tokio::task::spawn_blocking(move || compile(version)).await;
        let published = compiled.map_err(|_| ApiError::internal())??;
        Ok(Some(self.plans.lock().keep(published)))
    }
}

impl Plans {
    fn keep(&mut self, published: Published) -> Arc<Published> {
        while self.order.len() >= MAX_PLANS {
            if let Some(oldest) = self.order.pop_front() {
                self.by_version.remove(&oldest);
            }
        }
        let published = Arc::new(published);
        if self.by_version.insert(published.id.clone(), published.clone()).is_none() {
            self.order.push_back(published.id.clone());
        }
        published
    }
}

/// The import checked the same text; a version that no longer compiles was made by another version of Mainstay.
fn compile(version: Version) -> Result<Published, ApiError> {
    let broken = |problems: String| {
        tracing::error!(
            version.id,
            problems,
            "a stored version cannot be run by this mainstay; import the app again"
        );
        ApiError::app_unavailable()
    };
    let app = dsl::parse(&version.dsl_text).map_err(|problems| broken(joined(&problems)))?;
    let plan = mainstay_engine::check(&app).map_err(|problems| broken(joined(&problems)))?;
    Ok(Published {
        id: version.id,
        app_id: version.app_id,
        version: spelled(version.created_at),
        form: form(&app),
        plan: Arc::new(plan),
        features: Value::Object(app.features),
        conversation_variables: app.conversation_variables,
        icon_type: app.icon_type.unwrap_or_else(|| "emoji".to_owned()),
        use_icon_as_answer_icon: app.use_icon_as_answer_icon,
    })
}

fn form(app: &dsl::App) -> InputForm {
    let start = app.graph.nodes.iter().find(|node| node.kind == "start");
    let variables = start.and_then(|node| node.data.get("variables")).and_then(Value::as_array);
    InputForm::from_variables(variables.into_iter().flatten())
}

fn joined(problems: &[impl std::fmt::Display]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// `2026-11-23 00:22:47.633368`.
fn spelled(at: mainstay_base::Micros) -> String {
    let time = jiff::Timestamp::from_microsecond(at.0).unwrap_or_default();
    time.strftime("%Y-%m-%d %H:%M:%S%.6f").to_string()
}
