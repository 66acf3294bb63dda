//! How the command ends: its exit code, and one readable line for an error.

use std::io::{self, ErrorKind, Write as _};
use std::process::ExitCode;

use mcp_event_store::{ConfigErrors, Error};

/// Wrong usage, input or configuration.
pub(crate) const BAD_INPUT: u8 = 2;

/// Prints to standard output. Whoever stops reading early, such as `head`, ends the command quietly.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    Ok(stdout.flush()?)
}

/// Help and version go to standard output, wrong usage to standard error.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // Nobody is left to tell that printing failed.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let text = error.render().to_string();
    if text.contains("://") {
        // A URL in the wrong place would be repeated whole.
        complain(&redacted(&text));
    } else {
        let _ = error.print();
    }
    ExitCode::from(BAD_INPUT)
}

/// The exit code for `result`, after saying what went wrong.
pub(crate) fn exit_code(result: anyhow::Result<()>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    if is_broken_pipe(&error) {
        return ExitCode::SUCCESS;
    }
    match error.downcast_ref::<ConfigErrors>() {
        Some(errors) => errors.iter().for_each(|error| complain_of(&error.to_string())),
        None => complain_of(&said_once(&error)),
    }
    if is_bad_input(&error) { ExitCode::from(BAD_INPUT) } else { ExitCode::FAILURE }
}

/// One line for an error, whatever is in it: a path or a value may hold line breaks and passwords.
fn complain_of(error: &str) {
    complain(&format!("error: {}\n", one_line(error)));
}

fn complain(text: &str) {
    // Nobody is left to tell that this failed.
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let broken = |error: &io::Error| error.kind() == ErrorKind::BrokenPipe;
    error.downcast_ref::<io::Error>().is_some_and(broken)
}

fn is_bad_input(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.is::<ConfigErrors>()
            || matches!(cause.downcast_ref::<Error>(), Some(Error::InvalidInput { .. }))
    })
}

/// The error and its causes, leaving out what was said already.
fn said_once(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    redacted(&words.join(" ")).replace(char::is_control, "")
}

/// `text` without the user, password and query of any URL in it.
///
/// A password may hold spaces and quotes, where its writer forgot to escape them. So credentials
/// reach to the last `@` of the line, and rather take some words with them than show a password.
fn redacted(text: &str) -> String {
    const SCHEME_END: &str = "://";
    let Some((before, after)) = text.split_once(SCHEME_END) else { return text.to_owned() };
    let next_url = after.find(SCHEME_END).unwrap_or(after.len());
    let line_end = after.find('\n').unwrap_or(after.len());
    let (line, later) = after.split_at(next_url.min(line_end));
    let line = line.rsplit_once('@').map_or(line, |(_credentials, rest)| rest);
    let ends_url = |c: char| c.is_whitespace() || matches!(c, '\'' | '"' | '`' | ')');
    let (url, rest) = line.split_at(line.find(ends_url).unwrap_or(line.len()));
    let host = url.split_once('?').map_or(url, |(host, _query)| host);
    format!("{before}{SCHEME_END}{host}{rest}{}", redacted(later))
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn a_cause_is_said_once_and_on_one_line() {
        let error = anyhow::anyhow!("disk\nfull").context("cannot store: disk\nfull");
        assert_eq!(one_line(&said_once(&error)), "cannot store: disk full");
        let error = Err::<(), _>(io::Error::other("no such file")).context("cannot open a.db");
        assert_eq!(said_once(&error.unwrap_err()), "cannot open a.db: no such file");
    }

    #[test]
    fn urls_lose_credentials_and_query() {
        for (text, shown) in [
            ("'redis://u:p@ss@h:1/0?x=hunter2' is", "'redis://h:1/0' is"),
            ("a://u:p/q?r@h/x b://h?y z", "a://h/x b://h z"),
            ("'a://u:p'q \"r)@h/x' is\nb@c", "'a://h/x' is\nb@c"),
            ("http://127.0.0.1:80/mcp", "http://127.0.0.1:80/mcp"),
            ("none", "none"),
        ] {
            assert_eq!(redacted(text), shown);
        }
    }

    #[test]
    fn input_errors_are_told_from_failures() {
        let input = anyhow::Error::from(Error::invalid("stream_id", "is empty")).context("refused");
        assert!(is_bad_input(&input));
        assert!(!is_bad_input(&Error::Closed.into()));
    }
}
