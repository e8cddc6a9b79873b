//! Emptying a queue into a file, and back.
//!
//! The list is renamed first, in one step, so that no consumer takes from it while it is written out and new messages go
//! into a fresh list. It is deleted only when every message is in the file and the file is on the disk; until then,
//! whatever happens, it lies under its other name and a second purge of the same queue takes it along.

use std::{
    fs::File,
    io::{BufRead, BufReader, BufWriter, Write},
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use mainstay_base::Micros;
use serde::{Deserialize, Serialize};

use super::{Action, Done, Parts, Plan, Refused, Terms, Undo, consumers, step};
use crate::{
    celery::{Observer, Seen, keys, peek, script},
    redis::{Link, Pipeline, cmd},
};

/// The end of the name of a file whose messages are in their queues again.
const PUT_BACK: &str = "put-back";
/// Messages measured at once, and bytes fetched at once.
const MEASURED: i64 = 200;
const FETCHED_BYTES: u64 = 4 * 1024 * 1024;
/// A larger message is not written out: it and its list stay.
const MAX_WRITTEN_BYTES: u64 = 256 * 1024 * 1024;
/// Messages pushed at once when a file is put back.
const PUSHED: usize = 200;
/// A line of a file is no longer than a message in base64.
const MAX_LINE_BYTES: usize = 400 * 1024 * 1024;

/// KEYS: a list. ARGV: first and last index. Answers the sizes.
const SIZES: &str = "
local sizes = {}
for i, element in ipairs(redis.call('LRANGE', KEYS[1], ARGV[1], ARGV[2])) do sizes[i] = #element end
return sizes";

/// One message, in the order of the list: the newest first.
#[derive(Serialize, Deserialize)]
struct Line {
    queue: String,
    step: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    /// For one that is no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
}

pub(super) fn plan(seen: &Seen, action: &Action, terms: &Terms) -> Result<Parts, Refused> {
    match action {
        Action::Purge { queue, .. } => {
            let found = seen.queues.iter().find(|known| known.name == *queue);
            let length = found.map_or(0, crate::celery::Queue::length);
            if length == 0 {
                return Err(Refused::because(format!("{queue} is empty"), "nothing is to do"));
            }
            let mut warnings = Vec::new();
            if !consumers(seen, queue).is_empty() {
                warnings.push(format!("{queue} is consumed: what waits would have been done"));
            }
            let folder = terms.folder()?.display();
            let steps = vec![
                step(
                    format!("RENAME {queue} {}", held_key(queue, 0)),
                    "the broker",
                    "nobody takes from it any more",
                ),
                step(
                    "LRANGE, in pieces",
                    "the broker",
                    format!("what waits ({length}) is in a file in {folder}"),
                ),
                step(format!("UNLINK {}", held_key(queue, 0)), "the broker", "they are gone from the broker"),
            ];
            let undo = Undo::By(
                "mainstay queue act import FILE --yes, with the file that is named afterwards".to_owned(),
            );
            Ok((steps, undo, warnings))
        }
        Action::Import { file } => {
            let path = inside(terms.folder()?, file)?;
            not_put_back(&path, terms)?;
            let (count, deadly) = count_lines(&path)?;
            let warnings = if deadly == 0 {
                Vec::new()
            } else {
                vec![format!("{deadly} of them end the worker that takes them, with every task that it runs")]
            };
            let steps = vec![step(
                "RPUSH",
                "the broker",
                format!("{count} messages are at the tail of their queues, taken next"),
            )];
            let why = "consumers begin with them at once; purge again what is still there";
            Ok((steps, Undo::Irreversible(why.to_owned()), warnings))
        }
        _ => Err(Refused::because("this is no purge", "")),
    }
}

pub(super) async fn perform(
    observer: &mut Observer,
    plan: &Plan,
    terms: &Terms,
    now: Micros,
) -> Result<Done, Refused> {
    match &plan.action {
        Action::Purge { queue, .. } => {
            let (count, file) = purge(observer.link(), queue, terms.folder()?, now).await?;
            let undo = undo(&file);
            let text = format!("{count} messages of {queue} are in {}", file.display());
            Ok(Done { text, undo, said: Vec::new(), file: Some(file) })
        }
        Action::Import { file } => {
            let path = put_back(inside(terms.folder()?, file)?)?;
            let count = import(observer.link(), &path).await?;
            let text = format!("{count} messages are back in their queues");
            Ok(Done { text, undo: plan.undo.clone(), said: Vec::new(), file: Some(path) })
        }
        _ => Err(Refused::because("this is no purge", "")),
    }
}

async fn purge(link: &mut Link, queue: &str, folder: &Path, now: Micros) -> Result<(u64, PathBuf), Refused> {
    let (path, mut file) = create(folder, queue, now)?;
    let failed = |source| Refused::File { path: path.clone(), source };
    let (mut count, mut written) = (0, Vec::new());
    for step in keys::PRIORITY_STEPS {
        let (list, held) = (link.key(&keys::list(queue, step)), link.key(&held_key(queue, step)));
        // What an earlier purge could not finish is taken first.
        let exists: bool = link.ask(cmd("EXISTS").arg(&held)).await?;
        if !exists {
            let waiting: u64 = link.ask(cmd("LLEN").arg(&list)).await?;
            if waiting == 0 {
                continue;
            }
            link.ask::<crate::redis::Value>(cmd("RENAMENX").arg(&list).arg(&held)).await?;
        }
        count += write_out(link, &held, queue, step, &mut file, &path).await?;
        written.push(held);
    }
    file.flush().map_err(failed)?;
    file.get_ref().sync_all().map_err(failed)?;
    let mut delete = Pipeline::new();
    for held in &written {
        delete.cmd("UNLINK").arg(held);
    }
    link.ask_all(&mut delete).await?;
    Ok((count, path))
}

/// The command that puts back what is in a file.
pub(super) fn undo(file: &Path) -> Undo {
    let name = file.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    Undo::By(format!("mainstay queue act import {name} --yes"))
}

/// A new file for messages of a queue; private, as is its folder: messages may hold what users wrote.
pub(super) fn create(folder: &Path, queue: &str, now: Micros) -> Result<(PathBuf, BufWriter<File>), Refused> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder).map_err(|source| Refused::File { path: folder.to_owned(), source })?;
    let safe: String =
        queue.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '_' }).collect();
    let path = folder.join(format!("{safe}-{}.jsonl", now.0));
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(&path) {
        Ok(file) => Ok((path, BufWriter::new(file))),
        Err(source) => Err(Refused::File { path, source }),
    }
}

async fn write_out(
    link: &mut Link,
    held: &str,
    queue: &str,
    step: u8,
    file: &mut impl Write,
    path: &Path,
) -> Result<u64, Refused> {
    let failed = |source| Refused::File { path: path.to_owned(), source };
    let (mut first, mut count) = (0_i64, 0_u64);
    loop {
        let mut sizes = script::eval(SIZES, held);
        sizes.arg(first).arg(first + MEASURED - 1);
        let sizes: Vec<u64> = link.ask(&sizes).await?;
        if sizes.is_empty() {
            return Ok(count);
        }
        if let Some(bytes) = sizes.iter().find(|bytes| **bytes > MAX_WRITTEN_BYTES) {
            let why =
                format!("a message has {bytes} bytes; more than {MAX_WRITTEN_BYTES} are not written out");
            return Err(Refused::because(why, format!("everything lies in {held}; delete that by hand")));
        }
        let mut sizes = sizes.into_iter().peekable();
        while let Some(mut bytes) = sizes.next() {
            let mut many = 1;
            while let Some(next) = sizes.next_if(|next| bytes + next <= FETCHED_BYTES) {
                bytes += next;
                many += 1;
            }
            let mut range = cmd("LRANGE");
            range.arg(held).arg(first).arg(first + many - 1);
            for element in link.ask::<Vec<Vec<u8>>>(&range).await? {
                write_line(file, queue, step, element).map_err(failed)?;
                count += 1;
            }
            first += many;
        }
    }
}

/// One message, as an import reads it.
pub(super) fn write_line(
    file: &mut impl Write,
    queue: &str,
    step: u8,
    element: Vec<u8>,
) -> std::io::Result<()> {
    let (text, base64) = match String::from_utf8(element) {
        Ok(text) => (Some(text), None),
        Err(bytes) => (None, Some(STANDARD.encode(bytes.into_bytes()))),
    };
    serde_json::to_writer(&mut *file, &Line { queue: queue.to_owned(), step, text, base64 })?;
    file.write_all(b"\n")
}

async fn import(link: &mut Link, path: &Path) -> Result<u64, Refused> {
    let mut pushes = Pipeline::new();
    let (mut count, mut bytes) = (0, 0);
    for line in lines(path)? {
        let (list, element) = line?;
        bytes += element.len() as u64;
        // In the order of the file, each behind the last: what was the oldest is at the tail again.
        pushes.cmd("RPUSH").arg(link.key(&list)).arg(element);
        count += 1;
        if pushes.len() >= PUSHED || bytes >= FETCHED_BYTES {
            push(link, &mut pushes).await?;
            bytes = 0;
        }
    }
    push(link, &mut pushes).await?;
    Ok(count)
}

async fn push(link: &mut Link, pushes: &mut Pipeline) -> Result<(), Refused> {
    for answer in link.ask_all(pushes).await? {
        answer?;
    }
    *pushes = Pipeline::new();
    Ok(())
}

/// The list and the element of each line. The whole file is read once before, so that a broken one changes nothing.
fn lines(path: &Path) -> Result<impl Iterator<Item = Result<(String, Vec<u8>), Refused>>, Refused> {
    let path = path.to_owned();
    let unread = |path: &Path, source: &std::io::Error| {
        let why = format!("cannot read {}: {source}", path.display());
        Refused::because(why, "give the name that the purge told; it is looked for in the folder of purges")
    };
    let file = File::open(&path).map_err(|source| unread(&path, &source))?;
    Ok(BufReader::new(file).lines().enumerate().map(move |(number, line)| {
        let line = line.map_err(|source| unread(&path, &source))?;
        let broken = |why: String| {
            Refused::because(
                format!("line {} of {} is no message: {why}", number + 1, path.display()),
                "nothing was put back",
            )
        };
        if line.len() > MAX_LINE_BYTES {
            return Err(broken("it is too long".to_owned()));
        }
        let Line { queue, step, text, base64 } =
            serde_json::from_str(&line).map_err(|error| broken(error.to_string()))?;
        let element = match (text, base64) {
            (Some(text), None) => text.into_bytes(),
            (None, Some(base64)) => STANDARD.decode(base64).map_err(|error| broken(error.to_string()))?,
            _ => return Err(broken("it has neither text nor base64, or both".to_owned())),
        };
        if queue.is_empty() || !keys::PRIORITY_STEPS.contains(&step) {
            return Err(broken("it names no queue".to_owned()));
        }
        Ok((keys::list(&queue, step), element))
    }))
}

/// How many there are, and how many of them end a worker.
fn count_lines(path: &Path) -> Result<(u64, u64), Refused> {
    lines(path)?.try_fold((0, 0), |(count, deadly), line| {
        let (_, element) = line?;
        Ok((count + 1, deadly + u64::from(peek::read(element.len() as u64, &element).ends_worker())))
    })
}

/// Only files of the folder that purges write to are put back.
fn inside(folder: &Path, file: &Path) -> Result<PathBuf, Refused> {
    match file.file_name() {
        Some(name) => Ok(folder.join(name)),
        None => Err(Refused::because(
            format!("{} is no file", file.display()),
            "give the name that the purge told",
        )),
    }
}

/// A file is put back once: twice, and every task in it runs twice.
fn not_put_back(path: &Path, terms: &Terms) -> Result<(), Refused> {
    let name = |path: &Path| path.file_name().unwrap_or_default().display().to_string();
    if path.extension().is_some_and(|extension| extension == PUT_BACK) && !terms.force {
        let why = format!("the messages of {} were put back before", name(path));
        return Err(Refused::unless_forced(why, "see whether they are in their queues"));
    }
    let after = path.with_added_extension(PUT_BACK);
    if !path.exists() && after.exists() {
        let why = format!("the messages of {} were put back before", name(path));
        let next = format!("see whether they are in their queues; the file is {} now", name(&after));
        return Err(Refused::because(why, next));
    }
    Ok(())
}

/// Renames the file before its first message is put back, so that nobody else puts it back too. Gives its new name.
fn put_back(path: PathBuf) -> Result<PathBuf, Refused> {
    if path.extension().is_some_and(|extension| extension == PUT_BACK) {
        return Ok(path);
    }
    let after = path.with_added_extension(PUT_BACK);
    std::fs::rename(&path, &after).map_err(|source| Refused::File { path, source })?;
    Ok(after)
}

fn held_key(queue: &str, step: u8) -> String {
    format!("mainstay:purge:{}", keys::list(queue, step))
}
