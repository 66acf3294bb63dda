//! "Did you mean": the known name nearest to one that nobody knows.

/// No name is longer by far; measuring a distance costs the product of both lengths.
const LONGEST: usize = 100;

/// `; did you mean …?` for the nearest of `known`, or nothing if none is near.
pub(super) fn did_you_mean<T: AsRef<str>>(
    unknown: &str,
    known: impl IntoIterator<Item = T>,
) -> String {
    if unknown.len() > LONGEST {
        return String::new();
    }
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(unknown, name.as_ref()), name))
        .filter(|(distance, name)| *distance <= 1 + name.as_ref().len() / 4)
        .min_by_key(|(distance, _)| *distance)
        .map_or_else(String::new, |(_, name)| format!("; did you mean {}?", name.as_ref()))
}

/// `"a"`, `"a" or "b"`, `"a", "b" or "c"`.
pub(super) fn quoted_list(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}
