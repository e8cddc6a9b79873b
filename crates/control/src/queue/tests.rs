//! Worlds made of looks, five seconds apart, and what is said of them.

use std::{collections::BTreeSet, time::Duration};

use mainstay_base::Micros;
use mainstay_dify::celery::{
    About, Answer, Heard, Peek, Queue, RateLimit, Running, Seen, TenantList, Unacked, UnackedMessage, Worker,
};

use super::*;

const START: Micros = Micros(1_700_000_000_000_000);
const EVERY: Duration = Duration::from_secs(5);

/// A deployment with one worker of two places that consumes `dataset` and `schedule_poller`.
#[derive(Clone)]
struct World {
    now: Micros,
    seen: Seen,
    judge: Judge,
    rows: Rows,
}

impl World {
    fn new() -> World {
        let mut world =
            World { now: START, seen: Seen::default(), judge: Judge::default(), rows: Rows::default() };
        world.seen.workers = vec![worker("w", &["dataset", "schedule_poller"])];
        world.seen.listeners = Some(1);
        world.seen.listening_since = Some(START);
        world
    }

    /// Looks for this long; `change` may change the world before each look. What was said at the last one.
    fn run(&mut self, how_long: Duration, mut change: impl FnMut(&mut World)) -> Verdicts {
        let end = self.now + how_long;
        let mut last = Verdicts::default();
        while self.now < end {
            self.now = self.now + EVERY;
            let now = self.now;
            self.seen.at = now;
            self.seen.asked_at = Some(now);
            for worker in &mut self.seen.workers {
                if worker.silent_since.is_none() {
                    if let Some(answer) = &mut worker.answer {
                        answer.at = now;
                    }
                    if let Some(heard) = &mut worker.heard {
                        heard.at = now;
                    }
                } else {
                    worker.silent_rounds += 1;
                }
            }
            change(self);
            last = self.judge.step(&self.seen, &self.rows);
        }
        last
    }

    fn queue(&mut self, name: &str) -> &mut Queue {
        let place = self.seen.queues.iter().position(|queue| queue.name == name);
        let place = place.unwrap_or_else(|| {
            self.seen.queues.push(Queue { name: name.to_owned(), ..Queue::default() });
            self.seen.queues.len() - 1
        });
        &mut self.seen.queues[place]
    }

    /// So many wait, and the oldest of them is the message of this number.
    fn waits(&mut self, name: &str, count: u64, oldest: u64) {
        let queue = self.queue(name);
        queue.waiting = [count, 0, 0, 0];
        queue.oldest = (oldest..oldest + count.min(4)).map(task).collect();
        queue.newest = Vec::new();
    }

    fn answer(&mut self) -> &mut Answer {
        self.seen.workers[0].answer.get_or_insert_with(Answer::default)
    }

    fn tick(&mut self) {
        let name = "schedule.workflow_schedule_task.poll_workflow_schedules";
        let done = &mut self.answer().done;
        match done.iter_mut().find(|(task, _)| task == name) {
            Some((_, count)) => *count += 1,
            None => done.push((name.to_owned(), 1)),
        }
    }

    fn silence(&mut self) {
        let now = self.now;
        self.seen.workers[0].silent_since = Some(now);
    }
}

fn worker(name: &str, queues: &[&str]) -> Worker {
    let queues = queues.iter().map(|queue| (*queue).to_owned()).collect();
    let answer = Answer {
        at: START,
        pool: Some("gevent".to_owned()),
        concurrency: Some(2),
        prefetch: Some(2),
        queues: Some(queues),
        is_whole: true,
        ..Answer::default()
    };
    let heard = Heard { at: START, every_s: 2.0, active: 0, processed: 0, load: None, pid: None };
    Worker { name: name.to_owned(), heard: Some(heard), answer: Some(answer), ..Worker::default() }
}

fn about() -> About {
    About {
        tenant: Some("t".to_owned()),
        app: Some("a".to_owned()),
        dataset: Some("d".to_owned()),
        ..About::default()
    }
}

fn task(number: u64) -> Peek {
    Peek::Task {
        id: format!("id-{number}"),
        task: "tasks.index".to_owned(),
        about: about(),
        redelivered: false,
        bytes: 900,
    }
}

fn running(number: u64, since: Micros) -> Running {
    Running {
        id: format!("id-{number}"),
        task: "tasks.index".to_owned(),
        queue: Some("dataset".to_owned()),
        started_at: Some(since),
        about: about(),
    }
}

fn broken(name: &str, ends_worker: bool) -> Peek {
    Peek::Broken { name: name.to_owned(), why: "it is not JSON".to_owned(), bytes: 3, ends_worker }
}

fn ids(verdicts: &Verdicts) -> Vec<&str> {
    verdicts.findings.iter().map(|finding| finding.id.as_str()).collect()
}

fn found<'a>(verdicts: &'a Verdicts, id: &str) -> &'a Finding {
    let found = verdicts.findings.iter().find(|finding| finding.id == id);
    found.unwrap_or_else(|| panic!("{id} is not among {:?}", ids(verdicts)))
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Beat ticks each minute.
fn ticking(world: &mut World) {
    if world.now.since(START).as_secs().is_multiple_of(60) {
        world.tick();
    }
}

#[test]
fn a_busy_and_healthy_deployment_gives_no_verdict_in_an_hour() {
    let mut world = World::new();
    let mut chance = mainstay_signal::simulate::Chance::new(3);
    let mut waiting = 0_u64;
    let mut done = 0_u64;
    let mut all = BTreeSet::new();
    world.clone().run(seconds(5), |_| {});
    for _ in 0..720 {
        let verdicts = world.run(EVERY, |world| {
            ticking(world);
            // At 90 % of what it can do: bursts, both places mostly taken, now and then empty.
            waiting += (chance.draw() * 18.0) as u64;
            let taken = waiting.min(9 + (chance.draw() * 2.0) as u64);
            waiting -= taken;
            done += taken;
            let (now, busy) = (world.now, if waiting > 0 { 2 } else { (chance.draw() * 3.0) as u64 });
            world.waits("dataset", waiting, done);
            let answer = world.answer();
            answer.active = (0..busy).map(|number| running(done + number, now)).collect();
            answer.done.retain(|(name, _)| name != "tasks.index");
            answer.done.push(("tasks.index".to_owned(), done));
        });
        all.extend(verdicts.findings.into_iter().map(|finding| (finding.id, finding.what)));
    }
    assert!(all.is_empty(), "{all:?}");
}

#[test]
fn a_queue_without_a_consumer_is_named_with_its_remedy() {
    let mut world = World::new();
    let waits = |world: &mut World| world.waits("workflow_based_app_execution", 7, 0);
    assert!(world.run(seconds(25), waits).findings.is_empty(), "a worker that starts needs a moment");
    let verdicts = world.run(seconds(20), waits);
    let finding = found(&verdicts, "S18");
    assert_eq!(finding.severity, Severity::Critical);
    assert_eq!(finding.subject.queue.as_deref(), Some("workflow_based_app_execution"));
    assert_eq!(finding.subject.app.as_deref(), Some("a"));
    assert!(finding.remedy.contains("add-consumer workflow_based_app_execution"), "{}", finding.remedy);
    // One that Dify itself fills and never reads is a note, and a warning before an upgrade.
    let verdicts = world.run(seconds(60), |world| {
        world.waits("workflow_based_app_execution", 0, 0);
        world.waits("trigger_refresh_publisher", 600, 0);
    });
    assert_eq!(ids(&verdicts), ["trigger-refresh-backlog"]);
    assert_eq!(verdicts.findings[0].severity, Severity::Warning);
}

#[test]
fn without_any_worker_there_is_one_verdict() {
    let mut world = World::new();
    world.seen.workers.clear();
    world.seen.listeners = Some(0);
    let verdicts = world.run(seconds(60), |world| {
        world.waits("dataset", 3, 0);
        world.waits("mail", 2, 10);
    });
    assert_eq!(ids(&verdicts), ["no-worker"]);
}

#[test]
fn a_worker_that_is_stopped_is_told_from_one_that_was_killed_within_a_minute() {
    for (listeners, wanted) in [(1, "worker-wedged"), (0, "worker-lost")] {
        let mut world = World::new();
        let since = world.now;
        world.answer().active = vec![running(1, since)];
        world.run(seconds(60), ticking);
        world.silence();
        world.seen.listeners = Some(listeners);
        assert!(world.run(seconds(10), |_| {}).findings.is_empty(), "one missed answer is nothing");
        let verdicts = world.run(seconds(25), |_| {});
        let finding = found(&verdicts, wanted);
        assert_eq!(finding.subject.worker.as_deref(), Some("w"));
        assert!(finding.cause.contains("id-1"), "{}", finding.cause);
        // One that said goodbye is no finding.
        world.seen.workers[0].said_goodbye = true;
        assert!(world.run(seconds(10), |_| {}).findings.is_empty());
    }
}

#[test]
fn a_worker_with_heartbeats_is_not_wedged_for_a_missed_answer() {
    let mut world = World::new();
    world.silence();
    world.seen.listeners = Some(1);
    let verdicts = world.run(seconds(120), |world| {
        let now = world.now;
        world.seen.workers[0].heard.as_mut().unwrap().at = now;
    });
    assert!(!ids(&verdicts).contains(&"worker-wedged"), "{:?}", ids(&verdicts));
}

#[test]
fn a_worker_that_answers_and_takes_nothing_is_named_within_a_minute() {
    let mut world = World::new();
    let stuck = |world: &mut World| world.waits("dataset", 5, 0);
    world.run(seconds(30), ticking);
    assert!(world.run(seconds(30), stuck).findings.is_empty());
    let verdicts = world.run(seconds(20), stuck);
    let finding = found(&verdicts, "worker-takes-nothing");
    assert!(finding.what.contains("takes nothing from dataset"), "{}", finding.what);
    // The queue moves, however slowly: no verdict.
    let mut moving = World::new();
    let mut oldest = 0;
    let verdicts = moving.run(seconds(300), |world| {
        ticking(world);
        oldest += u64::from(world.now.since(START).as_secs().is_multiple_of(30));
        world.waits("dataset", 5, oldest);
    });
    assert_eq!(ids(&verdicts), [""; 0]);
    // Both places are taken by long tasks: it waits its turn.
    let mut busy = World::new();
    let verdicts = busy.run(seconds(300), |world| {
        ticking(world);
        let active = vec![running(100, START), running(101, START)];
        world.answer().active = active;
        world.waits("dataset", 5, 0);
    });
    assert_eq!(ids(&verdicts), [""; 0]);
}

#[test]
fn a_queue_that_grows_while_every_place_is_taken_is_saturated() {
    let mut world = World::new();
    let (mut waiting, mut done) = (0, 0);
    let mut grow = |world: &mut World| {
        ticking(world);
        (waiting, done) = (waiting + 10, done + 2);
        let now = world.now;
        world.waits("workflow_based_app_execution", waiting, done);
        let answer = world.answer();
        answer.queues.get_or_insert_default().push("workflow_based_app_execution".to_owned());
        answer.active = vec![running(done, now), running(done + 1, now)];
        answer.done = vec![("tasks.index".to_owned(), done)];
    };
    let verdicts = world.run(seconds(180), &mut grow);
    let finding = found(&verdicts, "S22");
    assert!(finding.what.contains("grows by 120.0 a minute"), "{}", finding.what);
    let view = &verdicts.queues[0];
    assert_eq!(view.consumers, ["w"]);
    assert!(view.wait_s.is_some_and(|wait_s| wait_s > 600.0), "{view:?}");
}

#[test]
fn a_task_past_every_limit_and_a_message_that_nobody_holds_are_named() {
    let mut world = World::new();
    let old = START - seconds(7_200);
    world.answer().active = vec![running(1, old)];
    let message = UnackedMessage {
        tag: "tag".to_owned(),
        delivered_at: START - seconds(600),
        queue: Some("dataset".to_owned()),
        eta: None,
        message: task(77),
    };
    let waits_its_time = UnackedMessage {
        eta: Some("2030-01-01".to_owned()),
        tag: "eta".to_owned(),
        message: task(2),
        ..message.clone()
    };
    let reserved = UnackedMessage { message: task(1), tag: "reserved".to_owned(), ..message.clone() };
    world.seen.unacked = Unacked { count: 3, oldest: vec![waits_its_time, reserved, message] };
    world.answer().scheduled = vec![running(2, old)];
    let mut dead = world.clone();
    let verdicts = world.run(seconds(200), ticking);
    assert_eq!(ids(&verdicts), ["task-too-long", "unacked-stuck"]);
    assert!(found(&verdicts, "unacked-stuck").remedy.contains("requeue tag"));
    assert!(found(&verdicts, "task-too-long").remedy.contains("revoke id-1"));
    // While one does not answer, or not all of it, nobody knows who has what.
    world.seen.listeners = Some(2);
    assert!(!ids(&world.run(seconds(5), ticking)).contains(&"unacked-stuck"));
    world.seen.listeners = Some(1);
    assert!(ids(&world.run(seconds(5), ticking)).contains(&"unacked-stuck"));
    world.answer().is_whole = false;
    assert!(!ids(&world.run(seconds(5), ticking)).contains(&"unacked-stuck"));
    // One that waits for its time is stuck as well when nobody has it.
    dead.answer().scheduled.clear();
    let verdicts = dead.run(seconds(200), ticking);
    assert!(found(&verdicts, "unacked-stuck").what.contains("the same for 1 more"));
}

#[test]
fn what_a_rate_limit_holds_back_is_neither_stuck_nor_a_worker_that_takes_nothing() {
    let held = |number| UnackedMessage {
        tag: format!("tag-{number}"),
        delivered_at: START - seconds(600),
        queue: Some("dataset".to_owned()),
        eta: None,
        message: task(number),
    };
    let mut world = World::new();
    world.seen.unacked = Unacked { count: 2, oldest: vec![held(90), held(91)] };
    let limit =
        |task: &str, lifted_at| RateLimit { task: task.to_owned(), rate: "1/h".to_owned(), lifted_at };
    let waits = |world: &mut World| {
        ticking(world);
        world.waits("dataset", 5, 0);
    };
    let limited = |limits: Vec<RateLimit>| {
        let mut limited = world.clone();
        limited.seen.workers[0].limits = limits;
        limited.run(seconds(200), waits)
    };
    let on = limited(vec![limit("tasks.index", None)]);
    assert_eq!(ids(&on), ["rate-limited"]);
    assert!(
        on.findings[0].remedy.contains("rate-limit tasks.index 0 --worker w"),
        "{}",
        on.findings[0].remedy
    );
    let off = limited(vec![limit("tasks.index", Some(START))]);
    assert_eq!(ids(&off), ["rate-limited"]);
    assert!(
        off.findings[0].remedy.starts_with("mainstay queue act shutdown w"),
        "{}",
        off.findings[0].remedy
    );
    // A limit of another task, and one that was off before they were taken, hold nothing of it.
    for other in [limit("tasks.other", None), limit("tasks.index", Some(START - seconds(900)))] {
        assert_eq!(ids(&limited(vec![other])), ["worker-takes-nothing", "unacked-stuck"]);
    }
}

#[test]
fn beat_is_missing_when_it_stops_and_doubled_when_two_run() {
    let mut world = World::new();
    assert!(world.run(seconds(600), ticking).findings.is_empty());
    let mut missing = world.clone();
    assert!(missing.run(seconds(140), |_| {}).findings.is_empty());
    assert_eq!(ids(&missing.run(seconds(60), |_| {})), ["beat-missing"]);
    let verdicts = world.run(seconds(300), |world| {
        ticking(world);
        ticking(world);
    });
    assert_eq!(ids(&verdicts), ["beat-doubled"]);
    // A restarted worker counts from nothing again.
    let mut restarted = World::new();
    restarted.run(seconds(300), ticking);
    restarted.answer().done.clear();
    assert!(restarted.run(seconds(300), ticking).findings.is_empty());
    // Where nobody consumes the poller there is none.
    let mut without = World::new();
    without.answer().queues = Some(vec!["dataset".to_owned()]);
    assert!(without.run(seconds(900), |_| {}).findings.is_empty());
}

#[test]
fn a_workspaces_list_that_stands_is_stale_and_one_that_moves_or_is_worked_on_is_not() {
    let list = |waiting| TenantList {
        kind: "document_indexing".to_owned(),
        tenant: "t".to_owned(),
        waiting,
        flag: true,
        flag_ttl_s: Some(3_000),
    };
    let mut world = World::new();
    world.seen.tenants = vec![list(3)];
    let stale = world.clone().run(seconds(180), ticking);
    assert_eq!(ids(&stale), ["S19"]);
    assert!(stale.findings[0].remedy.contains("redispatch document_indexing t"));
    let mut left = 1_000;
    let moves = world.clone().run(seconds(300), |world| {
        ticking(world);
        left -= 1;
        world.seen.tenants = vec![list(left)];
    });
    assert_eq!(ids(&moves), [""; 0]);
    world.answer().active = vec![running(1, START)];
    assert_eq!(ids(&world.run(seconds(300), ticking)), [""; 0]);
}

#[test]
fn runs_and_documents_that_nobody_works_on_are_named() {
    let mut world = World::new();
    let run = |id: &str, age: u64| RunningRun {
        id: id.to_owned(),
        app: "a".to_owned(),
        tenant: "t".to_owned(),
        started_at: START - seconds(age),
        progress_at: None,
    };
    world.rows.runs = vec![run("old", 9_000), run("young", 30), run("held", 9_000)];
    let mut held = running(5, START);
    held.about.run = Some("held".to_owned());
    world.answer().active = vec![held];
    let documents = |dataset: &str| WaitingDocuments {
        tenant: "other".to_owned(),
        dataset: dataset.to_owned(),
        count: 4,
        oldest_at: START - seconds(3_600),
    };
    // One knowledge base has a task running, the other has none.
    world.rows.documents = vec![documents("d"), documents("lost")];
    let verdicts = world.run(seconds(180), ticking);
    assert_eq!(ids(&verdicts), ["S23", "documents-stuck"]);
    assert!(verdicts.findings[0].what.starts_with("1 runs"), "{}", verdicts.findings[0].what);
    assert!(verdicts.findings[1].what.contains("lost"));
}

#[test]
fn broken_and_large_messages_are_named_and_a_gap_forgets_what_stood() {
    let mut world = World::new();
    let bad = |world: &mut World| {
        world.waits("dataset", 2, 0);
        world.queue("dataset").oldest = vec![broken("thrown-away", false), broken("deadly", true)];
        world.waits("schedule_poller", 1, 0);
        world.queue("schedule_poller").oldest = vec![Peek::TooLarge { bytes: 100_000_000 }];
    };
    let verdicts = world.run(seconds(10), bad);
    assert_eq!(ids(&verdicts), ["broken-message", "large-message"]);
    let finding = &verdicts.findings[0];
    assert_eq!(finding.severity, Severity::Critical);
    assert!(
        finding.remedy.contains("mainstay queue act purge dataset --message deadly --yes"),
        "{finding:?}"
    );
    assert!(finding.what.contains("1 more"), "{finding:?}");
    // Nobody is told to consume a queue that ends its consumers.
    let mut unconsumed = World::new();
    let verdicts = unconsumed.run(seconds(60), |world| {
        world.waits("mail", 1, 0);
        world.queue("mail").oldest = vec![broken("deadly", true)];
    });
    assert_eq!(ids(&verdicts), ["broken-message"]);
    assert!(verdicts.findings[0].what.contains("no worker consumes it"), "{:?}", verdicts.findings[0]);
    let verdicts =
        world.run(seconds(10), |world| world.queue("dataset").oldest = vec![broken("thrown-away", false)]);
    assert_eq!(found(&verdicts, "broken-message").severity, Severity::Warning);
    let mut slept = World::new();
    let waits = |world: &mut World| world.waits("mail", 1, 0);
    slept.run(seconds(25), waits);
    slept.now = slept.now + seconds(3_600);
    assert!(slept.run(seconds(5), waits).findings.is_empty(), "nobody knows what was meanwhile");
}

#[test]
fn the_age_of_the_oldest_is_known_for_messages_that_were_seen_to_come() {
    let mut world = World::new();
    world.run(seconds(20), |world| world.waits("mail", 0, 0));
    let verdicts = world.run(seconds(60), |world| world.waits("mail", 3, 0));
    let view = verdicts.queues.iter().find(|view| view.name == "mail").unwrap();
    assert_eq!((view.oldest_s, view.oldest_is_at_least), (Some(55.0), false));
    let mut unknown = World::new();
    let verdicts = unknown.run(seconds(60), |world| world.waits("mail", 3, 0));
    let view = verdicts.queues.iter().find(|view| view.name == "mail").unwrap();
    assert!(view.oldest_is_at_least, "they were there before anybody looked");
    assert_eq!(view.subjects[0].name, "app a");
}
