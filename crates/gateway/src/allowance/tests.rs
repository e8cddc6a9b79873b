use std::collections::BTreeMap;

use mainstay_base::snapshot::OnStoreGone;
use proptest::prelude::*;

use super::{
    books::{ASK_AGAIN_AFTER, ToDo},
    *,
};
use crate::ports::BoxFuture;

const HOUR: Duration = Duration::from_secs(3600);

fn budget(limit: i64, when_store_gone: OnStoreGone) -> KeyBudget {
    KeyBudget { limit: Usd(limit), window: HOUR, when_store_gone }
}

/// A keeper in one value, as the store is: what is taken of each window.
#[derive(Default)]
struct Ledger {
    taken: BTreeMap<Micros, i64>,
    /// Forgets what it granted: what the law must not survive.
    forgets: bool,
}

impl Ledger {
    fn take(&mut self, fill: &Fill) -> Usd {
        let taken = self.taken.entry(fill.window).or_default();
        let granted = (fill.limit.0 - *taken).clamp(0, fill.wanted.0);
        *taken += if self.forgets { 0 } else { granted };
        Usd(granted)
    }

    fn give_back(&mut self, given: Vec<(Micros, Usd)>) {
        for (window, unused) in given {
            *self.taken.entry(window).or_default() -= unused.0;
        }
    }
}

/// One gateway of the simulation: its books, its calls in flight, and the question that is on its way.
#[derive(Default)]
struct Gateway {
    books: Books,
    calls: Vec<(Micros, Usd)>,
    asked: Option<Fill>,
}

#[derive(Clone, Debug)]
enum Event {
    Begin {
        gateway: usize,
        worst: i64,
    },
    /// The oldest call ends, having spent this share of its reservation.
    End {
        gateway: usize,
        percent: i64,
    },
    Answer {
        gateway: usize,
        arrives: bool,
    },
    Crash {
        gateway: usize,
    },
    Pass {
        seconds: u64,
    },
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let gateway = 0usize..3;
    let event = prop_oneof![
        4 => (gateway.clone(), 0i64..400).prop_map(|(gateway, worst)| Event::Begin { gateway, worst }),
        3 => (gateway.clone(), 0i64..=100).prop_map(|(gateway, percent)| Event::End { gateway, percent }),
        5 => (gateway.clone(), prop::bool::weighted(0.8))
            .prop_map(|(gateway, arrives)| Event::Answer { gateway, arrives }),
        1 => gateway.prop_map(|gateway| Event::Crash { gateway }),
        1 => (0u64..2000).prop_map(|seconds| Event::Pass { seconds }),
    ];
    prop::collection::vec(event, 1..300)
}

struct World {
    ledger: Ledger,
    gateways: Vec<Gateway>,
    now: Micros,
    budget: KeyBudget,
    spent: BTreeMap<Micros, i64>,
    crashed: bool,
}

impl World {
    fn new(budget: KeyBudget, forgets: bool) -> World {
        let gateways = (0..3).map(|_| Gateway::default()).collect();
        let ledger = Ledger { forgets, ..Ledger::default() };
        World { ledger, gateways, now: Micros(1), budget, spent: BTreeMap::new(), crashed: false }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Begin { gateway, worst } => {
                let at = &mut self.gateways[gateway];
                if let Step::Reserved { window, leased } =
                    at.books.reserve(self.now, &self.budget, Usd(worst))
                {
                    at.calls.push((window, leased));
                }
                self.carry_out(gateway);
            }
            Event::End { gateway, percent } => {
                if self.gateways[gateway].calls.is_empty() {
                    return;
                }
                let (window, leased) = self.gateways[gateway].calls.remove(0);
                // Open keys spend without a lease while the keeper is gone.
                let base = if leased == Usd::ZERO && self.is_open() { 100 } else { leased.0 };
                self.end(gateway, window, leased, Usd(base * percent / 100));
            }
            Event::Answer { gateway, arrives } => self.answer(gateway, arrives),
            Event::Crash { gateway } => {
                self.gateways[gateway] = Gateway::default();
                self.crashed = true;
            }
            Event::Pass { seconds } => self.now = self.now + Duration::from_secs(seconds),
        }
    }

    fn is_open(&self) -> bool {
        self.budget.when_store_gone == OnStoreGone::Open
    }

    fn end(&mut self, gateway: usize, window: Micros, leased: Usd, spent: Usd) {
        *self.spent.entry(window).or_default() += spent.0;
        let limit = self.budget.limit;
        self.gateways[gateway].books.settle(self.now, window, limit, leased, spent);
        self.carry_out(gateway);
    }

    fn answer(&mut self, gateway: usize, arrives: bool) {
        let Some(fill) = self.gateways[gateway].asked.take() else { return };
        let (paid, granted) = if arrives {
            for (window, owed) in &fill.owed {
                *self.ledger.taken.entry(*window).or_default() += owed.0;
            }
            (fill.owed.len(), Ok(self.ledger.take(&fill)))
        } else {
            (0, Err(Gone))
        };
        self.gateways[gateway].books.filled(self.now, fill, paid, granted);
        self.carry_out(gateway);
    }

    fn carry_out(&mut self, gateway: usize) {
        let ToDo { give_back, fill, wake_later: _ } = self.gateways[gateway].books.take_to_do();
        self.ledger.give_back(give_back);
        if let Some(fill) = fill {
            assert!(self.gateways[gateway].asked.replace(fill).is_none(), "two questions at once");
        }
    }

    /// Everything ends well: calls end, the keeper answers, what is left goes back.
    fn wind_up(&mut self) {
        for gateway in 0..self.gateways.len() {
            while !self.gateways[gateway].calls.is_empty() {
                let (window, leased) = self.gateways[gateway].calls.remove(0);
                self.end(gateway, window, leased, leased);
            }
            for _ in 0..3 {
                self.answer(gateway, true);
                self.now = self.now + ASK_AGAIN_AFTER;
                self.gateways[gateway].books.wake(self.now);
                self.carry_out(gateway);
            }
            self.answer(gateway, true);
            let rest = self.gateways[gateway].books.close();
            self.ledger.give_back(rest.into_iter().collect());
        }
    }

    fn spent_in_worst_window(&self) -> i64 {
        self.spent.values().copied().max().unwrap_or(0)
    }
}

fn run(limit: i64, when_store_gone: OnStoreGone, forgets: bool, events: Vec<Event>) -> World {
    let mut world = World::new(budget(limit, when_store_gone), forgets);
    for event in events {
        world.happen(event);
    }
    world.wind_up();
    world
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn gateways_together_never_spend_more_than_the_limit(events in events(), limit in 0i64..2000) {
        let world = run(limit, OnStoreGone::Closed, false, events);
        prop_assert!(world.spent_in_worst_window() <= limit, "{:?} of {limit}", world.spent);
    }

    #[test]
    fn nothing_is_lost_unless_a_gateway_dies(events in events(), limit in 0i64..2000, open: bool) {
        let when = if open { OnStoreGone::Open } else { OnStoreGone::Closed };
        let events: Vec<Event> = events.into_iter().filter(|event| !matches!(event, Event::Crash { .. })).collect();
        let world = run(limit, when, false, events);
        for (window, taken) in &world.ledger.taken {
            let spent = world.spent.get(window).copied().unwrap_or(0);
            prop_assert_eq!(*taken, spent, "window {:?}", window);
        }
    }

    #[test]
    fn a_crash_loses_only_what_was_not_spent(events in events(), limit in 0i64..2000) {
        let world = run(limit, OnStoreGone::Closed, false, events);
        for (window, spent) in &world.spent {
            prop_assert!(world.ledger.taken.get(window).copied().unwrap_or(0) >= *spent);
        }
    }
}

/// The broken twin: with a keeper that forgets what it granted, the first law is seen to fail.
#[test]
fn a_keeper_that_forgets_is_found_out() {
    let spend = |gateway| {
        [
            Event::Begin { gateway, worst: 900 },
            Event::Answer { gateway, arrives: true },
            Event::Begin { gateway, worst: 900 },
            Event::End { gateway, percent: 100 },
        ]
    };
    let events: Vec<Event> = (0..3).flat_map(spend).collect();
    assert_eq!(run(1000, OnStoreGone::Closed, false, events.clone()).spent_in_worst_window(), 900);
    assert_eq!(run(1000, OnStoreGone::Closed, true, events).spent_in_worst_window(), 2700);
}

#[test]
fn a_window_begins_with_the_whole_limit() {
    let mut books = Books::default();
    let hourly = budget(100, OnStoreGone::Closed);
    let reserve = |books: &mut Books, now, worst| granted(books, now, &hourly, worst);
    let late = Micros(0) + Duration::from_secs(3599);
    assert_eq!(reserve(&mut books, late, 100), Micros(0));
    let next = Micros(0) + HOUR;
    assert_eq!(reserve(&mut books, next, 60), next);
    books.take_to_do();
    books.settle(next, Micros(0), hourly.limit, Usd(100), Usd(30));
    assert_eq!(
        books.take_to_do().give_back,
        vec![(Micros(0), Usd(70))],
        "it goes back to where it came from"
    );
}

/// A keeper that a test turns off, holds and asks.
#[derive(Default)]
struct Switch {
    local: Arc<Local>,
    is_gone: std::sync::atomic::AtomicBool,
    is_frozen: std::sync::atomic::AtomicBool,
    panics: std::sync::atomic::AtomicBool,
    asked: AtomicI64,
    booked: AtomicI64,
    back: AtomicI64,
}

impl Allowance for Switch {
    fn take(
        &self,
        key: &str,
        window: Micros,
        limit: Usd,
        wanted: Usd,
    ) -> BoxFuture<'static, Result<Usd, Gone>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        match () {
            () if self.is_frozen.load(Ordering::SeqCst) => Box::pin(std::future::pending()),
            () if self.panics.load(Ordering::SeqCst) => panic!("on purpose"),
            () if self.is_gone.load(Ordering::SeqCst) => Box::pin(std::future::ready(Err(Gone))),
            () => self.local.take(key, window, limit, wanted),
        }
    }

    fn book(&self, key: &str, window: Micros, spent: Usd) -> BoxFuture<'static, Result<(), Gone>> {
        if self.is_gone.load(Ordering::SeqCst) {
            return Box::pin(std::future::ready(Err(Gone)));
        }
        self.booked.fetch_add(spent.0, Ordering::SeqCst);
        self.local.book(key, window, spent)
    }

    fn give_back(&self, key: &str, window: Micros, unused: Usd) {
        self.back.fetch_add(unused.0, Ordering::SeqCst);
        self.local.give_back(key, window, unused);
    }
}

fn purse(keeper: &Arc<Switch>) -> (Arc<Purse>, Clock) {
    let clock = Clock::manual(Micros(5));
    (Arc::new(Purse::new("k", keeper.clone(), clock.clone())), clock)
}

#[tokio::test(start_paused = true)]
async fn a_frozen_keeper_costs_one_call_two_seconds_and_the_next_ones_nothing() {
    for (when, expected) in [(OnStoreGone::Open, None), (OnStoreGone::Closed, Some(Refused::Unreachable))] {
        let keeper = Arc::new(Switch::default());
        keeper.is_frozen.store(true, Ordering::SeqCst);
        let (purse, _clock) = purse(&keeper);
        let budget = budget(1000, when);
        for waited in [STORE_WAIT, Duration::ZERO, Duration::ZERO] {
            let begun = Instant::now();
            assert_eq!(purse.reserve(&budget, Usd(10)).await.err(), expected, "{when:?}");
            assert_eq!(begun.elapsed(), waited, "{when:?}");
        }
        assert_eq!(keeper.asked.load(Ordering::SeqCst), 1, "a frozen keeper is asked one thing at a time");
    }
}

#[tokio::test(start_paused = true)]
async fn a_closed_key_spends_what_it_has_and_no_more_while_the_keeper_is_gone() {
    let keeper = Arc::new(Switch::default());
    let (purse, _clock) = purse(&keeper);
    let budget = budget(1000, OnStoreGone::Closed);
    let first = purse.reserve(&budget, Usd(10)).await.ok().unwrap();
    keeper.is_gone.store(true, Ordering::SeqCst);
    // A slice of 50 was taken besides.
    let rest = purse.reserve(&budget, Usd(50)).await.ok().unwrap();
    assert!(!rest.covers(Usd(51)) && rest.covers(Usd(50)));
    assert_eq!(purse.reserve(&budget, Usd(1)).await.err(), Some(Refused::Unreachable));
    first.settle(Usd(4));
    assert!(purse.reserve(&budget, Usd(6)).await.is_ok(), "what a call did not spend is there for the next");
}

#[tokio::test(start_paused = true)]
async fn an_open_key_goes_on_and_is_written_down_when_the_keeper_is_back() {
    let keeper = Arc::new(Switch::default());
    keeper.is_gone.store(true, Ordering::SeqCst);
    let (purse, clock) = purse(&keeper);
    let budget = budget(100, OnStoreGone::Open);
    for _ in 0..10 {
        let call = purse.reserve(&budget, Usd(50)).await.ok().unwrap();
        assert!(call.covers(Usd(500)));
        call.settle(Usd(30));
    }
    assert_eq!(keeper.booked.load(Ordering::SeqCst), 0);
    keeper.is_gone.store(false, Ordering::SeqCst);
    clock.advance(ASK_AGAIN_AFTER);
    // No further call comes: time alone brings it to the keeper.
    tokio::time::sleep(ASK_AGAIN_AFTER * 3).await;
    assert_eq!(keeper.booked.load(Ordering::SeqCst), 300);
    assert!(matches!(purse.reserve(&budget, Usd(1)).await.err(), Some(Refused::Spent { .. })));
}

#[tokio::test]
async fn what_is_left_goes_back_when_the_gateway_ends() {
    let keeper = Arc::new(Switch::default());
    let (purse, _clock) = purse(&keeper);
    let call = purse.reserve(&budget(1000, OnStoreGone::Closed), Usd(10)).await.ok().unwrap();
    call.note(Usd(3));
    call.note(Usd(4));
    drop(call);
    drop(purse);
    let back = || async { (keeper.back.load(Ordering::SeqCst) == 53).then_some(()) };
    mainstay_testkit::wait_until("60 were taken and 7 spent", Duration::from_secs(5), back).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tasks_of_many_gateways_spend_the_limit_and_no_more() {
    let keeper = Arc::new(Switch::default());
    let budget = budget(1_000_000, OnStoreGone::Closed);
    let spent = Arc::new(AtomicI64::new(0));
    let purses: Vec<_> = (0..4).map(|_| purse(&keeper).0).collect();
    let tasks = (0..64).map(|task| {
        let (purse, spent) = (purses[task % purses.len()].clone(), spent.clone());
        tokio::spawn(async move {
            for call in 0..100_i64 {
                let worst = 1 + (call * 7919 + task as i64 * 104_729) % 1000;
                let Ok(reserved) = purse.reserve(&budget, Usd(worst)).await else { continue };
                spent.fetch_add(worst / 2, Ordering::SeqCst);
                tokio::task::yield_now().await;
                reserved.settle(Usd(worst / 2));
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let spent = spent.load(Ordering::SeqCst);
    assert!(spent <= 1_000_000 && spent > 500_000, "{spent}");
}

fn granted(books: &mut Books, now: Micros, budget: &KeyBudget, worst: i64) -> Micros {
    loop {
        match books.reserve(now, budget, Usd(worst)) {
            Step::Wait => {}
            Step::Reserved { window, .. } => return window,
            Step::Refused(why) => panic!("{why:?}"),
        }
        let fill = books.take_to_do().fill.unwrap();
        let wanted = fill.wanted;
        books.filled(now, fill, 0, Ok(wanted));
    }
}

/// A gateway that kept its hour's window would have counted a day's budget twice: beside those that began with the day.
#[test]
fn another_length_of_the_window_begins_another_window() {
    let mut books = Books::default();
    let hourly = budget(1000, OnStoreGone::Closed);
    let daily = KeyBudget { window: HOUR * 24, ..hourly };
    let now = Micros(0) + HOUR * 5;
    assert_eq!(granted(&mut books, now, &hourly, 100), now);
    books.take_to_do();
    assert_eq!(granted(&mut books, now, &daily, 1), Micros(0));
    assert_eq!(granted(&mut books, now, &hourly, 1), now, "and back again");
}

#[test]
fn a_clock_that_had_run_far_ahead_is_believed_when_it_is_set_right() {
    let mut books = Books::default();
    let hourly = budget(1000, OnStoreGone::Closed);
    let (wrong, right) = (Micros(0) + HOUR * 9000, Micros(0) + HOUR * 5);
    assert_eq!(granted(&mut books, wrong, &hourly, 1), wrong);
    assert_eq!(granted(&mut books, right, &hourly, 1), right, "not the window of next year, for a year");
    let before = Micros(right.0 - 1);
    assert_eq!(granted(&mut books, before, &hourly, 1), right, "a second back turns nothing");
}

#[test]
fn a_clock_that_is_set_back_does_not_make_the_pause_longer() {
    let mut books = Books::default();
    let hourly = budget(1000, OnStoreGone::Closed);
    let now = Micros(0) + Duration::from_secs(1800);
    assert_eq!(books.reserve(now, &hourly, Usd(1)), Step::Wait);
    let fill = books.take_to_do().fill.unwrap();
    books.filled(now, fill, 0, Err(Gone));
    assert_eq!(books.reserve(now, &hourly, Usd(1)), Step::Refused(Refused::Unreachable));
    assert_eq!(books.take_to_do().fill, None, "not within the pause");
    books.reserve(Micros(0) + Duration::from_secs(600), &hourly, Usd(1));
    assert!(books.take_to_do().fill.is_some(), "twenty minutes are no second");
}

#[test]
fn a_limit_that_is_lowered_holds_for_what_was_leased_already() {
    let mut books = Books::default();
    let now = Micros(5);
    granted(&mut books, now, &budget(10_000, OnStoreGone::Closed), 1);
    let lowered = budget(10, OnStoreGone::Closed);
    assert_eq!(books.reserve(now, &lowered, Usd(10)), Step::Wait);
    let to_do = books.take_to_do();
    assert_eq!(to_do.give_back, vec![(Micros(0), Usd(500))]);
    let fill = to_do.fill.unwrap();
    assert_eq!(fill.limit, Usd(10));
    books.filled(now, fill, 0, Ok(Usd(9)));
    assert!(matches!(books.reserve(now, &lowered, Usd(10)), Step::Refused(Refused::Spent { .. })));
}

// A call that began under the larger limit left its rest to others, who were over the lowered one.
#[test]
fn what_a_call_leaves_of_a_larger_limit_goes_back_to_the_keeper() {
    let mut books = Books::default();
    let now = Micros(5);
    let (large, lowered) = (budget(10_000, OnStoreGone::Closed), budget(10, OnStoreGone::Closed));
    granted(&mut books, now, &large, 1);
    assert!(matches!(books.reserve(now, &large, Usd(300)), Step::Reserved { .. }));
    let fill = books.take_to_do().fill.unwrap();
    books.reserve(now, &lowered, Usd(1));
    // What was asked for under the larger limit comes too late.
    let granted = fill.wanted;
    books.take_to_do();
    books.filled(now, fill, 0, Ok(granted));
    assert_eq!(books.take_to_do().give_back, vec![(Micros(0), granted)]);
    books.settle(now, Micros(0), large.limit, Usd(300), Usd(100));
    assert_eq!(books.take_to_do().give_back, vec![(Micros(0), Usd(200))]);
    assert_eq!(books.reserve(now, &lowered, Usd(1)), Step::Wait, "nothing is at hand");
}

/// A call that asks for absurdly much would have taken all that is left, and kept it from the other gateways.
#[tokio::test]
async fn a_call_that_is_too_dear_keeps_nothing_from_others() {
    let keeper = Arc::new(Switch::default());
    let purses = [purse(&keeper).0, purse(&keeper).0];
    let budget = budget(1000, OnStoreGone::Closed);
    for worst in [Usd::MAX, Usd(1001)] {
        let refused = purses[0].reserve(&budget, worst).await.err();
        assert!(matches!(refused, Some(Refused::Spent { .. })), "{refused:?}");
    }
    let first = purses[1].reserve(&budget, Usd(100)).await.ok().unwrap();
    assert!(purses[0].reserve(&budget, Usd(990)).await.is_err(), "no longer there");
    drop(first);
    let second = purses[1].reserve(&budget, Usd(700)).await;
    assert!(second.is_ok(), "what did not suffice went back");
    assert!(!second.ok().unwrap().covers(Usd::MAX));
}

/// Takes its time for each answer.
struct Slow {
    local: Local,
    asked: AtomicI64,
}

impl Allowance for Slow {
    fn take(
        &self,
        key: &str,
        window: Micros,
        limit: Usd,
        wanted: Usd,
    ) -> BoxFuture<'static, Result<Usd, Gone>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let granted = self.local.take(key, window, limit, wanted);
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(100)).await;
            granted.await
        })
    }

    fn book(&self, key: &str, window: Micros, spent: Usd) -> BoxFuture<'static, Result<(), Gone>> {
        self.local.book(key, window, spent)
    }

    fn give_back(&self, key: &str, window: Micros, unused: Usd) {
        self.local.give_back(key, window, unused);
    }
}

/// One answer for each waiting call would have kept the twentieth waiting for 2 s; then the keeper counted as gone, and
/// the rest of an open key's calls passed without money.
#[tokio::test(start_paused = true)]
async fn one_answer_of_a_slow_keeper_serves_all_who_wait() {
    let keeper = Arc::new(Slow { local: Local::default(), asked: AtomicI64::new(0) });
    let purse = Arc::new(Purse::new("k", keeper.clone(), Clock::manual(Micros(5))));
    let budget = budget(10_000, OnStoreGone::Open);
    let begun = Instant::now();
    let calls = (0..60).map(|_| {
        let purse = purse.clone();
        tokio::spawn(async move {
            let call = purse.reserve(&budget, Usd(600)).await;
            call.map(|call| {
                let is_leased = !call.covers(Usd(i64::MAX));
                call.settle(Usd(600));
                is_leased
            })
        })
    });
    let mut served = 0;
    for call in calls.collect::<Vec<_>>() {
        match call.await.unwrap() {
            Ok(is_leased) => {
                assert!(is_leased, "a call passed without money");
                served += 1;
            }
            Err(why) => assert!(matches!(why, Refused::Spent { .. }), "{why:?}"),
        }
    }
    assert_eq!(served, 16, "of 10000, at 600 each");
    assert!(keeper.asked.load(Ordering::SeqCst) <= 4, "{}", keeper.asked.load(Ordering::SeqCst));
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_keeper_in_memory_knows_more_than_the_newest_window() {
    let local = Local::default();
    let take = |window| local.take("k", Micros(window), Usd(100), Usd(80));
    assert_eq!(take(900).await, Ok(Usd(80)), "a clock that runs ahead");
    assert_eq!(take(100).await, Ok(Usd(80)), "and is set right");
    assert_eq!(take(100).await, Ok(Usd(20)));
    local.give_back("k", Micros(900), Usd(80));
    assert_eq!((take(900).await, take(900).await), (Ok(Usd(80)), Ok(Usd(20))));
}

/// Its key would have waited for the answer that never came, with every call and for ever.
#[tokio::test(start_paused = true)]
async fn a_keeper_that_panics_is_asked_again() {
    let keeper = Arc::new(Switch::default());
    keeper.panics.store(true, Ordering::SeqCst);
    let (purse, clock) = purse(&keeper);
    let budget = budget(1000, OnStoreGone::Closed);
    assert_eq!(purse.reserve(&budget, Usd(10)).await.err(), Some(Refused::Unreachable));
    keeper.panics.store(false, Ordering::SeqCst);
    clock.advance(ASK_AGAIN_AFTER);
    purse.reserve(&budget, Usd(10)).await.err();
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert!(purse.reserve(&budget, Usd(10)).await.is_ok());
}
