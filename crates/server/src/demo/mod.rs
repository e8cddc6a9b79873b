//! `mainstay demo`: everything on this machine, with traffic to look at and faults to inject.
//!
//! Promises: one line on standard output when ready, everything else on standard error; whatever it starts ends with
//! it; data outlives it only in a folder that was named.

mod model;
mod policy;
mod provider;
mod receiver;
mod sample;
pub(crate) mod scenario;
mod traffic;

use std::{path::PathBuf, sync::Arc, time::Duration};

use mainstay_base::{Clock, Secret};
use mainstay_faulty::Provider;
use mainstay_store::{Options, Store};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{provider::Providers, receiver::Receiver, sample::Keys, traffic::Traffic};
use crate::{
    cli::{self, Role},
    command::serve::publish,
    config::{Config, Listeners, Reach, StoreUrl},
    failure::{Exit, Failure, chain},
    logging,
    output::note,
    service::Service,
    signals,
};

/// How long the first round of health checks may take.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// How long the demo's own servers may take to end.
const LAST_TASKS: Duration = Duration::from_secs(3);

/// Everything that a scenario looks at and acts on.
pub(crate) struct Stage {
    service: Service,
    primary: Provider,
    reserve: Provider,
    vectors: Provider,
    /// The configuration of the model path, for whoever wants to try a changed one.
    policy: PathBuf,
    traffic: Arc<Traffic>,
}

pub(crate) async fn run(demo: cli::Demo) -> Result<Exit, Failure> {
    logging::install(false, &demo.log);
    let end = CancellationToken::new();
    signals::cancel_on_end(&end)?;
    let folder = Folder::of(demo.data_dir.clone())?;
    let tasks = TaskTracker::new();
    let helpers = CancellationToken::new();
    let keys = Keys::of(&folder.path).map_err(|error| broken("cannot keep the demo's keys", &error))?;
    let stage = Box::pin(set(&demo, &folder, &keys, &tasks, &helpers)).await?;
    let _published = publish(&stage.service);
    ready(&stage, &keys, &end).await?;
    let traffic_ends = CancellationToken::new();
    let traffic_task = tasks.spawn(Arc::clone(&stage.traffic).run(demo.traffic, traffic_ends.clone()));

    let outcome = match demo.scenario {
        Some(name) => tokio::select! {
            outcome = scenario::run(name, &stage) => outcome,
            () = end.cancelled() => Exit::Problem,
        },
        None => {
            wait(demo.exit_after, &end).await;
            Exit::Good
        }
    };
    // Callers first, then what they call, then what that calls.
    traffic_ends.cancel();
    let _ = traffic_task.await;
    note(stage.traffic.summary());
    stage.service.shutdown().await;
    helpers.cancel();
    tasks.close();
    let _ = tokio::time::timeout(LAST_TASKS, tasks.wait()).await;
    Ok(outcome)
}

/// Starts the instance and what the demo puts around it.
async fn set(
    demo: &cli::Demo,
    folder: &Folder,
    keys: &Keys,
    tasks: &TaskTracker,
    helpers: &CancellationToken,
) -> Result<Stage, Failure> {
    let Providers { all: [primary, reserve, vectors], places } = provider::start()
        .await
        .map_err(|error| Failure::problem("cannot start the demo's model providers", error, ""))?;
    let callback_secret = Secret::new(keys.callback_secret.clone());
    let receiver = Receiver::start(&callback_secret, Clock::System, tasks, helpers.clone())
        .await
        .map_err(|error| broken("cannot start the demo's callback receiver", &error))?;
    let policy = policy::write(&places.urls(), &receiver.pagers, &folder.path, keys)
        .map_err(|error| broken("cannot write the demo's configuration", &error))?;
    let configuration = {
        let (demo, policy, receiver_at) = (demo.clone(), policy.clone(), receiver.address.to_string());
        let pagers = receiver.pagers.clone();
        let store_url = store_url(&demo, folder);
        move |urls: &[String; 3]| {
            let config = policy::parse(urls, &pagers, &policy)?;
            Ok(completed(config, &demo, &store_url, &receiver_at, &callback_secret))
        }
    };
    let config = configuration(&places.urls())?;
    let options = Options { url: config.store_url.expose().to_owned(), clock: Clock::System };
    Store::migrate(&options).await.map_err(|error| {
        Failure::unreachable("cannot prepare the demo's store", chain(&error), "choose another --data-dir")
    })?;
    let service = Service::start(config, Role::All, Some(keys.admin_token())).await?;
    places.tell(Arc::clone(&service.reloader), configuration);
    sample::import(&service.standby, service.store(), keys)
        .await
        .map_err(|error| broken("cannot import the sample apps", &error))?;
    service
        .publisher()
        .refresh()
        .await
        .map_err(|error| Failure::unreachable("cannot publish the sample apps", chain(&error), ""))?;
    let urls = traffic::Urls { app: url(service.app), model: url(service.model) };
    let traffic = Traffic::new(urls, keys.clone(), receiver)
        .map_err(|error| Failure::problem("cannot make traffic", chain(&error), ""))?;
    Ok(Stage { service, primary, reserve, vectors, policy, traffic: Arc::new(traffic) })
}

/// The model path as it was read, the rest by the defaults of `serve`, with what the demo brings.
fn completed(
    mut config: Config,
    demo: &cli::Demo,
    store_url: &str,
    receiver_at: &str,
    callback_secret: &Secret,
) -> Config {
    config.listeners = Listeners { admin: demo.admin, admin_https: false, app: demo.app, model: demo.model };
    config.log.filter = demo.log.clone();
    config.store_url = StoreUrl::new(store_url.to_owned());
    config.workers.count = demo.workers;
    config.callbacks.secret = Some(callback_secret.clone());
    // The receiver is on the loopback interface, where callbacks may not go otherwise.
    config.callbacks.reach = Reach { any: false, allow: vec![receiver_at.to_owned()] };
    config
}

fn store_url(demo: &cli::Demo, folder: &Folder) -> String {
    let ours = || format!("sqlite:{}", folder.path.join("mainstay.db").display());
    demo.store.clone().unwrap_or_else(ours)
}

fn url(address: Option<std::net::SocketAddr>) -> String {
    address.map(|address| format!("http://{address}")).unwrap_or_default()
}

/// Says that everything answers: the one line that programs wait for.
async fn ready(stage: &Stage, keys: &Keys, end: &CancellationToken) -> Result<(), Failure> {
    let service = &stage.service;
    let mut reports = service.facade.as_ref().map(mainstay_control::Facade::reports);
    let all_well = async {
        if let Some(reports) = &mut reports {
            let _ = reports.wait_for(|report| report.state == mainstay_control::State::Ok).await;
        }
    };
    tokio::select! {
        well = tokio::time::timeout(READY_WITHIN, all_well) => if well.is_err() {
            let why = service.facade.as_ref().map(|facade| facade.report().reason.clone()).unwrap_or_default();
            return Err(Failure::problem("the demo is not healthy", why, "run it with --log info to see more"));
        },
        () = end.cancelled() => return Ok(()),
    }
    crate::output::line(format!(
        "mainstay ready admin={} app={} model={} token={} app_key={} model_key={}",
        service.admin_url(),
        url(service.app),
        url(service.model),
        keys.admin_token,
        keys.quote,
        keys.model,
    ));
    note(format!("console   {}/login  (log in with the token above)", service.admin_url()));
    note(format!(
        "apps      {} (app_key above), {} key {}, {} key {}",
        sample::QUOTE,
        sample::TRIAGE,
        keys.triage,
        sample::HELP,
        keys.help
    ));
    note(format!("models    {} (model_key above)", policy::MODELS.join(", ")));
    for (name, running) in provider::NAMES.iter().zip([&stage.primary, &stage.reserve, &stage.vectors]) {
        note(format!("faults    POST {}  ({name})", running.switch_url()));
    }
    note(format!("policy    {}  (for mainstay route simulate --policy, changed)", stage.policy.display()));
    note(
        "commands  mainstay status, provider list, model list, runs list, explain REQUEST_ID find this instance by themselves",
    );
    Ok(())
}

async fn wait(exit_after: Option<Duration>, end: &CancellationToken) {
    match exit_after {
        Some(duration) => {
            let _ = tokio::time::timeout(duration, end.cancelled()).await;
        }
        None => end.cancelled().await,
    }
}

fn broken(thing: &str, error: &anyhow::Error) -> Failure {
    Failure::problem(thing, format!("{error:#}"), "")
}

/// Where the demo keeps its data.
struct Folder {
    path: PathBuf,
    /// Made by us, so removed by us.
    temporary: bool,
}

impl Folder {
    fn of(named: Option<PathBuf>) -> Result<Folder, Failure> {
        let temporary = named.is_none();
        let path = named.unwrap_or_else(|| {
            std::env::temp_dir().join(format!("mainstay-demo-{}", mainstay_base::id::new()))
        });
        make_private(&path).map_err(|error| {
            Failure::usage(
                format!("cannot use {} for data", path.display()),
                error,
                "choose another --data-dir",
            )
        })?;
        Ok(Folder { path, temporary })
    }
}

/// Runs hold what users wrote: nobody else reads them.
fn make_private(path: &std::path::Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.temporary {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}
