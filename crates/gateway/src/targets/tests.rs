use mainstay_base::{
    Secret,
    snapshot::{Breaker, Dialect, Provider, ProviderKey, TargetLimits, Timeouts},
    standing::BreakerState,
};

use super::*;

fn provider(name: &str) -> Arc<Provider> {
    Arc::new(Provider {
        name: name.to_owned(),
        dialect: Dialect::OpenAi,
        base_url: "http://127.0.0.1:9/v1".to_owned(),
        keys: vec![ProviderKey::token("k", Secret::new("s"))],
        timeouts: Timeouts::default(),
        first_token: Duration::from_secs(1),
        speaks_responses: true,
    })
}

fn snapshot(generation: u64, concurrency: Option<u32>) -> Arc<Snapshot> {
    let mut snapshot = Snapshot { generation, ..Snapshot::default() };
    snapshot.model.breaker = Breaker { consecutive: 2, ..Breaker::default() };
    let limits = TargetLimits { concurrency, ..TargetLimits::default() };
    let target = ModelTarget { limits, ..ModelTarget::new(provider("p"), "m") };
    let model = LogicalModel::ordered("small", vec![target]);
    snapshot.model.models.insert("small".to_owned(), Arc::new(model));
    Arc::new(snapshot)
}

fn wanted() -> Wanted {
    Wanted { tokens: 1, streams: true, tried_keys: 0, insists: false }
}

fn failed(class: mainstay_base::Class) -> Failed {
    Failed { class, retry_after: Some(Duration::ZERO), is_targets_doing: true, tokens: Some(0) }
}

fn fly(targets: &Targets, snapshot: &Arc<Snapshot>) -> Result<Flight, Turned> {
    let chain = targets.chain(snapshot, "small").unwrap();
    chain.places[0].take(&wanted(), targets.ticks).map(|taken| taken.flight)
}

#[test]
fn state_survives_snapshots_and_takes_new_settings_but_not_old_ones() {
    let targets = Targets::new(&Clock::System);
    let (old, new) = (snapshot(1, None), snapshot(2, Some(1)));
    for _ in 0..2 {
        fly(&targets, &old).unwrap().failed(&failed(mainstay_base::Class::ServerError));
    }
    assert_eq!(targets.standing(&new).targets[0].breaker, BreakerState::Open);
    // A straggler of the old snapshot changes nothing.
    let chain = targets.chain(&old, "small").unwrap();
    let insists = Wanted { insists: true, ..wanted() };
    let held = chain.places[0].take(&insists, targets.ticks).map(|taken| taken.flight);
    assert!(held.is_ok());
    let second = chain.places[0].take(&insists, targets.ticks).map(|_| ());
    assert_eq!(second, Err(Turned::Busy), "the limit of the new one holds");
}

#[test]
fn a_target_of_several_routes_has_the_least_that_any_of_them_gives_it() {
    for _ in 0..8 {
        let targets = Targets::new(&Clock::System);
        let mut open = Snapshot::clone(&snapshot(1, Some(1)));
        let limits = TargetLimits { concurrency: Some(9), ..TargetLimits::default() };
        let loose = ModelTarget { limits, ..ModelTarget::new(provider("p"), "m") };
        for name in ["large", "other"] {
            let model = LogicalModel::ordered(name, vec![loose.clone()]);
            open.model.models.insert(name.to_owned(), Arc::new(model));
        }
        open.model.other_models_to = vec![provider("p")];
        let open = Arc::new(open);
        let _held = fly(&targets, &open).unwrap();
        // A name in no route that leads to the same target lifts no limit either.
        for name in ["large", "other", "m"] {
            let chain = targets.chain(&open, name).unwrap();
            let taken = chain.places[0].take(&wanted(), targets.ticks).map(|_| ());
            assert_eq!(taken, Err(Turned::Busy), "{name}");
        }
    }
}

#[test]
fn a_loser_of_races_is_found_out_when_it_is_silent() {
    let targets = Targets::new(&Clock::System);
    let snapshot = snapshot(1, None);
    fly(&targets, &snapshot).unwrap().first_token();
    let until = std::time::Instant::now() + Duration::from_secs(5);
    let is_open = || targets.standing(&snapshot).targets[0].breaker == BreakerState::Open;
    // A second of silence is the least that is called so.
    while !is_open() && std::time::Instant::now() < until {
        let Ok(mut lost) = fly(&targets, &snapshot) else { break };
        lost.watch().has_lost.store(true, std::sync::atomic::Ordering::Relaxed);
        drop(lost);
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(is_open(), "only races were lost, and nothing was heard");
    assert_eq!(targets.standing(&snapshot).targets[0].failures, 0);
}

#[test]
fn too_many_calls_for_a_provider_without_keys_leave_the_target_alone() {
    let targets = Targets::new(&Clock::System);
    let mut keyless = Snapshot::clone(&snapshot(1, None));
    let provider = Arc::new(Provider { keys: Vec::new(), ..Provider::clone(&provider("p")) });
    let model = LogicalModel::ordered("small", vec![ModelTarget::new(provider, "m")]);
    keyless.model.models.insert("small".to_owned(), Arc::new(model));
    let keyless = Arc::new(keyless);
    let retry_after = Some(Duration::from_secs(30));
    let class = mainstay_base::Class::RateLimited;
    let flight = fly(&targets, &keyless).unwrap();
    flight.failed(&Failed { retry_after, ..failed(class) });
    assert!(matches!(fly(&targets, &keyless), Err(Turned::Limited { wait }) if wait.as_secs() >= 29));
}

#[test]
fn whatever_becomes_of_a_flight_everything_comes_back() {
    let targets = Targets::new(&Clock::System);
    let snapshot = snapshot(1, Some(1));
    let ends: [fn(Flight); 5] = [
        drop,
        |flight| flight.end(Ok(Used { tokens: Some(3) })),
        |flight| flight.end(Err(mainstay_base::Class::Cut)),
        |flight| flight.failed(&failed(mainstay_base::Class::RateLimited)),
        |mut flight| flight.first_token(),
    ];
    for end in ends {
        let chain = targets.chain(&snapshot, "small").unwrap();
        chain.places[0].keys[0].key.wake();
        let flight = fly(&targets, &snapshot).unwrap();
        assert_eq!(fly(&targets, &snapshot).map(|_| ()), Err(Turned::Busy));
        end(flight);
        let standing = targets.standing(&snapshot);
        assert_eq!((standing.targets[0].in_flight, standing.keys[0].in_flight), (0, 0));
    }
}

// A provider that was moved to another address on a bad day stayed behind the breaker of the old one, and the last calls
// with a refused key put the new key to rest.
#[test]
fn another_address_or_secret_begins_anew_and_old_calls_do_not_touch_it() {
    let targets = Targets::new(&Clock::System);
    let old = snapshot(1, None);
    let with = |generation, provider: Provider| {
        let mut changed = Snapshot::clone(&old);
        changed.generation = generation;
        let model = LogicalModel::ordered("small", vec![ModelTarget::new(Arc::new(provider), "m")]);
        changed.model.models.insert("small".to_owned(), Arc::new(model));
        Arc::new(changed)
    };
    let late = [fly(&targets, &old).unwrap(), fly(&targets, &old).unwrap()];
    for _ in 0..2 {
        fly(&targets, &old).unwrap().failed(&failed(mainstay_base::Class::ServerError));
    }
    assert_eq!(targets.standing(&old).targets[0].breaker, BreakerState::Open);

    let base_url = "http://127.0.0.1:10/v1".to_owned();
    let moved = with(2, Provider { base_url, ..Provider::clone(&provider("p")) });
    fly(&targets, &moved).unwrap();
    for flight in late {
        flight.failed(&failed(mainstay_base::Class::ServerError));
    }
    let standing = targets.standing(&moved);
    assert_eq!((standing.targets.len(), standing.targets[0].breaker), (1, BreakerState::Closed));
    assert_eq!(standing.targets[0].failures, 0);

    let late = fly(&targets, &moved).unwrap();
    let moved_provider = moved.model.models["small"].targets[0].provider.clone();
    let keys = vec![ProviderKey::token("k", Secret::new("rotated"))];
    let rotated = with(3, Provider { keys, ..Provider::clone(&moved_provider) });
    fly(&targets, &rotated).unwrap();
    late.failed(&failed(mainstay_base::Class::BadKey));
    assert_eq!(targets.standing(&rotated).keys[0].why, None);
    assert!(fly(&targets, &rotated).is_ok());
}

#[test]
fn what_is_taken_out_is_not_told_of_and_is_found_again_within_its_time() {
    let targets = Targets::new(&Clock::System);
    let (with, without) = (snapshot(1, None), Arc::new(Snapshot { generation: 2, ..Snapshot::default() }));
    for _ in 0..2 {
        fly(&targets, &with).unwrap().failed(&failed(mainstay_base::Class::ServerError));
    }
    let open = fly(&targets, &with).map(|_| ());
    assert!(matches!(open, Err(Turned::BreakerOpen { .. })));
    for _ in 0..3 {
        assert_eq!(targets.standing(&without).targets, []);
    }
    let back = Arc::new(Snapshot { generation: 3, ..Snapshot::clone(&with) });
    assert_eq!(targets.standing(&back).targets[0].breaker, BreakerState::Open);
    let without = Arc::new(Snapshot { generation: 4, ..Snapshot::clone(&without) });
    targets.standing(&without);
    let later = targets.ticks.now() + FORGET_AFTER;
    targets.table.lock().forget(later, FORGET_AFTER);
    let table = targets.table.lock();
    assert_eq!((table.targets.len(), table.keys.len(), table.budgets.len()), (0, 0, 0));
}

#[test]
fn what_nobody_names_any_more_is_forgotten_and_names_of_callers_are_bounded() {
    let targets = Targets::new(&Clock::System);
    let mut open = Snapshot { generation: 1, ..Snapshot::default() };
    open.model.other_models_to = vec![provider("p")];
    let open = Arc::new(open);
    for number in 0..3 * MAX_OTHER_MODELS {
        assert!(targets.chain(&open, &format!("model-{number}")).is_some());
    }
    assert!(targets.table.lock().targets.len() <= MAX_OTHER_MODELS);
    targets.chain(&snapshot(2, None), "small");
    targets.table.lock().forget(targets.ticks.now(), Duration::ZERO);
    assert_eq!(targets.table.lock().targets.len(), 1);
}
