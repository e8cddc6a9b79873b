//! Quiet while half of what is allowed fails, fast when everything fails, by the same settings: what `cargo xtask bench slo`
//! measures at length, and that the measure would notice if it were not so.

#![expect(clippy::unwrap_used, reason = "a watch without figures should fail")]

#[path = "common/traffic.rs"]
mod traffic;
#[path = "common/watch.rs"]
mod watch;

use std::time::Duration;

use mainstay_signal::slo::Settings;

use traffic::SHAPES;
use watch::{outage, quantile, quiet};

const DAYS: u64 = 5;

/// Pages of ours and of the classic rule, over shapes that make the classic one noisy.
fn pages(settings: Settings) -> (usize, usize) {
    let shapes = [
        "clumps of 5, 60/h",
        "retries after 10 s, 60/h",
        "a clump every night, office 300/h",
        "batch at midnight 100/h",
    ];
    let watched = SHAPES
        .iter()
        .filter(|shape| shapes.contains(&shape.name))
        .map(|shape| quiet(*shape, 0.995, DAYS, 77, settings));
    watched.fold((0, 0), |(ours, classic), seen| {
        assert!(seen.counts.share() < 0.005, "{:?}", seen.counts);
        (ours + seen.pages.len(), classic + seen.classic_pages)
    })
}

#[test]
fn it_is_quiet_where_the_classic_rule_is_not() {
    let (ours, classic) = pages(Settings::default());
    assert_eq!(ours, 0);
    assert!(classic >= 5, "{classic}");
}

/// The broken twin: with settings that allow a false page every few minutes the measure sees them.
#[test]
fn settings_that_are_too_eager_are_caught() {
    let (ours, _) = pages(Settings { quiet: Duration::from_secs(120), ..Settings::default() });
    assert!(ours > 0);
}

#[test]
fn a_total_outage_pages_in_time_at_targets_at_which_the_classic_rule_never_fires() {
    for (per_hour, within_s) in [(60.0, 13.0 * 60.0), (300.0, 6.0 * 60.0), (1_200.0, 60.0)] {
        let delays: Vec<_> =
            (0..20).map(|seed| outage(0.9, per_hour, 0.5, 1.0, 3_600.0, seed, Settings::default())).collect();
        let mut ours: Vec<f64> = delays.iter().map(|delay| delay.ours).collect();
        assert!(quantile(&mut ours, 0.9) <= within_s, "{per_hour}/h: {ours:?}");
        assert!(delays.iter().all(|delay| delay.classic >= 3_600.0), "its factor of 14.4 is above 1 / 0.1");
    }
}
