//! A busy deployment in real time, and then each trouble with the time until it was named. Run by `cargo xtask bench queue`.

use std::{
    str::FromStr,
    time::{Duration, Instant},
};

use mainstay_base::Clock;
use mainstay_control::queue::{Rows, Verdicts};
use mainstay_signal::simulate::Chance;
use serde_json::json;

use crate::world::{INDEXING, LOOK, POLLER, WORKFLOW, World};

const QUEUES: [&str; 5] =
    ["priority_dataset", "workflow_based_app_execution", "schedule_poller", "dataset", "mail"];
/// Places of each of the two workers.
const PLACES: u32 = 4;
/// A burst comes now and then: so much work of all places at once, of which less comes afterwards.
const BURST_S: f64 = 15.0;
/// In each second.
const BURST_CHANCE: f64 = 0.02;

#[expect(clippy::disallowed_methods, reason = "the command says for how long and how much")]
fn option<T: FromStr>(name: &str, default: T) -> T {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[tokio::test]
#[ignore = "takes ten minutes and more: cargo xtask bench queue"]
async fn soak_in_real_time() {
    let (seconds, load) = (option("TEST_SOAK_SECONDS", 600_u64), option("TEST_SOAK_LOAD", 0.75_f64));
    let Some(mut world) = World::start() else { return };
    let Some(one) = world.worker("one", &QUEUES, PLACES).await else { return };
    let Some(mut two) = world.worker("two", &QUEUES, PLACES).await else { return };
    let places = f64::from(2 * PLACES);
    let (mut producer, mut false_verdicts) = (Producer::new(), Vec::new());
    let mut meter = world.meter();
    let (began, mut last, mut minute, mut peak) = (Instant::now(), Instant::now(), 0, 0);
    let (mut busy, mut samples, mut looks) = (0_u64, 0_u32, 0_u32);
    while began.elapsed() < Duration::from_secs(seconds) {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let due_s = load * places * last.elapsed().as_secs_f64();
        last = Instant::now();
        producer.produce(&mut world, due_s, places).await;
        if began.elapsed().as_secs() / 60 >= minute {
            minute += 1;
            world.push("schedule_poller", POLLER, &json!({}), 1).await;
        }
        let seen = meter.observe(Clock::System.now()).await.unwrap();
        let heard = seen.workers.iter().filter_map(|worker| worker.heard.as_ref());
        (busy, samples) = (busy + heard.map(|heard| heard.active).sum::<u64>(), samples + 1);
        if began.elapsed() < LOOK * looks {
            continue;
        }
        looks += 1;
        let verdicts = world.look_now().await;
        peak = peak.max(verdicts.queues.iter().map(|queue| queue.waiting).max().unwrap_or(0));
        false_verdicts.extend(verdicts.findings.into_iter().map(|finding| finding.what));
    }
    let offered = producer.pushed_s / (places * began.elapsed().as_secs_f64());
    let measured = busy as f64 / (places * f64::from(samples.max(1)));
    println!(
        "soak: {seconds} s, {} tasks in {places} places, load {:.0} % wanted, {:.0} % offered, {:.0} % of the places \
         busy by their heartbeats, at most {peak} waiting, {} false verdicts",
        producer.tasks,
        load * 100.0,
        offered * 100.0,
        measured * 100.0,
        false_verdicts.len()
    );
    two.kill();
    println!("killed worker: named after {:.0} s", world.named_after("worker-lost").await);
    one.freeze();
    println!("stopped worker: named after {:.0} s", world.named_after("worker-wedged").await);
    one.thaw();
    world.push("plugin", INDEXING, &json!({}), 1).await;
    println!("queue without a consumer: named after {:.0} s", world.named_after("S18").await);
    world.push("workflow_based_app_execution", WORKFLOW, &json!({ "seconds": 60 }), 10).await;
    println!("saturated queue: named after {:.0} s", world.named_after("S22").await);
    let Some(computes) = world.worker("three", &["mail"], 2).await else { return };
    world.push("mail", INDEXING, &json!({ "computes": 90 }), 1).await;
    println!("worker held whole by one task: named after {:.0} s", world.named_after("worker-wedged").await);
    drop(computes);
    assert!(false_verdicts.is_empty(), "{false_verdicts:?}");
}

/// Sends work of every kind, as much of it as is owed.
struct Producer {
    chance: Chance,
    /// Seconds of work to be sent.
    owed_s: f64,
    /// What a burst sent before it was due.
    ahead_s: f64,
    pushed_s: f64,
    tasks: u64,
}

impl Producer {
    fn new() -> Producer {
        Producer { chance: Chance::new(5), owed_s: 0.0, ahead_s: 0.0, pushed_s: 0.0, tasks: 0 }
    }

    /// Sends what is due after so long.
    async fn produce(&mut self, world: &mut World, due_s: f64, places: f64) {
        // What a burst sent ahead is saved again, and not by silence.
        let saved_s = self.ahead_s.min(due_s / 2.0);
        (self.ahead_s, self.owed_s) = (self.ahead_s - saved_s, self.owed_s + due_s - saved_s);
        if self.ahead_s <= 0.0 && self.chance.draw() < BURST_CHANCE {
            (self.ahead_s, self.owed_s) = (BURST_S * places, self.owed_s + BURST_S * places);
        }
        while self.owed_s > 0.0 {
            let kind = self.chance.draw();
            let (queue, task, seconds) = match kind {
                kind if kind < 0.5 => (QUEUES[1], WORKFLOW, 0.2 + self.chance.draw() * 2.0),
                kind if kind < 0.9 => (QUEUES[0], INDEXING, 0.05 + self.chance.draw() * 0.5),
                kind if kind < 0.97 => (QUEUES[3], INDEXING, 0.1),
                // One that takes long, as a large document does.
                _ => (QUEUES[3], INDEXING, 5.0 + self.chance.draw() * 15.0),
            };
            let about = json!({ "tenant_id": "t", "app_id": "a", "seconds": seconds });
            world.push(queue, task, &about, 1).await;
            (self.owed_s, self.pushed_s, self.tasks) =
                (self.owed_s - seconds, self.pushed_s + seconds, self.tasks + 1);
        }
    }
}

impl World {
    async fn look_now(&mut self) -> Verdicts {
        self.clock = Clock::System.now();
        let seen = self.observer.observe(self.clock).await.unwrap();
        self.judge.step(&seen, &Rows::default())
    }

    /// Seconds of the machine's clock until something was found; a queue gets more meanwhile.
    async fn named_after(&mut self, id: &str) -> f64 {
        let began = Instant::now();
        while !self.look_now().await.findings.iter().any(|finding| finding.id == id) {
            assert!(began.elapsed() < Duration::from_secs(300), "{id} was not found");
            if id == "S22" {
                self.push("workflow_based_app_execution", WORKFLOW, &json!({ "seconds": 60 }), 5).await;
            }
            tokio::time::sleep(LOOK).await;
        }
        began.elapsed().as_secs_f64()
    }
}
