//! From trouble to whoever is on call, by the command line alone, and over a restart.

use mainstay_testkit::{HttpServer, http_server::whole, wait_until};
use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Home, Process, READY, SOON};

/// What a receiver was told of this component, in order: `alert.firing`.
fn told(server: &HttpServer, component: &str) -> Vec<String> {
    let bodies = server.requests().into_iter().map(|request| {
        let body: Value = serde_json::from_slice(request.body()).unwrap_or_default();
        (body["data"]["component"].clone(), body["type"].as_str().unwrap_or_default().to_owned())
    });
    bodies.filter(|(about, _)| about == component).map(|(_, what)| what).collect()
}

async fn until_told(server: &HttpServer, component: &str, expected: &[&str]) {
    wait_until(&format!("{component}: {expected:?}"), SOON, || async {
        (told(server, component) == expected).then_some(())
    })
    .await;
}

fn items<'a>(answer: &'a Value, key: &str) -> &'a [Value] {
    answer[key].as_array().map_or(&[], Vec::as_slice)
}

/// Who was told what by which step and what comes next stand with the group, which is acknowledged at once.
fn look_after_the_group(home: &Home, alert: &str) {
    let groups = home.run(&["alert", "groups", "--json"]).json();
    let group = items(&groups, "groups").iter().find(|group| group["members"][alert].is_object()).unwrap();
    assert_eq!(
        (&group["to"], &group["steps"], &group["step"]),
        (&"policy first".into(), &2.into(), &1.into())
    );
    assert_eq!(group["next"]["what"], "reminder", "{group}");
    let id = group["id"].as_str().unwrap();
    let shown = home.run(&["alert", "group", id, "--json"]).json();
    let told: Vec<_> = items(&shown, "notices")
        .iter()
        .map(|told| (told["receiver"].as_str(), told["what"].as_str(), told["escalation"]["step"].as_u64()))
        .collect();
    let (ana, backup) = (Some("ana-phone"), Some("backup"));
    assert_eq!(told, [(ana, Some("firing"), Some(1)), (backup, Some("escalated"), Some(2))]);
    let done = home.run(&["alert", "ack", "--group", id, "--json"]);
    assert_eq!(done.json()["acknowledged"], serde_json::json!([alert]), "{done:?}");
    assert_eq!(home.run(&["alert", "ack", "--group", "none"]).code, 1);
    let remarks = home.run(&["alert", "lint", "--json"]);
    assert_eq!((remarks.code, &remarks.json()[0]["key"]), (1, &"oncall.person[1]".into()), "{remarks:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_reaches_whoever_is_on_call_then_others_and_what_is_silenced_stays_so_over_a_restart() {
    let [ana, backup] = [
        HttpServer::start(|_| async { whole(200, "text/plain", "") }).await,
        HttpServer::start(|_| async { whole(200, "text/plain", "") }).await,
    ];
    let home = Home::new();
    home.configure(&format!(
        "[workers]\ncount = 0\n\
         [[upstream]]\nname = 'dify'\nbase_url = 'http://127.0.0.1:1'\n\
         [[upstream]]\nname = 'other'\nbase_url = 'http://127.0.0.1:1'\n\
         [[receiver]]\nname = 'ana-phone'\nurl = '{}'\n[[receiver]]\nname = 'backup'\nurl = '{}'\n\
         [[oncall.person]]\nname = 'ana'\nreceivers = ['ana-phone']\n\
         [[oncall.person]]\nname = 'ben'\nreceivers = ['backup']\n\
         [[oncall.schedule]]\nname = 'primary'\n\
         [[oncall.schedule.layer]]\npeople = ['ana']\nstart = '2026-01-05T09:00'\n\
         [[oncall.policy]]\nname = 'first'\n\
         [[oncall.policy.step]]\nto = ['schedule:primary']\nwait = '2s'\n\
         [[oncall.policy.step]]\nto = ['receiver:backup']\nwait = '1h'\n\
         [[alerts.route]]\nname = 'upstreams'\nmatch = ['upstream=dify']\nto = ['policy:first']\n\
         [alerts]\nto = []\n",
        ana.url(),
        backup.url()
    ));
    assert_eq!(home.run(&["migrate"]).code, 0);
    let mut process = Process::start(home.command(&["serve"]));
    process.line(READY);
    let who = home.run(&["oncall", "who", "--json"]).json();
    assert_eq!(items(&who, "schedules")[0]["shifts"][0]["on_call"]["person"], "ana");
    let silenced = home.run(&[
        "alert",
        "silence",
        "component=upstream:other",
        "--for",
        "2h",
        "--comment",
        "moving",
        "--json",
    ]);
    assert_eq!(silenced.code, 0, "{silenced:?}");
    let silence_id = silenced.json()["id"].as_str().unwrap().to_owned();

    until_told(&ana, "upstream:dify", &["alert.firing"]).await;
    until_told(&backup, "upstream:dify", &["alert.escalated"]).await;
    let open = |component: &str| -> Value {
        let answer = home.run(&["alert", "list", "--json"]).json();
        items(&answer, "open").iter().find(|alert| alert["subject"] == component).cloned().unwrap_or_default()
    };
    let id = open("upstream:dify")["id"].as_str().unwrap().to_owned();
    look_after_the_group(&home, &id);
    wait_until("the other alert", SOON, || async {
        (open("upstream:other")["suppressed"] == format!("silence:{silence_id}")).then_some(())
    })
    .await;

    // Killed, and started again: nothing is told twice, and nobody is told of what is silenced.
    process.signal(Signal::KILL);
    drop(process);
    let mut process = Process::start(home.command(&["serve"]));
    process.line(READY);
    let swapped =
        home.run(&["oncall", "override", "primary", "ben", "--for", "1h", "--comment", "dentist", "--json"]);
    assert_eq!(swapped.code, 0, "{swapped:?}");
    let who = home.run(&["oncall", "who", "--json"]).json();
    assert_eq!(items(&who, "schedules")[0]["shifts"][0]["on_call"]["person"], "ben");
    let shadow = home.run(&["alert", "shadow", "upstream=other"]);
    assert_eq!(shadow.code, 0, "{shadow:?}");
    assert_eq!(home.run(&["alert", "unsilence", &silence_id]).code, 0);
    wait_until("the control that took over", SOON, || async {
        (open("upstream:other")["suppressed"] == "shadow").then_some(())
    })
    .await;
    assert!(open("upstream:dify")["acknowledged_by"].is_string());
    assert_eq!(told(&ana, "upstream:dify"), ["alert.firing"]);
    assert_eq!(told(&backup, "upstream:dify"), ["alert.escalated"]);
    assert!(told(&ana, "upstream:other").is_empty() && told(&backup, "upstream:other").is_empty());
    let gone = home.run(&["alert", "unsilence", &silence_id]);
    assert!(gone.code != 0 && gone.err.contains("there is no such silence"), "{gone:?}");
    let wrong = home.run(&["alert", "silence", "app", "--for", "2h", "--comment", "x"]);
    assert!(wrong.code != 0 && wrong.err.contains("matchers[0]"), "{wrong:?}");
    assert_eq!(home.run(&["alert", "promote", "upstream=other"]).code, 0);
}
