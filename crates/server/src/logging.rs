//! What the process says about itself, on standard error. Logs are read in terminals, and names and what providers say
//! stand in them: whatever these hold, an event is one line and drives no terminal.

use std::{
    fmt::Write as _,
    io::{self, Write},
};

use tracing::Subscriber;
use tracing_subscriber::{EnvFilter, fmt::MakeWriter, util::SubscriberInitExt};

use crate::output::drives_terminal;

/// Installs the subscriber. A filter that cannot be read falls back to `info`; configuration checked it before.
pub(crate) fn install(json: bool, filter: &str) {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    // Tests that start two of us in one process keep the first one.
    let _ = subscriber(json, filter, io::stderr).try_init();
}

fn subscriber<W>(json: bool, filter: EnvFilter, writer: W) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(Plain(writer));
    match json {
        true => Box::new(subscriber.json().flatten_event(true).finish()),
        false => Box::new(subscriber.with_target(true).with_ansi(false).finish()),
    }
}

/// Writes events without what drives a terminal or parts lines: that is escaped as in JSON, `\u001b`.
struct Plain<W>(W);

impl<'a, W: MakeWriter<'a>> MakeWriter<'a> for Plain<W> {
    type Writer = Plain<W::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        Plain(self.0.make_writer())
    }

    fn make_writer_for(&'a self, meta: &tracing::Metadata<'_>) -> Self::Writer {
        Plain(self.0.make_writer_for(meta))
    }
}

impl<W: Write> Write for Plain<W> {
    /// The subscriber writes an event whole, with its line's end.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let line = text.strip_suffix('\n').unwrap_or(&text);
        if line.chars().any(drives_terminal) {
            self.0.write_all(escaped(line).as_bytes())?;
        } else {
            self.0.write_all(event)?;
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn escaped(line: &str) -> String {
    let mut safe = String::with_capacity(line.len() + 32);
    for letter in line.chars() {
        match letter {
            letter if drives_terminal(letter) => {
                let _ = write!(safe, "\\u{:04x}", u32::from(letter));
            }
            letter => safe.push(letter),
        }
    }
    safe.push('\n');
    safe
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

    /// The same for a program; what is debugged is written as Rust writes it.
    fn has_provider(line: &str, name: &str) -> bool {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        event["provider"] == name || event["provider"] == format!("{name:?}")
    }

    #[test]
    fn what_is_logged_never_drives_a_terminal() {
        let name = "\u{1b}[2J\u{9b}31m\u{7}two\r\nlines 2026-11-23 ERROR forged";
        for json in [false, true] {
            let kept = Kept::default();
            let writer = kept.clone();
            let written = subscriber(json, EnvFilter::new("warn"), move || writer.clone());
            tracing::subscriber::with_default(written, || {
                tracing::warn!(provider = name, "said {name}");
                tracing::warn!(provider = %name, "as it is displayed");
                tracing::warn!(provider = ?name, "as it is debugged");
            });
            let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
            assert!(!text.lines().any(|line| line.chars().any(drives_terminal)), "{text:?}");
            assert_eq!(text.lines().count(), 3, "{text:?}");
            assert!(!json || text.lines().all(|line| has_provider(line, name)), "{text:?}");
        }
    }
}
