//! What the docs show of the command line is what it takes, and all that there is stands in docs/cli.md.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use clap::{CommandFactory, Parser, error::ErrorKind};

use super::Cli;

/// Where a line stands, and its words.
struct Shown {
    at: String,
    words: Vec<String>,
    /// In a block that is to be copied, not in the middle of a sentence.
    is_whole: bool,
}

fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

fn pages() -> Vec<PathBuf> {
    let docs = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let pages = docs.filter(|path| path.extension().is_some_and(|kind| kind == "md"));
    pages.chain([root().join("README.md")]).collect()
}

/// Lines of blocks, and `mainstay …` inside sentences. Blocks of `text` hold lists of commands, and what was answered.
fn shown(path: &Path) -> Vec<Shown> {
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let text = fs::read_to_string(path).unwrap();
    let mut block = None;
    let mut all = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let at = format!("{name}:{}", number + 1);
        if let Some(language) = line.trim_start().strip_prefix("```") {
            block = if block.is_some() { None } else { Some(language) };
            continue;
        }
        match block {
            Some(language) => {
                let line = line.trim_start().trim_start_matches("$ ");
                let is_text = language == "text";
                if line.starts_with("mainstay ") && !(is_text && is_answer(line)) {
                    all.push(Shown { at, words: words(line), is_whole: !is_text });
                }
            }
            None => {
                let spans = line.split('`').skip(1).step_by(2).filter(|span| span.starts_with("mainstay "));
                all.extend(spans.map(|span| Shown { at: at.clone(), words: words(span), is_whole: false }));
            }
        }
    }
    all
}

/// The words of a line up to what is said about it (two spaces or `#`), or to another form of it (`|`).
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => quoted = !quoted,
            ' ' if !quoted && letters.peek() == Some(&' ') => break,
            ' ' if !quoted => words.push(String::new()),
            '[' | ']' if !quoted => {}
            letter => words.last_mut().unwrap().push(letter),
        }
    }
    let ends = |word: &String| ["#", "|", ">", "…"].contains(&word.as_str());
    let kept = words.iter().position(ends).unwrap_or(words.len());
    words.truncate(kept);
    // Of `all|gateway|control`, one.
    words.iter().map(|word| word.split('|').next().unwrap_or_default().to_owned()).collect()
}

/// `mainstay ready admin=…`: said by Mainstay, not to it.
fn is_answer(line: &str) -> bool {
    let second = line.split_whitespace().nth(1).unwrap_or_default();
    Cli::command().find_subcommand(second).is_none()
}

/// `N`, `SPAN`, `LABEL`: something to be put in.
fn is_placeholder(word: &str) -> bool {
    !word.is_empty() && word.chars().all(|letter| letter.is_ascii_uppercase() || letter == '_')
}

#[test]
fn every_command_line_in_the_docs_is_taken() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for Shown { at, words, is_whole } in pages().iter().flat_map(|path| shown(path)) {
        seen += 1;
        let Err(error) = Cli::try_parse_from(&words) else { continue };
        let is_taken = match error.kind() {
            ErrorKind::DisplayHelp => true,
            ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand => true,
            ErrorKind::MissingRequiredArgument => !is_whole,
            ErrorKind::InvalidValue | ErrorKind::ValueValidation | ErrorKind::InvalidSubcommand => {
                words.iter().any(|word| is_placeholder(word))
            }
            _ => false,
        };
        if !is_taken {
            wrong.push(format!("{at}: {}: {}", words.join(" "), error.kind()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 100, "{seen}: are they still found?");
}

#[test]
fn every_command_stands_in_the_list_of_docs_cli() {
    let text = fs::read_to_string(root().join("docs/cli.md")).unwrap();
    // A line that goes on is set in by more than one that begins.
    let list = text.split("```").nth(1).unwrap().replace("\n    ", " ");
    let mut missing = Vec::new();
    for command in Cli::command().get_subcommands().filter(|command| !command.is_hide_set()) {
        let name = command.get_name();
        let line = list.lines().find(|line| line.split_whitespace().nth(1) == Some(name));
        let Some(line) = line else {
            missing.push(name.to_owned());
            continue;
        };
        let listed: BTreeSet<&str> = line.split([' ', ',']).collect();
        let inner = command.get_subcommands().map(|inner| inner.get_name());
        missing.extend(inner.filter(|inner| !listed.contains(inner)).map(|inner| format!("{name} {inner}")));
    }
    assert!(missing.is_empty(), "not in the list of docs/cli.md: {missing:?}");
}
