//! Reloads on a bad day: very many at once, in the middle of a start's opposite, and of files that are not plain files.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use mainstay_testkit::wait_until;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::{
    reload::{chat, configuration, provider, write_keys},
    support::{Caller, Home, Process, SOON, wait_for_instance},
};

const CHAT: &str = "/v1/chat/completions";
const ADMIN: &str = "/api/config";
const SIGNALS: usize = 200;
const BETWEEN_SIGNALS: Duration = Duration::from_millis(5);
/// What a file must stay the same for; a reload is no shorter.
const SHORTEST_RELOAD: Duration = Duration::from_millis(100);

/// The n-th of many configurations that differ in what may change.
fn numbered(home: &Home, url: &str, number: usize) -> String {
    let more =
        format!("[workers]\ncount = 0\n[records]\nmax_stored_a_second = {}\n", 1000 + number % 100_000);
    configuration(home, url, "\"small\"", &more)
}

/// As an operator should: beside it, and renamed over it.
fn replace(home: &Home, name: &str, text: &str) {
    let draft = home.write(&format!("{name}.draft"), text);
    std::fs::rename(draft, home.path(name)).unwrap();
}

fn revision_of_the_file(home: &Home) -> Value {
    home.run(&["check", "--json"]).json()["revision"].clone()
}

/// Resident KiB, threads and open files of a process.
fn usage(process: &Process) -> (u64, u64, usize) {
    let proc = Path::new("/proc").join(process.pid().to_string());
    let status = std::fs::read_to_string(proc.join("status")).unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().next().unwrap().parse::<u64>().unwrap()
    };
    let files = std::fs::read_dir(proc.join("fd")).unwrap().count();
    (field("VmRSS:"), field("Threads:"), files)
}

async fn storm(home: &Home, process: &Process, url: &str, from: usize) {
    for number in from..from + SIGNALS {
        replace(home, "mainstay.toml", &numbered(home, url, number));
        process.signal(Signal::HUP);
        tokio::time::sleep(BETWEEN_SIGNALS).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_hangups_ends_with_the_last_file_and_costs_no_call() {
    let one = provider(Arc::new(Semaphore::new(0))).await;
    let home = Home::new();
    write_keys(&home);
    home.write("mainstay.toml", &numbered(&home, &one.url(), 0));
    let process = Process::start(home.command(&["serve", "--migrate"]));
    wait_for_instance(&home, &process).await;
    let (admin, model) = (home.admin(), Caller::new(&home.address("model"), "mk-caller"));
    let (stop, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let callers = (0..4).map(|_| {
        let (model, stop, calls) = (model.clone(), stop.clone(), calls.clone());
        tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let answer = model.post(CHAT, chat("small", false)).await;
                assert_eq!(answer.status, 200, "{answer:?}");
                calls.fetch_add(1, Ordering::Relaxed);
            }
        })
    });
    let callers: Vec<_> = callers.collect();
    let mut after_the_first = None;
    for round in 0..3 {
        let began = Instant::now();
        let before = admin.get(ADMIN).await.json()["generation"].as_u64().unwrap();
        storm(&home, &process, &one.url(), 1 + round * SIGNALS).await;
        let wanted = revision_of_the_file(&home);
        let last = numbered(&home, &one.url(), (round + 1) * SIGNALS);
        let now = wait_until("the last file is in force, and kept", SOON, || async {
            let now = admin.get(ADMIN).await.json();
            let kept = std::fs::read_to_string(home.path("mainstay.db.last-good.toml")).ok()?;
            (now["revision"] == wanted && kept == last).then_some(now)
        })
        .await;
        let made = now["generation"].as_u64().unwrap() - before;
        let room = u64::try_from(began.elapsed().as_millis() / SHORTEST_RELOAD.as_millis()).unwrap();
        assert!(made <= room + 1, "{made} reloads in {:?}", began.elapsed());
        // One may have been refused because the file changed for two seconds on end; a later one was not.
        assert_eq!(now["refused"], Value::Null, "{now}");
        after_the_first.get_or_insert_with(|| usage(&process));
    }
    stop.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await.unwrap();
    }
    assert!(calls.load(Ordering::Relaxed) > 0);
    let (memory, threads, files) = after_the_first.unwrap();
    let now = usage(&process);
    println!("after one storm {memory} KiB {threads} threads {files} files; after three {now:?}");
    assert!(now.0 < memory + 24 * 1024, "{now:?} KiB, threads, files; before {memory}");
    assert!(now.1 <= threads + 4 && now.2 <= files + 16, "{now:?}; before {threads} threads, {files} files");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_who_ask_at_once_are_all_answered_by_the_newest_file() {
    let one = provider(Arc::new(Semaphore::new(0))).await;
    let home = Home::new();
    write_keys(&home);
    home.write("mainstay.toml", &numbered(&home, &one.url(), 0));
    let process = Process::start(home.command(&["serve", "--migrate"]));
    wait_for_instance(&home, &process).await;
    let admin = home.admin();
    for round in 1..=3 {
        replace(&home, "mainstay.toml", &numbered(&home, &one.url(), round));
        let wanted = revision_of_the_file(&home);
        process.signal(Signal::HUP);
        let answers = join_all((0..20).map(|_| admin.post("/api/reload", json!({})))).await;
        process.signal(Signal::HUP);
        for answer in answers {
            assert_eq!((answer.status, &answer.json()["revision"]), (200, &wanted), "{answer:?}");
        }
        assert_eq!(admin.get(ADMIN).await.json()["revision"], wanted);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_ends_loads_nothing_and_ends_in_order() {
    let gate = Arc::new(Semaphore::new(0));
    let one = provider(gate.clone()).await;
    let home = Home::new();
    write_keys(&home);
    home.write("mainstay.toml", &numbered(&home, &one.url(), 0));
    let mut process = Process::start(home.command(&["serve", "--migrate"]));
    wait_for_instance(&home, &process).await;
    let model = Caller::new(&home.address("model"), "mk-caller");
    let stream = tokio::spawn(async move { model.post(CHAT, chat("small", true)).await });
    wait_until("the stream is open", SOON, || async {
        one.requests().iter().any(|seen| seen.uri().path() == CHAT).then_some(())
    })
    .await;

    // A reload that cannot end, because the file changes all the time.
    let (path, stop) = (home.path("mainstay.toml"), Arc::new(AtomicBool::new(false)));
    let writer = {
        let (text, stop) = (numbered(&home, &one.url(), 1), stop.clone());
        std::thread::spawn(move || {
            for number in 0.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                std::fs::write(&path, format!("{text}# {number}\n")).unwrap();
                std::thread::sleep(Duration::from_millis(10));
            }
        })
    };
    let admin = home.admin();
    let reloading =
        tokio::spawn(async move { admin.send("POST", "/api/reload", Some(json!({})), &[]).await });
    process.signal(Signal::HUP);
    process.signal(Signal::TERM);
    wait_until("it is ending", SOON, || async { process.err.lock().contains("shutting down").then_some(()) })
        .await;
    for _ in 0..10 {
        process.signal(Signal::HUP);
    }
    gate.add_permits(1);
    let ended = stream.await.unwrap();
    assert!(ended.text.ends_with("data: [DONE]\n\n"), "{ended:?}");
    // Refused as ending, or as a file that changes; or the connection was refused already.
    if let Ok(answer) = reloading.await.unwrap() {
        assert!([503, 422].contains(&answer.status), "{answer:?}");
    }
    let code = process.wait(SOON);
    stop.store(true, Ordering::Relaxed);
    writer.join().unwrap();
    assert_eq!((code, process.err.lock().matches("is in force").count()), (0, 1), "{}", process.err.lock());
}

// Kubernetes swaps a whole folder behind the link `..data`; the file's own name is a link through it.
#[tokio::test(flavor = "multi_thread")]
async fn links_are_followed_and_what_is_no_file_is_refused() {
    let one = provider(Arc::new(Semaphore::new(0))).await;
    let home = Home::new();
    write_keys(&home);
    let (folder, key) = (home.path("mounted"), home.path("mounted/provider-key"));
    let configured = |number: usize| {
        let text = numbered(&home, &one.url(), number);
        text.replace(&home.path("provider-key").display().to_string(), &key.display().to_string())
    };
    let publish = |version: &str, number: usize, secret: &str| {
        let data = folder.join(version);
        std::fs::create_dir_all(&data).unwrap();
        std::fs::write(data.join("mainstay.toml"), configured(number)).unwrap();
        std::fs::write(data.join("provider-key"), secret).unwrap();
        let draft = folder.join("..data_tmp");
        std::os::unix::fs::symlink(version, &draft).unwrap();
        std::fs::rename(draft, folder.join("..data")).unwrap();
    };
    publish("..one", 1, "sk-one");
    for name in ["mainstay.toml", "provider-key"] {
        std::os::unix::fs::symlink(Path::new("..data").join(name), folder.join(name)).unwrap();
    }
    let process = Process::start(home.command(&["serve", "--migrate", "--config", "mounted/mainstay.toml"]));
    wait_for_instance(&home, &process).await;
    let (admin, model) = (home.admin(), Caller::new(&home.address("model"), "mk-caller"));
    let sent = async || {
        assert_eq!(model.post(CHAT, chat("small", false)).await.status, 200);
        one.requests().last().unwrap().headers()["authorization"].to_str().unwrap().to_owned()
    };
    assert_eq!(sent().await, "Bearer sk-one");
    let first = admin.get(ADMIN).await.json()["revision"].clone();
    publish("..two", 2, "sk-two");
    let swapped = admin.post("/api/reload", json!({})).await.json();
    assert_ne!(swapped["revision"], first, "{swapped}");
    assert_eq!(sent().await, "Bearer sk-two");
    // The secret alone: same file, same revision, another key.
    publish("..three", 2, "sk-three");
    let rotated = admin.post("/api/reload", json!({})).await.json();
    assert_eq!(rotated["revision"], swapped["revision"]);
    assert_eq!(rotated["secrets"]["changed"].as_array().unwrap().len(), 1, "{rotated}");
    assert_eq!(sent().await, "Bearer sk-three");

    let refused = async |why: &str| {
        let answer = admin.post("/api/reload", json!({})).await;
        let said = answer.json()["error"]["message"].as_str().unwrap_or_default().to_owned();
        assert!(answer.status == 422 && said.contains(why), "{why}: {answer:?}");
        assert_eq!(admin.get(ADMIN).await.json()["revision"], rotated["revision"]);
        assert_eq!(sent().await, "Bearer sk-three");
    };
    std::fs::rename(folder.join("..data"), folder.join("..away")).unwrap();
    refused("cannot read").await;
    std::fs::create_dir_all(folder.join("..data/mainstay.toml")).unwrap();
    refused("it is not a file").await;
    std::fs::remove_dir_all(folder.join("..data")).unwrap();
    std::fs::rename(folder.join("..away"), folder.join("..data")).unwrap();
    use std::os::unix::fs::PermissionsExt;
    let real = folder.join("..three/mainstay.toml");
    std::fs::set_permissions(&real, std::fs::Permissions::from_mode(0o000)).unwrap();
    // Nothing is unreadable to root.
    if std::fs::read(&real).is_err() {
        refused("cannot read").await;
    }
    std::fs::set_permissions(&real, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(admin.post("/api/reload", json!({})).await.status, 200);
}
