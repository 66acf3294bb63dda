//! The last source: the query of a store's URL.
//!
//! A URL may hold a password, and a `?` that someone forgot to escape makes a part of one look like
//! a query. So no message repeats a value, nor a key that could not be one.

use std::collections::HashSet;
use std::fmt;

use super::builder::Findings;
use super::error::Origin;
use super::field::{Field, Registry};
use super::suggest::did_you_mean;
use super::value::parse_text;

/// A URL's scheme and query.
#[derive(Clone, Default)]
pub(super) struct Query {
    scheme: String,
    text: String,
}

impl Query {
    pub(super) fn of(url: &str) -> Self {
        let url = url.split_once('#').map_or(url, |(url, _fragment)| url);
        let (location, text) = url.split_once('?').unwrap_or((url, ""));
        let scheme = location.split_once(':').map_or("", |(scheme, _)| scheme);
        Self { scheme: scheme.to_ascii_lowercase(), text: text.to_owned() }
    }
}

impl fmt::Debug for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Query").field("scheme", &self.scheme).finish_non_exhaustive()
    }
}

pub(super) fn read(query: &Query, registry: &Registry, findings: &mut Findings) {
    if query.text.contains('@') {
        let reason = "has an `@`; if the `?` before it belongs to a password, write it as %3F";
        findings.refuse(Origin::UrlQuery, None, reason);
        return;
    }
    let mut seen = HashSet::new();
    for (key, value) in url::form_urlencoded::parse(query.text.as_bytes()) {
        let field = registry.fields_of_scheme(&query.scheme).find(|field| field.key == key);
        match field {
            Some(field) if !seen.insert(field.id()) => {
                findings.refuse(Origin::UrlQuery, field.path(), "is there twice; keep one");
            }
            Some(field) => {
                let value =
                    parse_text(field, &value).map_err(|reason| format!("its value {reason}"));
                findings.take(field, Origin::UrlQuery, value);
            }
            None => refuse_unknown(&key, query, registry, findings),
        }
    }
}

fn refuse_unknown(key: &str, query: &Query, registry: &Registry, findings: &mut Findings) {
    let known: Vec<&str> =
        registry.fields_of_scheme(&query.scheme).map(|field: &Field| field.key).collect();
    if looks_like_a_key(key) {
        let reason = format!("is no key of a {} URL{}", query.scheme, did_you_mean(key, known));
        findings.refuse(Origin::UrlQuery, key.to_owned(), reason);
    } else {
        let reason = format!("holds something that is no key; known keys: {}", known.join(", "));
        findings.refuse(Origin::UrlQuery, None, reason);
    }
}

fn looks_like_a_key(text: &str) -> bool {
    const LONGEST: usize = 40;
    let word = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_' || byte == b'-';
    !text.is_empty() && text.len() <= LONGEST && text.bytes().all(word)
}
