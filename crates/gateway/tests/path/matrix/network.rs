//! Failures of the way to a provider: nobody listens, no TLS, no such name, connections that are reset.

use mainstay_base::{Class, record::Outcome};
use mainstay_faulty::{Fault, Provider};

use super::{DIALECTS, Route, WHOLE, call, faulty, route, text};
use crate::rig::{Setup, nobody};

/// What is in the way of a provider, and what comes of it. Each says where the provider is to be looked for.
async fn obstacles(first: &Provider, plain: &Provider) -> Vec<(&'static str, String, Class, u16)> {
    let plain = plain.address();
    vec![
        ("nobody listens", nobody().await, Class::Connect, 503),
        ("a plain port where TLS is spoken", format!("https://{plain}"), Class::Tls, 503),
        ("a name that does not resolve", "http://provider.invalid:9".to_owned(), Class::Dns, 503),
        ("connections that are reset", first.url(), Class::Closed, 502),
    ]
}

/// A reset may come before the connection is known to stand.
fn is_of(class: Option<Class>, expected: Class) -> bool {
    class == Some(expected) || expected == Class::Closed && class == Some(Class::Connect)
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_in_the_way_another_target_is_asked_or_the_caller_told() {
    for (dialect, of_dialect) in DIALECTS.iter().enumerate() {
        for streams in [false, true] {
            let (first, second) = (faulty().await, faulty().await);
            first.set(Fault::Reset);
            for (name, base_url, class, status) in obstacles(&first, &second).await {
                let (_, path) = of_dialect();
                let base_url = format!("{base_url}{path}");
                let blocked = || {
                    let known = route("first", &first, dialect, &["a"]);
                    std::sync::Arc::new(Route { base_url: base_url.clone(), ..Route::clone(&known) })
                };
                let mut rig = Setup::model(&[blocked(), route("second", &second, 0, &["a"])]).start().await;
                let got = call(&rig, streams).await;
                let record = rig.only_record().await;
                let cell = format!("{name} dialect {dialect} stream {streams}: {got:?} {record:?}");
                assert_eq!((got.status, text(&got, streams)), (200, (WHOLE.to_owned(), true)), "{cell}");
                assert!(is_of(record.attempts[0].class, class) && record.attempts.len() == 2, "{cell}");
                assert_eq!(record.outcome, Outcome::Ok, "{cell}");
                let mut rig = Setup::model(&[blocked()]).start().await;
                let got = call(&rig, streams).await;
                let record = rig.only_record().await;
                let cell = format!("{name} dialect {dialect} stream {streams}: {got:?} {record:?}");
                assert!(record.attempts.iter().all(|attempt| is_of(attempt.class, class)), "{cell}");
                let is_early = record.attempts.last().unwrap().class != Some(class);
                assert_eq!(got.status, if is_early { 503 } else { status }, "{cell}");
                assert!(!got.text().contains("invalid:9") && !got.text().contains("127.0.0.1"), "{cell}");
            }
        }
    }
}
