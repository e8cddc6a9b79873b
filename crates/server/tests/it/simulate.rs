//! What the simulator foretells is held against what happens: real processes between callers and providers that fail by
//! plan, once under the policy in force and once under the changed one.

use std::{path::PathBuf, time::Duration};

use futures_util::{StreamExt, stream};
use mainstay_faulty::{Fault, Options, Pace, Plan, Provider};
use mainstay_testkit::wait_until;
use serde_json::{Value, json};

use crate::support::{Caller, Home, Process, READY, SOON, wait_for_instance};

const CALLS: usize = 240;
/// Every fourth call brings tools, which the second provider does not take.
const TOOLS_EVERY: usize = 4;
/// Of the calls that reach the first provider, so many fail: few enough that its breaker stays closed.
const FAILING_SHARE: f64 = 0.2;

/// How far a figure may be off.
struct Within {
    success_share: f64,
    attempts_a_call: f64,
    /// Of the truth.
    cost: f64,
    /// Of all calls.
    served: f64,
}

/// The same figures, counted in another order.
const EXACT: Within = Within { success_share: 1e-9, attempts_a_call: 1e-9, cost: 1e-9, served: 1e-9 };
/// The same calls under the same policy: nearly each attempt is the call's own record.
const SAME: Within = Within { success_share: 0.005, attempts_a_call: 0.02, cost: 0.02, served: 0.02 };
/// Another run, and attempts of which none is the call's own record.
const CHANGED: Within = Within { success_share: 0.06, attempts_a_call: 0.08, cost: 0.10, served: 0.08 };

/// A policy by the order of its targets, and whether another attempt is made.
#[derive(Clone, Copy, Debug)]
struct Policy {
    name: &'static str,
    targets: &'static str,
    max_attempts: u32,
}

const IN_FORCE: Policy = Policy { name: "in force", targets: r#""first/m", "second/m""#, max_attempts: 3 };

#[tokio::test(flavor = "multi_thread")]
async fn what_is_foretold_of_a_policy_is_what_it_brings() {
    let (truth, world) = happened(IN_FORCE).await;
    let same = world.simulate(IN_FORCE);
    let (recorded, baseline) = (Figures::of(&same, "recorded"), Figures::of(&same, "baseline"));
    recorded.is_within(&EXACT, &truth, "the record");
    assert!(truth.attempts_a_call > 1.1 && truth.success_share > 0.9, "{truth:?} shows no detours");
    baseline.is_within(&SAME, &truth, "the policy in force");

    for changed in [
        Policy { name: "second first", targets: r#""second/m", "first/m""#, max_attempts: 3 },
        Policy { name: "first alone, once", targets: r#""first/m""#, max_attempts: 1 },
    ] {
        let foretold = Figures::of(&world.simulate(changed), "changed");
        let (truth, _world) = happened(changed).await;
        println!("{changed:?}\n  foretold {foretold:?}\n  truth    {truth:?}");
        foretold.is_within(&CHANGED, &truth, changed.name);
        // The broken twin: the past itself is no prophecy of a change.
        assert!(!recorded.is_near(&CHANGED, &truth), "{} changes nothing", changed.name);
    }
}

#[derive(Clone, Debug)]
struct Figures {
    calls: u64,
    success_share: f64,
    attempts_a_call: f64,
    cost: f64,
    /// Shares of all calls.
    served: [f64; 2],
}

impl Figures {
    /// One side of a simulation's report.
    fn of(answer: &Value, side: &str) -> Figures {
        let side = &answer["report"][side];
        let whole = &side["whole"];
        let number = |value: &Value| value.as_f64().unwrap_or_else(|| panic!("no number in {side}"));
        let calls = whole["calls"].as_u64().unwrap();
        let served = |name: &str| side["targets"][name]["answers"].as_f64().unwrap_or(0.0) / calls as f64;
        Figures {
            calls,
            success_share: number(&whole["success_share"]),
            attempts_a_call: number(&whole["attempts_per_call"]),
            cost: number(&whole["cost"]),
            served: [served("first/m"), served("second/m")],
        }
    }

    fn is_near(&self, within: &Within, truth: &Figures) -> bool {
        let near = |left: f64, right: f64, bound: f64| (left - right).abs() <= bound;
        self.calls == truth.calls
            && near(self.success_share, truth.success_share, within.success_share)
            && near(self.attempts_a_call, truth.attempts_a_call, within.attempts_a_call)
            && near(self.cost / truth.cost, 1.0, within.cost)
            && self.served.iter().zip(truth.served).all(|(share, truth)| near(*share, truth, within.served))
    }

    fn is_within(&self, within: &Within, truth: &Figures, what: &str) {
        assert!(self.is_near(within, truth), "{what}: said {self:?}, happened {truth:?}");
    }
}

/// A running instance, with what it recorded.
struct World {
    home: Home,
    providers: [Provider; 2],
    _process: Process,
}

impl World {
    fn simulate(&self, policy: Policy) -> Value {
        let file = self.home.write("changed.toml", &configuration(&self.home, &self.providers, policy));
        let ran = self.home.run(&[
            "route",
            "simulate",
            "--policy",
            file.to_str().unwrap(),
            "--since",
            "1h",
            "--json",
        ]);
        assert_eq!(ran.code, 0, "{ran:?}");
        ran.json()
    }
}

/// Puts a policy in force, makes the calls, and tells what came of them: by the callers where they can know it, by the
/// providers for the attempts, and by the records for what it cost.
async fn happened(policy: Policy) -> (Figures, World) {
    let home = Home::new();
    let options = || Options {
        pace: Pace { first: Duration::from_millis(15), ..Pace::default() },
        ..Options::default()
    };
    let providers = [Provider::start(options()).await.unwrap(), Provider::start(options()).await.unwrap()];
    providers[0].set(Plan { share: FAILING_SHARE, ..Plan::from(Fault::Status { status: 500 }) });
    home.write("mainstay.toml", &configuration(&home, &providers, policy));
    assert_eq!(home.run(&["migrate"]).code, 0);
    let mut process = Process::start(home.command(&["serve"]));
    let line = process.line(READY);
    wait_for_instance(&home, &process).await;
    let model = line.split(' ').find_map(|pair| pair.strip_prefix("model=")).unwrap();
    let caller = Caller::new(model, "mk-caller");
    let answered = stream::iter(0..CALLS).map(|number| call(&caller, number)).buffer_unordered(4);
    let answered = answered.filter(|is_well| std::future::ready(*is_well)).count().await;
    let attempts = providers[0].count() + providers[1].count();
    let world = World { home, providers, _process: process };
    let report = wait_until("all calls are stored", SOON, || async {
        let report = world.simulate(policy);
        (report["read"]["calls"] == CALLS).then_some(report)
    })
    .await;
    let recorded = Figures::of(&report, "recorded");
    let truth = Figures {
        calls: CALLS as u64,
        success_share: answered as f64 / CALLS as f64,
        attempts_a_call: attempts as f64 / CALLS as f64,
        ..recorded
    };
    (truth, world)
}

async fn call(caller: &Caller, number: usize) -> bool {
    let content = format!("call {number} [[words:50]]");
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": content}]});
    if number.is_multiple_of(TOOLS_EVERY) {
        body["tools"] =
            json!([{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]);
    }
    caller.post("/v1/chat/completions", body).await.status == 200
}

fn configuration(home: &Home, providers: &[Provider; 2], policy: Policy) -> String {
    let secret = |name: &str, text: &str| -> PathBuf { home.write(name, text) };
    let (caller, key) = (secret("caller-key", "mk-caller"), secret("provider-key", "sk-one"));
    let (key, caller) = (key.display(), caller.display());
    let provider = |name: &str, url: &str, price: f64, tools: bool| {
        format!(
            r#"
[[provider]]
name = "{name}"
base_url = "{url}/v1"
key = "file:{key}"
[[provider.model]]
name = "m"
price_input = 0.0
price_output = {price:.1}
tools = {tools}
"#
        )
    };
    let [first, second] = providers;
    format!(
        r#"
[listeners]
admin = "127.0.0.1:0"
app = "127.0.0.1:0"
model = "127.0.0.1:0"
[log]
filter = "warn"
[store]
url = "sqlite:{}"
[workers]
count = 0
[[model.key]]
name = "tester"
key = "file:{caller}"
[[model.route]]
model = "m"
targets = [{}]
[model.route.policy]
max_attempts = {}
retry.same_target = 0
{}{}"#,
        home.path("records.db").display(),
        policy.targets,
        policy.max_attempts,
        provider("first", &first.url(), 100.0, true),
        provider("second", &second.url(), 300.0, false),
    )
}
