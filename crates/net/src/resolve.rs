//! Names to addresses, with a memory: a resolver that fails or freezes does not take peers away that were there a
//! moment ago.
//!
//! Every new connection asks the resolver. When it fails, or says nothing for [`FRESH_WAIT`], the addresses that were
//! good last are used, for up to [`LAST_GOOD_FOR`]; the question stays asked, and its answer is the next one's. A
//! frozen resolver holds one thread for each name and [`MAX_RESOLUTIONS`] in all, however many connections wait.

use std::{
    collections::HashMap,
    io,
    net::IpAddr,
    sync::{Arc, Weak},
    time::Duration,
};

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::{
    sync::{Semaphore, watch},
    time::{Instant, timeout_at},
};

/// How long a connection waits for a fresh answer when it has an old one.
pub const FRESH_WAIT: Duration = Duration::from_secs(1);
/// How old addresses may get without having been confirmed.
pub const LAST_GOOD_FOR: Duration = Duration::from_secs(60 * 60);
/// Questions under way at a time; each holds a thread of the blocking pool (512 of them) until the system gives up.
pub const MAX_RESOLUTIONS: usize = 32;
/// Names that are remembered. Workflows may call any host, so there is no end of them.
pub const MAX_NAMES: usize = 1024;

/// Where addresses come from.
pub trait Resolver: Send + Sync {
    fn resolve(&self, host: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>>;
}

/// The machine's own resolver.
#[derive(Debug, Default)]
pub struct System;

impl Resolver for System {
    fn resolve(&self, host: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let host = host.to_owned();
        Box::pin(async move {
            let found = tokio::net::lookup_host((host, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

type Addresses = Arc<[IpAddr]>;
type Answer = Result<Addresses, Arc<io::Error>>;

/// All names that were asked for.
pub(crate) struct Names {
    resolver: Arc<dyn Resolver>,
    slots: Semaphore,
    known: Mutex<HashMap<String, Name>>,
}

#[derive(Default)]
struct Name {
    good: Option<Good>,
    asking: Option<Asking>,
    /// The last answer was a failure, and somebody was told.
    is_failing: bool,
}

#[derive(Clone)]
struct Good {
    addresses: Addresses,
    at: Instant,
}

/// A question under way; all who want the name wait for the same one.
#[derive(Clone)]
struct Asking {
    since: Instant,
    answer: watch::Receiver<Option<Answer>>,
}

impl Names {
    pub(crate) fn new(resolver: Arc<dyn Resolver>) -> Arc<Names> {
        Arc::new(Names { resolver, slots: Semaphore::new(MAX_RESOLUTIONS), known: Mutex::default() })
    }

    /// The addresses of a host; of an address, itself.
    pub(crate) async fn addresses(self: &Arc<Names>, host: &str) -> Answer {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(Arc::from([address]));
        }
        let (asking, good) = self.ask(host);
        let fresh = match &good {
            None => Some(asking.wait().await),
            Some(_) => timeout_at(asking.since + FRESH_WAIT, asking.wait()).await.ok(),
        };
        match (fresh, good) {
            (Some(Ok(addresses)), _) => Ok(addresses),
            (_, Some(good)) => Ok(good.addresses),
            (Some(Err(error)), None) => Err(error),
            (None, None) => Err(Arc::new(io::ErrorKind::TimedOut.into())),
        }
    }

    /// The question that is under way for this host, asked now if there is none; and what was good last.
    fn ask(self: &Arc<Names>, host: &str) -> (Asking, Option<Good>) {
        let mut known = self.known.lock();
        if !known.contains_key(host) {
            make_room(&mut known);
        }
        let name = known.entry(host.to_owned()).or_default();
        let good = name.good.clone().filter(|good| good.at.elapsed() <= LAST_GOOD_FOR);
        // One whose task is gone without an answer (a resolver that panicked) is asked anew.
        if let Some(asking) = name.asking.as_ref().filter(|asking| asking.answer.has_changed().is_ok()) {
            return (asking.clone(), good);
        }
        let (sender, answer) = watch::channel(None);
        let asking = Asking { since: Instant::now(), answer };
        name.asking = Some(asking.clone());
        tokio::spawn(resolve(Arc::downgrade(self), host.to_owned(), sender));
        (asking, good)
    }

    fn learn(&self, host: &str, answer: &Answer) {
        let mut known = self.known.lock();
        let Some(name) = known.get_mut(host) else { return };
        name.asking = None;
        match answer {
            Ok(addresses) => {
                name.good = Some(Good { addresses: addresses.clone(), at: Instant::now() });
                name.is_failing = false;
            }
            Err(error) => {
                // Once for each outage, not for each connection.
                if !std::mem::replace(&mut name.is_failing, true) && name.good.is_some() {
                    tracing::warn!(host, %error, "cannot resolve {host}; using the addresses that were good last");
                }
            }
        }
    }
}

/// Asks and tells everybody. Runs on when those who asked have left: its answer is for the next.
async fn resolve(names: Weak<Names>, host: String, sender: watch::Sender<Option<Answer>>) {
    let Some(names) = names.upgrade() else { return };
    let answer = match names.slots.acquire().await {
        Ok(_slot) => names.resolver.resolve(&host).await.and_then(|addresses| match addresses.is_empty() {
            true => Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address")),
            false => Ok(Addresses::from(addresses)),
        }),
        Err(_) => Err(io::ErrorKind::Interrupted.into()),
    };
    let answer = answer.map_err(Arc::new);
    names.learn(&host, &answer);
    sender.send_replace(Some(answer));
}

/// Forgets the name that was good longest ago, when there are too many. Names that are being asked for stay.
fn make_room(known: &mut HashMap<String, Name>) {
    if known.len() < MAX_NAMES {
        return;
    }
    let idle = known.iter().filter(|(_, name)| name.asking.is_none());
    let oldest = idle.min_by_key(|(_, name)| name.good.as_ref().map(|good| good.at));
    if let Some(host) = oldest.map(|(host, _)| host.clone()) {
        known.remove(&host);
    }
}

impl Asking {
    async fn wait(&self) -> Answer {
        let mut answer = self.answer.clone();
        match answer.wait_for(Option::is_some).await.map(|answer| (*answer).clone()) {
            Ok(Some(answer)) => answer,
            // The task that asked was ended with its runtime.
            Ok(None) | Err(_) => Err(Arc::new(io::ErrorKind::Interrupted.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Answers as a test says; counts what it was asked and what is under way.
    #[derive(Default)]
    struct Scripted {
        behaviour: Mutex<Behaviour>,
        asked: AtomicUsize,
        under_way: Arc<AtomicUsize>,
    }

    #[derive(Clone, Copy, Default)]
    enum Behaviour {
        #[default]
        Frozen,
        Good([u8; 4]),
        Fails,
        Empty,
        Panics,
        SlowGood(Duration, [u8; 4]),
    }

    struct UnderWay(Arc<AtomicUsize>);

    impl Drop for UnderWay {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }

    impl Resolver for Scripted {
        fn resolve(&self, _host: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
            self.asked.fetch_add(1, Ordering::SeqCst);
            self.under_way.fetch_add(1, Ordering::SeqCst);
            let under_way = UnderWay(self.under_way.clone());
            let behaviour = *self.behaviour.lock();
            Box::pin(async move {
                let _under_way = under_way;
                match behaviour {
                    Behaviour::Frozen => std::future::pending().await,
                    Behaviour::Good(address) => Ok(vec![address.into()]),
                    Behaviour::Fails => Err(io::Error::other("SERVFAIL")),
                    Behaviour::Empty => Ok(Vec::new()),
                    Behaviour::Panics => panic!("on purpose"),
                    Behaviour::SlowGood(wait, address) => {
                        tokio::time::sleep(wait).await;
                        Ok(vec![address.into()])
                    }
                }
            })
        }
    }

    fn names(behaviour: Behaviour) -> (Arc<Scripted>, Arc<Names>) {
        let scripted = Arc::new(Scripted { behaviour: Mutex::new(behaviour), ..Scripted::default() });
        (scripted.clone(), Names::new(scripted))
    }

    fn first(answer: &Answer) -> IpAddr {
        answer.as_ref().unwrap()[0]
    }

    #[tokio::test]
    async fn a_resolver_that_panics_is_asked_again() {
        let (scripted, names) = names(Behaviour::Panics);
        assert!(names.addresses("peer").await.is_err());
        *scripted.behaviour.lock() = Behaviour::Good([192, 0, 2, 1]);
        assert_eq!(first(&names.addresses("peer").await), IpAddr::from([192, 0, 2, 1]));
    }

    #[tokio::test(start_paused = true)]
    async fn last_good_addresses_serve_while_resolving_fails_or_freezes() {
        let (scripted, names) = names(Behaviour::Good([10, 0, 0, 1]));
        assert_eq!(first(&names.addresses("llm").await), IpAddr::from([10, 0, 0, 1]));
        for (behaviour, waited) in [
            (Behaviour::Fails, Duration::ZERO),
            (Behaviour::Empty, Duration::ZERO),
            (Behaviour::SlowGood(FRESH_WAIT / 2, [10, 0, 0, 1]), FRESH_WAIT / 2),
            (Behaviour::Frozen, FRESH_WAIT),
            // Who comes later does not wait for a question that is known to be stuck.
            (Behaviour::Frozen, Duration::ZERO),
        ] {
            *scripted.behaviour.lock() = behaviour;
            let begun = Instant::now();
            assert_eq!(first(&names.addresses("llm").await), IpAddr::from([10, 0, 0, 1]));
            assert_eq!(begun.elapsed(), waited);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_answer_is_the_next_ones() {
        let (scripted, names) = names(Behaviour::Good([10, 0, 0, 1]));
        names.addresses("llm").await.unwrap();
        *scripted.behaviour.lock() = Behaviour::SlowGood(FRESH_WAIT * 5, [10, 0, 0, 2]);
        assert_eq!(first(&names.addresses("llm").await), IpAddr::from([10, 0, 0, 1]));
        tokio::time::sleep(FRESH_WAIT * 5).await;
        *scripted.behaviour.lock() = Behaviour::Fails;
        assert_eq!(first(&names.addresses("llm").await), IpAddr::from([10, 0, 0, 2]));
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_are_not_good_for_ever() {
        let (scripted, names) = names(Behaviour::Good([10, 0, 0, 1]));
        names.addresses("llm").await.unwrap();
        *scripted.behaviour.lock() = Behaviour::Fails;
        tokio::time::advance(LAST_GOOD_FOR).await;
        assert!(names.addresses("llm").await.is_ok());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(names.addresses("llm").await.unwrap_err().to_string(), "SERVFAIL");
        assert!(names.addresses("never-seen").await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_frozen_resolver_holds_one_thread_a_name_and_a_bounded_number_in_all() {
        let (scripted, names) = names(Behaviour::Frozen);
        let waiting: Vec<_> = (0..500)
            .map(|number| {
                let names = names.clone();
                tokio::spawn(async move { names.addresses(&format!("host-{}", number % 50)).await })
            })
            .collect();
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(scripted.under_way.load(Ordering::SeqCst), MAX_RESOLUTIONS);
        assert!(
            waiting.iter().all(|task| !task.is_finished()),
            "without an old answer there is only waiting"
        );
        assert_eq!(first(&names.addresses("192.0.2.7").await), IpAddr::from([192, 0, 2, 7]));
    }

    #[tokio::test(start_paused = true)]
    async fn many_who_want_one_name_ask_once() {
        let (scripted, names) = names(Behaviour::SlowGood(Duration::from_millis(5), [10, 0, 0, 1]));
        let waiting: Vec<_> = (0..100)
            .map(|_| {
                let names = names.clone();
                tokio::spawn(async move { names.addresses("llm").await.is_ok() })
            })
            .collect();
        for task in waiting {
            assert!(task.await.unwrap());
        }
        assert_eq!(scripted.asked.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_memory_is_bounded() {
        let (_scripted, names) = names(Behaviour::Good([10, 0, 0, 1]));
        for number in 0..MAX_NAMES + 100 {
            tokio::time::advance(Duration::from_millis(1)).await;
            names.addresses(&format!("host-{number}")).await.unwrap();
        }
        let known = names.known.lock();
        assert_eq!(known.len(), MAX_NAMES);
        assert!(!known.contains_key("host-0") && known.contains_key(&format!("host-{}", MAX_NAMES + 99)));
    }
}
