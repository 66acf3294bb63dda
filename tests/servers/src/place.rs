//! Where a server runs: in a container, or as a program of this machine.

use std::fmt;
use std::path::PathBuf;

use async_trait::async_trait;

use crate::container::Container;
use crate::environment::Image;
use crate::error::Error;
use crate::local::Local;
use crate::ports::Ports;
use crate::recipe::Recipe;

/// A server that was started, answering or not. It ends when the value is dropped. Errors are texts:
/// the caller knows which server it is.
#[async_trait]
pub(crate) trait Place: Send + Sync {
    /// The server's directory, as the server sees it.
    fn dir(&self) -> &str;

    /// Sends SIGKILL to all its processes.
    async fn kill(&self) -> Result<(), String>;

    /// Starts it again.
    async fn start(&self) -> Result<(), String>;

    /// Whether it has not ended.
    async fn runs(&self) -> Result<bool, String>;

    /// The end of its log.
    async fn last_words(&self) -> String;
}

/// The kind of place that was found for a server.
pub(crate) enum Kind {
    Container(Image),
    Local(PathBuf),
}

impl Kind {
    /// Containers come first, and alone if the user named an image.
    pub(crate) async fn find(recipe: &Recipe) -> Result<Self, Error> {
        let no_container = match Container::possible(&recipe.image).await {
            Ok(()) => return Ok(Self::Container(recipe.image.clone())),
            Err(reason) => reason,
        };
        if let Some(variable) = recipe.image.variable {
            let problem = format!("no container of {}: {no_container}", recipe.image);
            return Err(Error::Variable { variable, problem });
        }
        let no_local = match Local::possible(&recipe.programs, recipe.any_program) {
            Ok(program) => return Ok(Self::Local(program)),
            Err(reason) => reason,
        };
        Err(Error::NoServer {
            what: recipe.what,
            looked: format!(
                "  - a container: {no_container}\n  - a program of this machine: {no_local}"
            ),
            remedies: recipe.remedies.to_owned(),
        })
    }

    pub(crate) async fn start(
        &self,
        recipe: &Recipe,
        ports: &Ports,
    ) -> Result<Box<dyn Place>, String> {
        Ok(match self {
            Self::Container(image) => {
                let filled = recipe.fill(Container::DIR, ports);
                Box::new(Container::new(recipe.what, image, recipe.user, filled).await?)
            }
            Self::Local(_) => Box::new(Local::new(|dir| recipe.fill(dir, ports)).await?),
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Container(image) => write!(f, "container {image}"),
            Self::Local(program) => write!(f, "local {}", program.display()),
        }
    }
}
