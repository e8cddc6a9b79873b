//! Small charts as SVG from numbers. Geometry is in attributes, because the content policy allows no inline style.

use std::fmt::Write;

use crate::{show::Html, tone::Tone};

const LANE_WIDTH: u64 = 1_000;
/// Nothing that happened is narrower than this, or it could not be seen.
const LANE_BAR_MIN: u64 = 4;
const SPARK_HEIGHT: u64 = 44;
const SPARK_STEP: u64 = 10;

/// One bar of a timeline: when it began and how long it took, within the whole.
pub(crate) fn lane(whole_us: u64, start_us: u64, took_us: u64, tone: Tone) -> Html {
    let scale = |value: u64| {
        let share = u128::from(value.min(whole_us)) * u128::from(LANE_WIDTH) / u128::from(whole_us.max(1));
        u64::try_from(share).unwrap_or(LANE_WIDTH)
    };
    let width = scale(took_us).max(LANE_BAR_MIN);
    let x = scale(start_us).min(LANE_WIDTH - width.min(LANE_WIDTH));
    Html::trusted(format!(
        "<svg class=\"lane\" viewBox=\"0 0 {LANE_WIDTH} 16\" preserveAspectRatio=\"none\" aria-hidden=\"true\">\
         <path class=\"rail-line\" d=\"M0 8h{LANE_WIDTH}\"/>\
         <rect class=\"{}\" x=\"{x}\" y=\"3\" width=\"{width}\" height=\"10\"/></svg>",
        tone.class()
    ))
}

/// One step of a sparkline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Step {
    pub(crate) good: u64,
    pub(crate) bad: u64,
}

/// Bars side by side, bad ones at the foot. `words` say the same to who cannot see them.
pub(crate) fn sparkline(steps: &[Step], words: &str) -> Html {
    let most = steps.iter().map(|step| step.good + step.bad).max().unwrap_or(0).max(1);
    let height = |count: u64| if count == 0 { 0 } else { (count * (SPARK_HEIGHT - 2) / most).max(2) };
    let width = SPARK_STEP * steps.len() as u64;
    let mut bars = String::new();
    for (index, step) in steps.iter().enumerate() {
        let x = SPARK_STEP * index as u64 + 1;
        let (bad, good) = (height(step.bad), height(step.good));
        for (class, tall, foot) in [("poor", bad, 0), ("good", good, bad)] {
            if tall > 0 {
                let y = SPARK_HEIGHT.saturating_sub(tall + foot + 1);
                let _ = write!(
                    bars,
                    "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"8\" height=\"{tall}\"/>"
                );
            }
        }
    }
    Html::trusted(format!(
        "<svg class=\"spark\" viewBox=\"0 0 {width} {SPARK_HEIGHT}\" preserveAspectRatio=\"none\" role=\"img\" \
         aria-label=\"{}\">{bars}<path class=\"base\" d=\"M0 {SPARK_HEIGHT}h{width}\"/></svg>",
        crate::show::escape(words)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_stays_inside_its_lane_whatever_the_numbers() {
        for (whole, start, took) in
            [(0, 0, 0), (100, 0, 100), (100, 100, 0), (100, 250, 900), (u64::MAX, u64::MAX, 1)]
        {
            let markup = lane(whole, start, took, Tone::Ok).to_string();
            let number = |name: &str| -> u64 {
                let rest = &markup[markup.find("<rect").unwrap()..];
                let from = rest.find(&format!(" {name}=\"")).unwrap() + name.len() + 3;
                rest[from..].split('"').next().unwrap().parse().unwrap()
            };
            assert!(number("x") + number("width") <= LANE_WIDTH, "{markup}");
            assert!(number("width") >= LANE_BAR_MIN);
        }
    }

    #[test]
    fn a_sparkline_without_runs_is_a_base_line_only() {
        let markup = sparkline(&[Step::default(); 3], "no runs").to_string();
        assert!(!markup.contains("<rect"));
        assert!(markup.contains("aria-label=\"no runs\""));
    }
}
