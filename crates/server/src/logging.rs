//! What the process says about itself, on standard error.

use tracing_subscriber::{EnvFilter, fmt};

/// Installs the subscriber. A filter that cannot be read falls back to `info`; configuration checked it before.
pub(crate) fn install(json: bool, filter: &str) {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let subscriber = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Tests that start two of us in one process keep the first one.
    let _ = match json {
        true => subscriber.json().flatten_event(true).try_init(),
        false => subscriber.with_target(true).with_ansi(false).try_init(),
    };
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Write},
        sync::{Arc, Mutex, PoisonError},
    };

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Names and what providers say stand in logs, and logs are read in terminals.
    #[test]
    fn what_is_logged_never_drives_a_terminal() {
        let name = "\u{1b}[2J\u{9b}31m\u{7}two\r\nlines 2026-11-23 ERROR forged";
        for json in [false, true] {
            let kept = Kept::default();
            let writer = kept.clone();
            let subscriber = fmt().with_writer(move || writer.clone());
            let warn = || {
                tracing::warn!(provider = name, "said {name}");
                tracing::warn!(provider = %name, "as it is displayed");
            };
            match json {
                true => {
                    tracing::subscriber::with_default(subscriber.json().flatten_event(true).finish(), warn)
                }
                false => tracing::subscriber::with_default(subscriber.with_ansi(false).finish(), warn),
            }
            let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
            assert!(!text.contains('\u{1b}') && !text.contains('\u{7}'), "{text:?}");
            assert_eq!(text.lines().count(), 2, "{text:?}");
        }
    }
}
