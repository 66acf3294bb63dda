//! Reports of earlier runs, as one.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use mcp_event_store::Error;
use mcp_event_store_bench::Report;

/// The stores of all reports in `files`. What is said of the machine and the version is the first
/// one's; a note on standard error tells where another differs.
pub(super) fn read(files: &[PathBuf]) -> anyhow::Result<Report> {
    let Some((first, others)) = files.split_first() else {
        return Err(Error::invalid("--from", "names no report").into());
    };
    let mut joined = read_one(first)?;
    for file in others {
        let report = read_one(file)?;
        if ran_elsewhere(&joined, &report) {
            let note = "was measured on another machine or version than the first report";
            // Nobody is left to tell that this failed.
            let _ = writeln!(std::io::stderr(), "note: {} {note}", file.display());
        }
        add(&mut joined, report);
    }
    Ok(joined)
}

fn read_one(file: &Path) -> Result<Report, Error> {
    let refused = |reason: String| {
        let file = file.display();
        Error::invalid("--from", format!("{file} {reason}; name a file that --json has written"))
    };
    let text = fs::read(file).map_err(|error| refused(format!("cannot be read: {error}")))?;
    serde_json::from_slice(&text).map_err(|error| refused(format!("is no report: {error}")))
}

fn ran_elsewhere(one: &Report, other: &Report) -> bool {
    let place = |report: &Report| {
        (report.version.clone(), report.machine.cpu.clone(), report.machine.cores)
    };
    place(one) != place(other)
}

/// Takes over the stores of `report`; what it measured counts, and not what an earlier one did.
fn add(joined: &mut Report, report: Report) {
    joined.quick |= report.quick;
    for store in report.stores {
        match joined.stores.iter_mut().find(|earlier| earlier.backend == store.backend) {
            Some(earlier) => earlier.update(store),
            None => joined.stores.push(store),
        }
    }
}
