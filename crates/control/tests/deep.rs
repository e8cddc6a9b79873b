//! A Dify whose parts hang: each is looked at, none of them twice at a time, and those that answer are judged meanwhile.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use mainstay_base::Clock;
use mainstay_control::deep::{self, Watch};
use mainstay_dify::{Deployment, deployment::Service, probe::Prober, signature::Catalogue};
use mainstay_net::{Client, ClientOptions};
use mainstay_testkit::{HttpServer, http_server::json, wait_until};
use serde_json::json;
use tokio_util::sync::CancellationToken;

const SOON: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_part_that_hangs_gathers_no_looks_and_holds_up_no_other() {
    let open = Arc::new(AtomicU64::new(0));
    let most = Arc::new(AtomicU64::new(0));
    let (opened, seen) = (open.clone(), most.clone());
    // Answers after the probe has given up: what is asked of it meanwhile is counted.
    let slow = HttpServer::start(move |_| {
        let (open, most) = (opened.clone(), seen.clone());
        async move {
            most.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(4_500)).await;
            open.fetch_sub(1, Ordering::SeqCst);
            json(200, &json!({}))
        }
    })
    .await;
    let web = HttpServer::start(|_| async { json(200, &json!({})) }).await;
    let deployment = Deployment {
        web_url: Some(web.url()),
        plugin_daemon: Some(Service { url: slow.url(), key: None }),
        ..Deployment::named("dify")
    };
    let prober = Prober::new(deployment, Client::new(ClientOptions::default()).unwrap());
    let watch = Watch::new(Arc::new(prober), None, Catalogue::built_in().clone(), Clock::System);
    let stop = CancellationToken::new();
    let running = tokio::spawn(watch.clone().run(stop.clone()));

    wait_until("the web server is judged while the daemon hangs", SOON, || async {
        let parts = deep::parts(&watch.latest());
        let web = parts.iter().find(|part| part.name == "web")?;
        (web.state == mainstay_control::State::Ok).then_some(())
    })
    .await;
    let finding = wait_until("the daemon is down, by two looks", SOON, || async {
        let parts = deep::parts(&watch.latest());
        let daemon = parts.into_iter().find(|part| part.name == "plugin-daemon")?;
        (daemon.state == mainstay_control::State::Down).then_some(daemon.finding)
    })
    .await
    .unwrap();
    assert_eq!(finding.id, "plugin-daemon-down");
    assert!(!finding.cause.is_empty() && !finding.remedy.is_empty(), "{finding:?}");
    // Each look asks once; a request that was given up may still be open when the next look begins.
    assert!(most.load(Ordering::SeqCst) <= 2, "{} at a time", most.load(Ordering::SeqCst));
    let latest = watch.latest();
    let daemon = latest.looked.iter().find(|looked| looked.last.component == "plugin-daemon").unwrap();
    assert!(daemon.looks >= 2 && slow.requests().len() as u64 <= daemon.looks + 1, "{daemon:?}");
    assert!(latest.diagnosis.as_ref().unwrap().findings.len() == 1);
    stop.cancel();
    running.await.unwrap();
}
