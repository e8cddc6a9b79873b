//! How all service levels stand, in five figures, for the overview.

use mainstay_control::slo::view::{List, View};
use serde::Serialize;

/// Counts of service levels, and the one whose budget is the smallest.
#[derive(Default, Serialize)]
pub(crate) struct Promises {
    pub(crate) all: usize,
    /// Somebody is woken for these now, or would be if nothing kept them quiet.
    pub(crate) paging: usize,
    pub(crate) exhausted: usize,
    pub(crate) at_risk: usize,
    /// Their source went silent, or says nonsense. Not meant: nothing was ever seen, or there is no source here to read them of.
    pub(crate) blind: usize,
    pub(crate) least: Option<Least>,
}

#[derive(Serialize)]
pub(crate) struct Least {
    pub(crate) name: String,
    /// Share of the budget that is left; negative when more failed than may.
    pub(crate) left: f64,
}

impl Promises {
    pub(crate) fn of(list: &List) -> Promises {
        let count = |is: fn(&View) -> bool| list.slos.iter().filter(|slo| is(slo)).count();
        Promises {
            all: list.slos.len(),
            paging: count(|slo| !slo.page.is_null()),
            exhausted: count(|slo| slo.state == "exhausted"),
            at_risk: count(|slo| slo.state == "at_risk"),
            blind: count(|slo| slo.state == "blind" && slo.source.is_some()),
            least: list
                .slos
                .iter()
                .filter_map(|slo| Some(Least { name: slo.name.clone(), left: slo.budget_left? }))
                .min_by(|one, other| one.left.total_cmp(&other.left)),
        }
    }
}

impl Least {
    pub(crate) fn percent(&self) -> String {
        format!("{:.0} %", self.left * 100.0)
    }
}

#[cfg(test)]
mod tests {
    use mainstay_control::slo::view::{List, View};
    use serde_json::json;

    use super::Promises;

    #[test]
    fn each_is_counted_where_it_stands_and_the_smallest_budget_is_named() {
        let slos = [
            ("a", "ok", json!(0.9), None),
            ("b", "exhausted", json!(-0.2), Some("outage")),
            ("c", "at_risk", json!(0.2), None),
            ("d", "blind", json!(null), None),
            ("e", "no_data", json!(null), None),
        ];
        let mut slos = slos.map(|(name, state, left, page)| view(name, state, left.as_f64(), page)).to_vec();
        slos.push(View { source: None, ..view("f", "blind", None, None) });
        let list = List { slos, problems: Vec::new() };
        let sums = Promises::of(&list);
        assert_eq!((sums.all, sums.paging, sums.exhausted, sums.at_risk, sums.blind), (6, 1, 1, 1, 1));
        let least = sums.least.expect("two have a budget");
        assert_eq!((least.name.as_str(), least.percent()), ("b", "-20 %".to_owned()));
        assert!(Promises::of(&List { slos: Vec::new(), problems: Vec::new() }).least.is_none());
    }

    fn view(name: &str, state: &str, left: Option<f64>, page: Option<&str>) -> View {
        View {
            name: name.to_owned(),
            document: json!({}),
            revision: 1,
            is_default: true,
            state: state.to_owned(),
            reason: String::new(),
            since: None,
            judged_at: None,
            achieved: None,
            good: 0,
            total: 0,
            budget_left: left,
            offers: &[],
            burns: json!([]),
            page: json!(page),
            ticket: json!(null),
            source: Some("gateway".to_owned()),
            detectors: json!(null),
        }
    }
}
