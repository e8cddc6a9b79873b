//! How often each component is looked at while it is well.

use std::{collections::BTreeMap, time::Duration};

use super::Component;

/// A look that happens more rarely than this is none.
const RAREST: Duration = Duration::from_secs(24 * 60 * 60);

/// What an operator chose, and the defaults for the rest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    chosen: BTreeMap<Component, Duration>,
}

impl Pace {
    /// From the end of one look to the next.
    pub fn every(&self, component: Component) -> Duration {
        self.chosen.get(&component).copied().unwrap_or_else(|| component.every_by_default())
    }

    /// What lies outside of [`Pace::bounds`] is moved to their nearer end.
    pub fn set(&mut self, component: Component, every: Duration) {
        let (least, most) = Pace::bounds(component);
        self.chosen.insert(component, every.clamp(least, most));
    }

    /// No more often than Dify can bear, and no more rarely than it is worth anything.
    pub fn bounds(component: Component) -> (Duration, Duration) {
        let least = match component {
            // It runs a line of code.
            Component::Sandbox => 10,
            // It writes a file and takes it away.
            Component::Storage => 30,
            // It asks for every workspace and looks for its file.
            Component::Keys => 60,
            // A run that Dify records, and whose model may cost something; it may take a quarter of this.
            Component::Canary => 60,
            _ => 5,
        };
        (Duration::from_secs(least), RAREST)
    }
}

impl Component {
    fn every_by_default(self) -> Duration {
        Duration::from_secs(match self {
            Component::Api
            | Component::Database
            | Component::PluginDatabase
            | Component::Redis
            | Component::Broker
            | Component::PluginDaemon => 15,
            Component::Web | Component::SsrfProxy | Component::Vector => 30,
            Component::Sandbox => 60,
            Component::Storage => 300,
            Component::Keys | Component::Canary => 600,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_looked_at_more_often_than_it_bears() {
        for component in Component::ALL {
            let (least, most) = Pace::bounds(component);
            let mut pace = Pace::default();
            assert!((least..=most).contains(&pace.every(component)), "{component:?} by default");
            pace.set(component, Duration::ZERO);
            assert_eq!(pace.every(component), least);
            pace.set(component, Duration::MAX);
            assert_eq!(pace.every(component), most);
        }
    }
}
