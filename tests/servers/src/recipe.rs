//! How to run a server, wherever that is.

use std::sync::Arc;

use crate::environment::Image;
use crate::ports::Ports;
use crate::server::Probe;

pub(crate) struct Recipe {
    /// The kind of server, for people.
    pub(crate) what: &'static str,
    /// Programs that it needs: all of them, or with `any_program` one.
    pub(crate) programs: Vec<&'static str>,
    pub(crate) any_program: bool,
    pub(crate) image: Image,
    /// The user in a container; the image's own, if absent.
    pub(crate) user: Option<&'static str>,
    /// What runs in `sh`, after `common.sh`.
    pub(crate) script: &'static str,
    /// The environment of the script.
    pub(crate) variables: Vec<(&'static str, String)>,
    /// May hold `{dir}`, `{port}`, and `{port1}` and so on for more ports.
    pub(crate) arguments: Vec<String>,
    /// Names and contents, in its directory before it starts. Texts may hold the same.
    pub(crate) files: Vec<(String, Vec<u8>)>,
    /// How many ports it gets: one at least.
    pub(crate) ports: usize,
    pub(crate) probe: Arc<dyn Probe>,
    /// A line for each way to get such a server.
    pub(crate) remedies: &'static str,
}

/// A recipe whose directory and ports are known.
pub(crate) struct Filled {
    pub(crate) script: String,
    pub(crate) variables: Vec<(&'static str, String)>,
    pub(crate) arguments: Vec<String>,
    pub(crate) files: Vec<(String, Vec<u8>)>,
}

impl Recipe {
    pub(crate) fn fill(&self, dir: &str, ports: &Ports) -> Filled {
        let fill = |text: &str| {
            let mut text = text.replace("{dir}", dir);
            for (index, port) in ports.numbers().iter().enumerate() {
                let name = if index == 0 { "{port}".into() } else { format!("{{port{index}}}") };
                text = text.replace(&name, &port.to_string());
            }
            text
        };
        let fill_file = |(name, content): &(String, Vec<u8>)| {
            let text = std::str::from_utf8(content);
            let content = text.map_or_else(|_| content.clone(), |text| fill(text).into_bytes());
            (name.clone(), content)
        };
        Filled {
            script: format!("{}\n{}", include_str!("scripts/common.sh"), self.script),
            variables: self.variables.clone(),
            arguments: self.arguments.iter().map(|argument| fill(argument)).collect(),
            files: self.files.iter().map(fill_file).collect(),
        }
    }
}
