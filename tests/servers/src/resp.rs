//! Just enough of the Redis protocol to ask a server whether it is ready.

use std::fmt::Write as _;
use std::net::SocketAddr;

use async_trait::async_trait;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::server::Probe;

/// Ready when it answers PING: with PONG, or that it wants a password that was not given here.
#[derive(Clone, Default)]
pub(crate) struct Ping {
    pub(crate) user: Option<String>,
    pub(crate) password: Option<String>,
}

#[async_trait]
impl Probe for Ping {
    async fn answers(&self, address: SocketAddr) -> Result<String, String> {
        let mut connection = Connection::open(address).await?;
        if let Some(password) = &self.password {
            let user = self.user.as_deref().unwrap_or("default");
            connection.ask(&["AUTH", user, password]).await?;
        }
        match connection.ask(&["PING"]).await {
            Ok(_) => {}
            Err(problem) if problem.starts_with("NOAUTH") => return Ok("Redis".to_owned()),
            Err(problem) => return Err(problem),
        }
        // Sentinels and users with few rights may say less.
        Ok(version(&connection.ask(&["INFO", "server"]).await.unwrap_or_default()))
    }
}

/// `Redis 8.0.2` or `Valkey 8.1.1`, from the text of INFO.
fn version(info: &str) -> String {
    let field = |name| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    match (field("valkey_version"), field("redis_version")) {
        (Some(version), _) => format!("Valkey {version}"),
        (None, Some(version)) => format!("Redis {version}"),
        (None, None) => "Redis".to_owned(),
    }
}

struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    async fn open(address: SocketAddr) -> Result<Self, String> {
        let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Sends a command; its answer must be a string, or is an error.
    async fn ask(&mut self, command: &[&str]) -> Result<String, String> {
        let mut request = format!("*{}\r\n", command.len());
        for word in command {
            let _ = write!(request, "${}\r\n{word}\r\n", word.len());
        }
        let sent = self.stream.write_all(request.as_bytes()).await;
        sent.map_err(|error| error.to_string())?;
        self.answer().await.map_err(|error| error.to_string())?
    }

    async fn answer(&mut self) -> std::io::Result<Result<String, String>> {
        let mut line = String::new();
        self.stream.read_line(&mut line).await?;
        let line = line.trim_end();
        if let Some(text) = line.strip_prefix('+') {
            return Ok(Ok(text.to_owned()));
        }
        if let Some(text) = line.strip_prefix('-') {
            return Ok(Err(text.to_owned()));
        }
        let Some(length) = line.strip_prefix('$').and_then(|length| length.parse().ok()) else {
            return Ok(Err(format!("an answer that is no string: {line:?}")));
        };
        let mut text = vec![0; length];
        self.stream.read_exact(&mut text).await?;
        self.stream.read_exact(&mut [0; 2]).await?;
        Ok(Ok(String::from_utf8_lossy(&text).into_owned()))
    }
}
