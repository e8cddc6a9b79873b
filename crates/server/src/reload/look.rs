//! Reads a file and the secrets behind it, once nobody is writing them any more.

use std::{path::Path, sync::Arc, time::Duration};

use tokio::sync::Semaphore;

use super::Refused;
use crate::{
    config::{self, Config, Follow, LoadError},
    failure::chain,
};

/// How long a file must stay as it is before it counts as written, and how often that is looked for.
const SETTLED: Duration = Duration::from_millis(100);
const MAX_LOOKS: usize = 20;
/// A file or a secret on a share that does not answer.
const READ_WAIT: Duration = Duration::from_secs(30);

/// The file and the secrets may be on a slow network share; one that says nothing keeps nobody else from trying later.
pub(super) async fn read(
    path: &Path,
    may_be_empty: bool,
    looks: &Arc<Semaphore>,
) -> Result<(Config, String), LoadError> {
    let name = path.display().to_string();
    let silent = || LoadError::Silent { path: name.clone(), waited: READ_WAIT };
    let look = || {
        let (path, looks) = (path.to_owned(), Arc::clone(looks));
        async move {
            // One look at a time, also when an earlier one hangs: threads that hang do not add up.
            let permit = looks.try_acquire_owned().ok()?;
            let looked = tokio::task::spawn_blocking(move || {
                let _permit = permit;
                Look::at(&path)
            });
            looked.await.ok()
        }
    };
    let settled = tokio::time::timeout(READ_WAIT, settled(path, look)).await;
    let Look { text, config } = settled.ok().flatten().ok_or_else(silent)??;
    if text.trim().is_empty() && !may_be_empty {
        return Err(LoadError::Empty { path: name.clone() });
    }
    Ok((config?, text))
}

/// What a file says at a moment, with the secrets behind it.
struct Look {
    text: String,
    config: Result<Config, LoadError>,
}

impl Look {
    fn at(path: &Path) -> Result<Look, LoadError> {
        let text = config::read_again(path)?;
        let name = path.display().to_string();
        let config = config::parse(&name, &text, &config::environment(), Follow::Yes);
        Ok(Look { text, config })
    }

    /// Whether the file, and every secret that it refers to, is as it was.
    fn is_as(&self, before: &Look) -> bool {
        let is_same = match (&self.config, &before.config) {
            (Ok(now), Ok(before)) => now.secrets == before.secrets,
            (Err(now), Err(before)) => Refused::problems(now) == Refused::problems(before),
            (Ok(_), Err(_)) | (Err(_), Ok(_)) => false,
        };
        is_same && self.text == before.text
    }
}

type Looked = Result<Look, LoadError>;

/// The look that found what the one before it found. `None`: there was no answer.
async fn settled<Looking: Future<Output = Option<Looked>>>(
    path: &Path,
    mut look: impl FnMut() -> Looking,
) -> Option<Looked> {
    let mut before = look().await?;
    for _ in 0..MAX_LOOKS {
        tokio::time::sleep(SETTLED).await;
        let now = look().await?;
        let is_settled = match (&now, &before) {
            (Ok(now), Ok(before)) => now.is_as(before),
            // A file may be missing for a moment while it is replaced.
            (Err(now), Err(before)) => chain(now) == chain(before),
            (Ok(_), Err(_)) | (Err(_), Ok(_)) => false,
        };
        if is_settled {
            return Some(now);
        }
        before = now;
    }
    Some(Err(LoadError::Changing { path: path.display().to_string() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn check(looks: &[Option<&str>], expected: Option<&str>) {
        let mut looks = looks.iter().cycle();
        let look = || {
            let looked = match looks.next().copied().flatten() {
                Some(text) => {
                    Ok(Look { text: text.to_owned(), config: Err(LoadError::Empty { path: "f".to_owned() }) })
                }
                None => Err(LoadError::Empty { path: "f".to_owned() }),
            };
            std::future::ready(Some(looked))
        };
        let read = settled(Path::new("f"), look).await.unwrap();
        assert_eq!(read.ok().map(|look| look.text).as_deref(), expected);
    }

    // Half of a file may be a valid configuration: one without the providers of the other half.
    #[tokio::test]
    async fn a_file_that_is_being_written_is_read_when_it_stays_as_it_is() {
        check(&[Some("whole")], Some("whole")).await;
        check(&[Some(""), Some("ha"), Some("half"), Some("whole"), Some("whole")], Some("whole")).await;
        check(&[Some("one"), Some("other")], None).await;
        check(&[Some("old"), None, Some("new"), Some("new")], Some("new")).await;
        check(&[None], None).await;
    }
}
