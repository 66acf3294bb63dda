//! A server of the tests' own: found a place, started, killed, started again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::container::Container;
use crate::environment::Image;
use crate::error::Error;
use crate::local::Local;
use crate::ports::Ports;

/// A cold machine that builds at the same time needs some of it.
const PATIENCE: Duration = Duration::from_secs(90);
const ONE_TRY: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(20);

/// Asks a server whether it answers.
#[async_trait]
pub(crate) trait Probe: Send + Sync {
    /// Its name and version, once it answers as it should.
    async fn answers(&self, address: SocketAddr) -> Result<String, String>;
}

/// How to run a server, wherever that is.
pub(crate) struct Recipe {
    pub(crate) what: &'static str,
    /// Programs that it needs; with `any_program`, one of these.
    pub(crate) programs: Vec<&'static str>,
    pub(crate) any_program: bool,
    pub(crate) image: Image,
    /// The user in a container; the image's own, if absent.
    pub(crate) user: Option<&'static str>,
    /// What runs in `sh`, after `common.sh`.
    pub(crate) script: &'static str,
    pub(crate) variables: Vec<(&'static str, String)>,
    /// May hold `{dir}`, `{port}`, and `{port1}` and so on for more ports.
    pub(crate) arguments: Vec<String>,
    /// Names and contents, in its directory before it starts; texts may hold the same.
    pub(crate) files: Vec<(String, Vec<u8>)>,
    /// How many ports it gets: one at least.
    pub(crate) ports: usize,
    pub(crate) probe: Arc<dyn Probe>,
    pub(crate) remedies: &'static str,
}

/// All that differs from one start of a recipe to the next.
pub(crate) struct Filled {
    pub(crate) script: String,
    pub(crate) variables: Vec<(&'static str, String)>,
    pub(crate) arguments: Vec<String>,
    pub(crate) files: Vec<(String, Vec<u8>)>,
}

enum Place {
    Container(Container),
    Local(Local),
}

pub(crate) struct Server {
    what: String,
    place: Place,
    ports: Ports,
    probe: Arc<dyn Probe>,
}

impl Server {
    /// Starts it, and waits until it answers.
    pub(crate) async fn new(recipe: Recipe) -> Result<Self, Error> {
        let place = Where::find(&recipe).await?;
        let mut tries = 3;
        loop {
            tries -= 1;
            let ports = Ports::free(recipe.ports)?;
            let started = place.start(&recipe, &ports).await?;
            let mut server = Self {
                what: format!("{}, {place}", recipe.what),
                place: started,
                ports,
                probe: recipe.probe.clone(),
            };
            match server.answered().await {
                Ok(version) => {
                    server.what = format!("{version}, {place}");
                    return Ok(server);
                }
                // Another process was quicker to take a port.
                Err(_) if tries > 0 && !server.runs().await? && !server.ports.are_free() => {}
                Err(error) => return Err(error),
            }
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.ports.address()
    }

    pub(crate) fn ports(&self) -> &[u16] {
        self.ports.numbers()
    }

    pub(crate) fn description(&self) -> &str {
        &self.what
    }

    pub(crate) fn dir(&self) -> &str {
        match &self.place {
            Place::Container(_) => Container::DIR,
            Place::Local(local) => local.dir(),
        }
    }

    /// Sends SIGKILL to all its processes, and waits until nobody listens.
    pub(crate) async fn kill(&self) -> Result<(), Error> {
        let killed = match &self.place {
            Place::Container(container) => container.kill().await,
            Place::Local(local) => local.kill().await,
        };
        killed.map_err(|problem| self.error(problem))?;
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(self.address()).await.is_ok() {
            if Instant::now() > deadline {
                return Err(self.error("it still accepts connections after SIGKILL".to_owned()));
            }
            sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Starts it again on the same port and data, and waits until it answers.
    pub(crate) async fn start(&self) -> Result<(), Error> {
        let started = match &self.place {
            Place::Container(container) => container.start().await,
            Place::Local(local) => local.start().await,
        };
        started.map_err(|problem| self.error(problem))?;
        self.answered().await.map(drop)
    }

    /// Polls until it answers, has ended, or the time is up.
    async fn answered(&self) -> Result<String, Error> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = timeout(ONE_TRY, self.probe.answers(self.address())).await;
            let problem = match answer {
                Ok(Ok(version)) => return Ok(version),
                Ok(Err(problem)) => problem,
                Err(_) => "no answer".to_owned(),
            };
            if !self.runs().await? {
                return Err(self.not_started("it ended".to_owned()).await);
            }
            if Instant::now() > deadline {
                let problem = format!("after {} s: {problem}", PATIENCE.as_secs());
                return Err(self.not_started(problem).await);
            }
            sleep(PAUSE).await;
        }
    }

    async fn runs(&self) -> Result<bool, Error> {
        let runs = match &self.place {
            Place::Container(container) => container.runs().await,
            Place::Local(local) => local.runs().await,
        };
        runs.map_err(|problem| self.error(problem))
    }

    async fn not_started(&self, problem: String) -> Error {
        let log = match &self.place {
            Place::Container(container) => container.last_words().await,
            Place::Local(local) => local.last_words(),
        };
        Error::Start { what: self.what.clone(), problem, log }
    }

    fn error(&self, problem: String) -> Error {
        Error::Server { what: self.what.clone(), problem }
    }
}

/// Where a server can run.
enum Where {
    Container(Image),
    Local(std::path::PathBuf),
}

impl Where {
    async fn find(recipe: &Recipe) -> Result<Self, Error> {
        let no_container = match Container::possible(&recipe.image).await {
            Ok(()) => return Ok(Self::Container(recipe.image.clone())),
            Err(reason) => reason,
        };
        if let Some(variable) = recipe.image.variable {
            return Err(Error::Variable { variable, problem: no_container });
        }
        let no_local = match Local::possible(&recipe.programs, recipe.any_program) {
            Ok(program) => return Ok(Self::Local(program)),
            Err(reason) => reason,
        };
        Err(Error::NoServer {
            what: recipe.what,
            looked: format!("  - a container: {no_container}\n  - a local server: {no_local}"),
            remedies: recipe.remedies.to_owned(),
        })
    }

    async fn start(&self, recipe: &Recipe, ports: &Ports) -> Result<Place, Error> {
        let started = match self {
            Self::Container(image) => {
                let filled = recipe.fill(Container::DIR, ports);
                Container::new(recipe.what, image, recipe.user, filled).await.map(Place::Container)
            }
            Self::Local(_) => {
                let local = Local::new(|dir| recipe.fill(dir, ports)).await;
                local.map(Place::Local)
            }
        };
        started.map_err(|problem| Error::Start {
            what: format!("{}, {self}", recipe.what),
            problem,
            log: "(none)".to_owned(),
        })
    }
}

impl std::fmt::Display for Where {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Container(image) => write!(f, "container {image}"),
            Self::Local(program) => write!(f, "local {}", program.display()),
        }
    }
}

impl Recipe {
    fn fill(&self, dir: &str, ports: &Ports) -> Filled {
        let fill = |text: &str| {
            let mut text = text.replace("{dir}", dir);
            for (index, port) in ports.numbers().iter().enumerate() {
                let name =
                    if index == 0 { "{port}".to_owned() } else { format!("{{port{index}}}") };
                text = text.replace(&name, &port.to_string());
            }
            text
        };
        let fill_file = |(name, content): &(String, Vec<u8>)| {
            let filled = match std::str::from_utf8(content) {
                Ok(text) => fill(text).into_bytes(),
                Err(_) => content.clone(),
            };
            (name.clone(), filled)
        };
        Filled {
            script: format!("{}\n{}", include_str!("scripts/common.sh"), self.script),
            variables: self.variables.clone(),
            arguments: self.arguments.iter().map(|argument| fill(argument)).collect(),
            files: self.files.iter().map(fill_file).collect(),
        }
    }
}
