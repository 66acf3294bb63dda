//! The first source: a TOML file. Everything that is wrong in it is reported, with its place.

use std::collections::HashSet;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::builder::Findings;
use super::environment::shown;
use super::error::{ConfigError, Origin, Position};
use super::field::{Field, Kind, Registry, Value};
use super::suggest::did_you_mean;
use super::value::{check, parse_digits, parse_text, remedy};

/// No configuration is longer; whatever is was named by mistake.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// A file, or the text of one.
#[derive(Clone, Debug)]
pub(super) enum File {
    Path(PathBuf),
    Text { name: String, text: String },
}

pub(super) fn read(file: &File, registry: &Registry, findings: &mut Findings) {
    match file {
        File::Text { name, text } => Reader { name, text, registry }.read(findings),
        File::Path(path) => {
            let name = path.display().to_string();
            match text_of(path) {
                Ok(text) => Reader { name: &name, text: &text, registry }.read(findings),
                Err(reason) => findings.refuse(Origin::File { name, position: None }, None, reason),
            }
        }
    }
}

fn text_of(path: &Path) -> Result<String, String> {
    let unreadable = |error| format!("cannot be read: {error}; check the path and its permissions");
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err("is larger than 1 MiB, which no configuration is; check the path".to_owned());
    }
    String::from_utf8(bytes).map_err(|_| "is not UTF-8 text; check the path".to_owned())
}

/// Reads one file's text.
struct Reader<'a> {
    name: &'a str,
    text: &'a str,
    registry: &'a Registry,
}

impl Reader<'_> {
    fn read(&self, findings: &mut Findings) {
        let (document, syntax_errors) = DeTable::parse_recoverable(self.text);
        let first = findings.errors.len();
        for error in &syntax_errors {
            let offset = error.span().map_or(self.text.len(), |span| span.start);
            let reason = format!("{}; correct the TOML", error.message());
            findings.refuse(self.origin(offset), self.key_on_line_of(offset), reason);
        }
        self.read_top(document.get_ref(), findings);
        drop_echoes(&mut findings.errors, first, syntax_errors.len());
    }

    /// The field that a line with a syntax error seems to be about.
    fn key_on_line_of(&self, offset: usize) -> Option<String> {
        let before = self.text.get(..offset)?;
        let line = self.text.get(before.rfind('\n').map_or(0, |newline| newline + 1)..)?;
        let (key, _) = line.lines().next()?.split_once('=')?;
        let names = |field: &&Field| [field.key, &field.path()].contains(&key.trim());
        self.registry.fields().find(names).map(Field::path)
    }

    fn origin(&self, offset: usize) -> Origin {
        let position = Some(Position::of(self.text, offset));
        Origin::File { name: self.name.to_owned(), position }
    }

    fn read_top(&self, document: &DeTable<'_>, findings: &mut Findings) {
        for (key, value) in document {
            let name: &str = key.get_ref();
            if let Some(section) = self.registry.sections().find(|section| *section == name) {
                self.read_section(section, value, findings);
            } else {
                self.read_entry("", key, value, findings);
            }
        }
    }

    fn read_section(
        &self,
        section: &'static str,
        value: &Spanned<DeValue<'_>>,
        findings: &mut Findings,
    ) {
        let Some(table) = value.get_ref().as_table() else {
            let reason = format!("is a table; write [{section}] on a line of its own");
            findings.refuse(self.origin(value.span().start), section.to_owned(), reason);
            return;
        };
        for (key, value) in table {
            self.read_entry(section, key, value, findings);
        }
    }

    fn read_entry(
        &self,
        section: &'static str,
        key: &Spanned<std::borrow::Cow<'_, str>>,
        value: &Spanned<DeValue<'_>>,
        findings: &mut Findings,
    ) {
        let name: &str = key.get_ref();
        let known = |field: &&Field| field.section == section && field.key == name;
        if let Some(field) = self.registry.fields().find(known) {
            findings.take(
                field,
                self.origin(value.span().start),
                parse_toml(field, value.get_ref()),
            );
        } else {
            let reason = self.why_unknown(section, name);
            let path =
                if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") };
            findings.refuse(self.origin(key.span().start), path, reason);
        }
    }

    fn why_unknown(&self, section: &str, name: &str) -> String {
        if let Some(elsewhere) = self.registry.fields().find(|field| field.key == name) {
            return match elsewhere.section {
                "" => "stands in a table; move it to the top of the file".to_owned(),
                section => format!("stands in the wrong place; move it under [{section}]"),
            };
        }
        let fields = self.registry.fields().filter(|field| field.section == section);
        let mut known: Vec<&str> = fields.map(|field| field.key).collect();
        if section.is_empty() {
            known.extend(self.registry.sections());
        }
        let nearest = did_you_mean(name, &known);
        if nearest.is_empty() {
            format!("is unknown; known here: {}", known.join(", "))
        } else {
            format!("is unknown{nearest}")
        }
    }
}

/// Sorts the errors of a file, which begin at `first`, by their place. Of those on a line with a
/// syntax error, which come first, only that one is kept: it explains the others.
fn drop_echoes(errors: &mut Vec<ConfigError>, first: usize, syntax_errors: usize) {
    let mut of_file = errors.split_off(first);
    let mut broken_lines = HashSet::new();
    let mut index = 0;
    of_file.retain(|error| {
        index += 1;
        let line = place(error).map(|position| position.line);
        if index <= syntax_errors {
            broken_lines.insert(line)
        } else {
            !broken_lines.contains(&line)
        }
    });
    of_file.sort_by_key(place);
    errors.append(&mut of_file);
}

fn place(error: &ConfigError) -> Option<Position> {
    if let Origin::File { position, .. } = &error.origin { *position } else { None }
}

fn parse_toml(field: &Field, value: &DeValue<'_>) -> Result<Value, String> {
    match (value, field.kind) {
        (DeValue::String(text), Kind::Count) if text.trim() != "off" => {
            let reason = match parse_digits(text) {
                Some(_) => "is text; write the number without quotes".to_owned(),
                None => format!("is not a count; {}", remedy(field)),
            };
            Err(format!("{} {reason}", shown(text)))
        }
        (DeValue::String(text), _) => {
            parse_text(field, text).map_err(|reason| format!("{} {reason}", shown(text)))
        }
        (DeValue::Integer(integer), Kind::Size | Kind::Count) => {
            let whole = if integer.as_str().starts_with('-') {
                Err(format!("is negative; {}", remedy(field)))
            } else {
                let number = u64::from_str_radix(integer.as_str(), integer.radix());
                check(field, Value::Integer(number.unwrap_or(u64::MAX)))
            };
            whole.map_err(|reason| format!("{integer} {reason}"))
        }
        (other, _) => Err(format!("must not be of type {}; {}", other.type_str(), remedy(field))),
    }
}
