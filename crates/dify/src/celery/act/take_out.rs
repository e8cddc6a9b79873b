//! Taking one message out of a queue that no worker can read, into a file first.

use std::{io::Write as _, path::Path};

use mainstay_base::Micros;

use super::{Done, Parts, Refused, Terms, Undo, consumers, purge, step};
use crate::{
    celery::{Observer, Peek, Seen, keys, peek},
    redis::{Link, cmd},
};

pub(super) async fn plan(
    observer: &mut Observer,
    seen: &Seen,
    queue: &str,
    message: &str,
    terms: &Terms,
) -> Result<Parts, Refused> {
    let found = find(observer.link(), queue, message).await?;
    let bytes = found.element.len();
    let length =
        seen.queues.iter().find(|known| known.name == *queue).map_or(1, crate::celery::Queue::length);
    let steps = vec![
        step(
            "LINDEX, from both ends",
            "the broker",
            format!("its {bytes} bytes are in a file in {}", terms.folder()?.display()),
        ),
        step(
            format!("LREM {} -1 (the message)", found.list),
            "the broker",
            format!("it is gone from {queue}; {} others stay", length.saturating_sub(1)),
        ),
    ];
    let mut warnings = vec![found.why];
    if !consumers(seen, queue).is_empty() {
        warnings.push(format!("{queue} is consumed: a worker may take it before it is out"));
    }
    let undo = "mainstay queue act import FILE --yes, with the file that is named afterwards";
    Ok((steps, Undo::By(undo.to_owned()), warnings))
}

pub(super) async fn perform(
    observer: &mut Observer,
    queue: &str,
    message: &str,
    terms: &Terms,
    now: Micros,
) -> Result<Done, Refused> {
    let link = observer.link();
    let found = find(link, queue, message).await?;
    let (path, mut file) = purge::create(terms.folder()?, queue, now)?;
    let failed = |source| Refused::File { path: path.clone(), source };
    purge::write_line(&mut file, queue, found.step, found.element.clone()).map_err(failed)?;
    file.flush().map_err(failed)?;
    file.get_ref().sync_all().map_err(failed)?;
    let mut remove = cmd("LREM");
    remove.arg(link.key(&found.list)).arg(-1).arg(&found.element);
    match link.ask::<u64>(&remove).await {
        Ok(0) => {
            leave_nothing(&path);
            let why = format!("message {message} was taken from {queue} in between");
            Err(Refused::because(why, "nothing was changed; see mainstay queue workers for one that ended"))
        }
        Ok(_) => Ok(Done {
            text: format!("message {message} of {queue} is in {}", path.display()),
            undo: purge::undo(&path),
            said: Vec::new(),
            file: Some(path),
        }),
        // Whether it was done is not known; the file stays for that.
        Err(error) => Err(error.into()),
    }
}

/// A file of a message that is still in its queue would put it there twice.
fn leave_nothing(path: &Path) {
    if let Err(error) = std::fs::remove_file(path) {
        tracing::warn!(%error, "the file of a message that was not taken out stays: {}", path.display());
    }
}

struct Found {
    step: u8,
    /// Without the deployment's prefix.
    list: String,
    element: Vec<u8>,
    /// What is wrong with it.
    why: String,
}

async fn find(link: &mut Link, queue: &str, message: &str) -> Result<Found, Refused> {
    for step in keys::PRIORITY_STEPS {
        let list = keys::list(queue, step);
        let Some(element) = peek::named(link, &link.key(&list), message).await? else { continue };
        return match peek::read(element.len() as u64, &element) {
            Peek::Broken { why, .. } => Ok(Found { step, list, element, why }),
            Peek::Task { id, task, .. } => {
                let why = format!("message {message} is {task} {id}, which workers can read");
                Err(Refused::because(why, format!("mainstay queue act revoke {id} --yes")))
            }
            Peek::TooLarge { bytes } => {
                Err(Refused::because(format!("message {message} has {bytes} bytes"), "purge the whole queue"))
            }
        };
    }
    let why = format!(
        "no message {message} is among the {0} oldest and the {0} newest of {queue}",
        peek::LOOKED_THROUGH
    );
    Err(Refused::because(why, format!("see mainstay queue tasks --queue {}", super::word(queue))))
}
