//! Servers in containers, on the host's network.

use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use testcontainers::bollard::errors::Error as DockerError;
use testcontainers::bollard::query_parameters::KillContainerOptions;
use testcontainers::bollard::{Docker, query_parameters::StartContainerOptions};
use testcontainers::core::client::docker_client_instance;
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, ContainerRequest, CopyTargetOptions, GenericImage, ImageExt};
use tokio::io::AsyncWriteExt;
use tokio::process::{ChildStdin, Command};
use tokio::time::timeout;

use crate::environment::{Image, run_label};
use crate::local::find_program;
use crate::place::Place;
use crate::recipe::Filled;
use crate::runtime::runtime;

/// Long enough to pull an image.
const STARTUP: Duration = Duration::from_mins(5);
/// Docker's default, 64 MiB, is too little for PostgreSQL's parallel queries.
const SHARED_MEMORY: u64 = 256 << 20;
const FILES: &str = "/tmp/mcp-event-store-files";

pub(crate) struct Container {
    name: String,
    /// `None` only while it is dropped.
    handle: Option<(ContainerAsync<GenericImage>, Guard)>,
}

impl Container {
    /// The server's directory, in the file system of the container.
    pub(crate) const DIR: &str = "/tmp/mcp-event-store";

    /// Says why no container of this image can be had.
    pub(crate) async fn possible(image: &Image) -> Result<(), String> {
        find_program("docker")
            .ok_or("there is no `docker` command, which also removes containers")?;
        let docker = docker().await?;
        let answer = timeout(Duration::from_secs(10), docker.ping()).await;
        answer
            .map_err(|_| "the docker daemon does not answer".to_owned())?
            .map_err(|error| format!("no docker daemon answers ({error})"))?;
        match docker.inspect_image(&image.to_string()).await {
            Ok(_) => Ok(()),
            Err(error) if !is_absent(&error) => {
                Err(format!("docker cannot say whether it has an image {image}: {error}"))
            }
            // One that the user names is pulled.
            Err(_) if image.variable.is_some() => Ok(()),
            Err(_) => Err(format!("docker has no image {image}; tests/images.sh builds it")),
        }
    }

    pub(crate) async fn new(
        what: &str,
        image: &Image,
        user: Option<&str>,
        filled: Filled,
    ) -> Result<Self, String> {
        let name = container_name(what);
        // The guard comes first: this process may be killed before it hears of its container.
        let guard = Guard::of(&name).map_err(|error| format!("the guard: {error}"))?;
        let request = request(&name, image, user, filled);
        let container = request.start().await.map_err(|error| error.to_string())?;
        Ok(Self { name, handle: Some((container, guard)) })
    }
}

/// All that testcontainers needs to know. Whether the server is ready is asked from outside.
fn request(
    name: &str,
    image: &Image,
    user: Option<&str>,
    filled: Filled,
) -> ContainerRequest<GenericImage> {
    let command = ["-c".to_owned(), filled.script, "server".to_owned()];
    // Images of others have entry points of their own.
    let image = GenericImage::new(image.name.as_str(), image.tag.as_str()).with_entrypoint("sh");
    let mut request = image
        .with_cmd(command.into_iter().chain(filled.arguments))
        .with_container_name(name)
        .with_label("mcp-event-store.run", run_label())
        .with_network("host")
        .with_shm_size(SHARED_MEMORY)
        .with_startup_timeout(STARTUP)
        .with_env_var("DIR", Container::DIR)
        .with_env_var("FILES", FILES);
    for (variable, value) in filled.variables {
        request = request.with_env_var(variable, value);
    }
    for (file, content) in filled.files {
        let target = CopyTargetOptions::new(format!("{FILES}/{file}")).with_mode(0o644);
        request = request.with_copy_to(target, content);
    }
    match user {
        Some(user) => request.with_user(user),
        None => request,
    }
}

#[async_trait]
impl Place for Container {
    fn dir(&self) -> &str {
        Self::DIR
    }

    async fn kill(&self) -> Result<(), String> {
        let options = KillContainerOptions { signal: "SIGKILL".to_owned() };
        let killed = docker().await?.kill_container(&self.name, Some(options)).await;
        match killed {
            // It has ended already.
            Err(DockerError::DockerResponseServerError { status_code: 409, .. }) => Ok(()),
            other => other.map_err(|error| error.to_string()),
        }
    }

    async fn start(&self) -> Result<(), String> {
        let options = None::<StartContainerOptions>;
        let started = docker().await?.start_container(&self.name, options).await;
        started.map_err(|error| error.to_string())
    }

    async fn runs(&self) -> Result<bool, String> {
        let Some((container, _)) = &self.handle else { return Ok(false) };
        container.is_running().await.map_err(|error| error.to_string())
    }

    async fn last_words(&self) -> String {
        let Some((container, _)) = &self.handle else { return String::new() };
        let mut words = container.stdout_to_vec().await.unwrap_or_default();
        words.extend(container.stderr_to_vec().await.unwrap_or_default());
        crate::local::tail(&String::from_utf8_lossy(&words))
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if let (Some((container, guard)), Ok(runtime)) = (self.handle.take(), runtime()) {
            runtime.spawn(async move {
                if container.rm().await.is_ok() {
                    guard.dismiss().await;
                }
            });
        }
    }
}

fn is_absent(error: &DockerError) -> bool {
    matches!(error, DockerError::DockerResponseServerError { status_code: 404, .. })
}

/// The client is the one of testcontainers: both must see the same daemon.
async fn docker() -> Result<Docker, String> {
    docker_client_instance().await.map_err(|error| error.to_string())
}

fn container_name(what: &str) -> String {
    let mut random = [0; 4];
    // The number of the process tells containers apart as well, only less surely.
    let _ = getrandom::fill(&mut random);
    let random = u32::from_ne_bytes(random);
    format!("mcp-event-store-{}-{}-{random:08x}", what.to_lowercase(), std::process::id())
}

/// The process of `guard.sh` that removes a container once this process has ended.
struct Guard {
    pipe: ChildStdin,
}

impl Guard {
    fn of(container: &str) -> std::io::Result<Self> {
        let mut child = Command::new("sh")
            .args(["-c", include_str!("scripts/guard.sh"), "guard", container])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Out of reach of Ctrl-C, which goes to the group of the test process.
            .process_group(0)
            .spawn()?;
        let pipe = child.stdin.take().ok_or(std::io::ErrorKind::BrokenPipe)?;
        Ok(Self { pipe })
    }

    async fn dismiss(mut self) {
        // If it cannot be told, it looks for the container a few times, and ends.
        let _ = self.pipe.write_all(b"removed\n").await;
    }
}
