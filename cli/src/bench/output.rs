//! Where results go. Looked at before anything is measured, which takes long.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use mcp_event_store::Error;
use mcp_event_store_bench::Report;

use crate::report::print;

/// The `FILE` that stands for standard output.
const STDOUT: &str = "-";

/// Where results go.
#[derive(clap::Args)]
pub(super) struct Output {
    /// Also write the report as JSON, which --from reads again. With `-` it goes to standard
    /// output, in the place of the tables.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Also draw plots (SVG) in this directory, and write the tables to results.md there. Files of
    /// the same names are replaced.
    #[arg(long, value_name = "DIR")]
    plots: Option<PathBuf>,
}

impl Output {
    /// Makes the directory, and refuses what cannot be written.
    pub(super) fn check(self) -> Result<Self, Error> {
        if let Some(file) = self.json_file() {
            let refused = |error| cannot_write("--json", file, &error);
            writable(file).map_err(refused)?;
        }
        if let Some(folder) = &self.plots {
            let made = fs::create_dir_all(folder);
            let made = made.and_then(|()| writable(&folder.join("results.md")));
            made.map_err(|error| cannot_write("--plots", folder, &error))?;
        }
        Ok(self)
    }

    pub(super) fn write(&self, report: &Report) -> anyhow::Result<()> {
        let json = serde_json::to_string_pretty(report)? + "\n";
        if let Some(file) = self.json_file() {
            write(file, &json)?;
        }
        if let Some(folder) = &self.plots {
            report.plot(folder)?;
            write(&folder.join("results.md"), &report.markdown(Some(".")))?;
        }
        let to_stdout = self.json.is_some() && self.json_file().is_none();
        print(&if to_stdout { json } else { report.markdown(None) })
    }

    /// The file for JSON, unless that is standard output.
    fn json_file(&self) -> Option<&Path> {
        self.json.as_deref().filter(|file| *file != Path::new(STDOUT))
    }
}

fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

fn cannot_write(option: &'static str, path: &Path, error: &io::Error) -> Error {
    let path = path.display();
    Error::invalid(option, format!("cannot write to {path}: {error}; name another place"))
}

/// Whether `file` can be written. Leaves it as it is, and none where there was none.
fn writable(file: &Path) -> io::Result<()> {
    if file.exists() {
        return OpenOptions::new().append(true).open(file).map(drop);
    }
    let folder = file.parent().filter(|folder| *folder != Path::new(""));
    tempfile::tempfile_in(folder.unwrap_or(Path::new("."))).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looking_leaves_files_as_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (folder.path().join("old.json"), folder.path().join("new.json"));
        fs::write(&old, "before").unwrap();
        writable(&old).unwrap();
        writable(&new).unwrap();
        assert_eq!(fs::read(&old).unwrap(), b"before");
        assert!(!new.exists());
        assert!(writable(&folder.path().join("none/new.json")).is_err());
        assert!(writable(folder.path()).is_err());
    }
}
