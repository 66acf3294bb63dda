//! A server of the tests' own: started, killed, started again, each time until it answers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::error::Error;
use crate::place::{Kind, Place};
use crate::ports::Ports;
use crate::recipe::Recipe;

/// A cold machine that builds at the same time needs some of it.
const PATIENCE: Duration = Duration::from_secs(90);
const ONE_TRY: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(20);

/// Asks a server whether it answers.
#[async_trait]
pub(crate) trait Probe: Send + Sync {
    /// Its name and version, once it answers as it should; until then what it does instead.
    async fn answers(&self, address: SocketAddr) -> Result<String, String>;
}

pub(crate) struct Server {
    /// What it is and where it runs.
    what: String,
    place: Box<dyn Place>,
    ports: Ports,
    probe: Arc<dyn Probe>,
}

impl Server {
    pub(crate) async fn new(recipe: Recipe) -> Result<Self, Error> {
        let kind = Kind::find(&recipe).await?;
        let mut tries = 3;
        loop {
            tries -= 1;
            let mut server = Self::launch(&recipe, &kind).await?;
            match server.until_it_answers().await {
                Ok(version) => {
                    server.what = format!("{version}, {kind}");
                    return Ok(server);
                }
                Err(error) if tries == 0 || server.runs().await? => return Err(error),
                // Another process was quicker to take a port.
                Err(_) if !server.ports.are_free() => {}
                Err(error) => return Err(error),
            }
        }
    }

    async fn launch(recipe: &Recipe, kind: &Kind) -> Result<Self, Error> {
        let ports = Ports::free(recipe.ports)?;
        let what = format!("{}, {kind}", recipe.what);
        match kind.start(recipe, &ports).await {
            Ok(place) => Ok(Self { what, place, ports, probe: recipe.probe.clone() }),
            Err(problem) => Err(Error::Start { what, problem, log: "(none)".to_owned() }),
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
        self.place.dir()
    }

    /// Sends SIGKILL to all its processes, and waits until nobody listens.
    pub(crate) async fn kill(&self) -> Result<(), Error> {
        self.place.kill().await.map_err(|problem| self.error(problem))?;
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(self.address()).await.is_ok() {
            if Instant::now() > deadline {
                return Err(self.error("it still accepts connections after SIGKILL".to_owned()));
            }
            sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Starts it again on the same ports and data, and waits until it answers.
    pub(crate) async fn start(&self) -> Result<(), Error> {
        self.place.start().await.map_err(|problem| self.error(problem))?;
        self.until_it_answers().await.map(drop)
    }

    /// Waits until it answers, has ended, or the time is up.
    async fn until_it_answers(&self) -> Result<String, Error> {
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
        self.place.runs().await.map_err(|problem| self.error(problem))
    }

    async fn not_started(&self, problem: String) -> Error {
        Error::Start { what: self.what.clone(), problem, log: self.place.last_words().await }
    }

    fn error(&self, problem: String) -> Error {
        Error::Server { what: self.what.clone(), problem }
    }
}
