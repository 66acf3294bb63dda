//! One connection to one server.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::select_ok;
use mcp_event_store_core::{Error, Result};
use redis::aio::{MultiplexedConnection, PubSub};
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo,
    ProtocolVersion, PushInfo, PushKind, RedisConnectionInfo, TlsCertificates,
};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use crate::config::RedisOptions;
use crate::error::{refused, unreachable};
use crate::private::{Driver, Private};
use crate::target::{Address, Credentials, Target};

/// How to connect to any server of a target.
#[derive(Clone)]
pub(crate) struct Connector {
    tls: Option<TlsCertificates>,
    database: i64,
    connect_timeout: Duration,
    response_timeout: Duration,
    client_name: Option<String>,
}

/// An open connection; clones share it.
#[derive(Clone)]
pub(crate) struct Link {
    pub(crate) connection: MultiplexedConnection,
    /// Set as soon as the connection is known to be dead: nothing is sent into the void, so that
    /// its outcome need not be called unknown.
    closed: Arc<AtomicBool>,
}

impl Link {
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Says that this connection is not to be used again.
    pub(crate) fn abandon(&self) {
        self.closed.store(true, Ordering::Release);
    }
}

impl Connector {
    pub(crate) fn new(target: &Target, options: &RedisOptions) -> Result<Self> {
        let tls = target.tls.then(|| certificates(options)).transpose()?;
        Ok(Self {
            tls,
            database: target.database,
            connect_timeout: options.connect_timeout,
            response_timeout: options.response_timeout,
            client_name: options.client_name.clone(),
        })
    }

    /// The same, for servers that have no databases.
    pub(crate) fn without_database(&self) -> Self {
        Self { database: 0, ..self.clone() }
    }

    /// Waits for a turn at connecting, no longer than for a connection: while a server does not
    /// answer, the last of a crowd of callers must not wait for the attempts of all before it.
    pub(crate) async fn turn<T>(&self, turn: impl Future<Output = T>) -> Result<T> {
        within(self.connect_timeout, turn).await
    }

    /// Connects and logs in.
    pub(crate) async fn connect(&self, to: &Address, login: &Credentials) -> Result<Link> {
        let (config, closed) = self.config();
        let client = self.client(to, login)?;
        // In a box: it is large, and seldom needed by those who hold a future of it.
        let connecting = Box::pin(client.get_multiplexed_async_connection_with_config(&config));
        let connection = within(self.connect_timeout, connecting).await?.map_err(refused)?;
        let link = Link { connection, closed };
        self.introduce(&link).await;
        Ok(link)
    }

    /// Connects and logs in, for one call at a time. `None` with TLS, which the driver keeps to
    /// itself.
    pub(crate) async fn connect_privately(
        &self,
        to: &Address,
        login: &Credentials,
    ) -> Result<Option<Private>> {
        if self.tls.is_some() {
            return Ok(None);
        }
        let (config, closed) = self.config();
        let info = self.info(to, login)?;
        let connecting = Box::pin(async {
            // Whichever address of the host answers first, as the driver does it.
            let addresses = lookup_host((to.host.as_str(), to.port)).await?;
            let streams: Vec<_> = addresses.map(|to| TcpStream::connect(to).boxed()).collect();
            if streams.is_empty() {
                return Err(io::Error::from(io::ErrorKind::NotFound).into());
            }
            let (stream, _) = select_ok(streams).await?;
            stream.set_nodelay(true)?;
            let login = info.redis_settings();
            let made = MultiplexedConnection::new_with_config(login, stream, config).await?;
            Ok((made.0, Box::pin(made.1) as Driver))
        });
        let connected = within(self.connect_timeout, connecting).await?;
        let (connection, driver) = connected.map_err(refused)?;
        let mut private = Private::new(Link { connection, closed }, driver);
        private.during(async |link| self.introduce(link).await).await;
        Ok(Some(private))
    }

    /// What connections heed, and where it is noted that one is dead.
    fn config(&self) -> (AsyncConnectionConfig, Arc<AtomicBool>) {
        let closed = Arc::new(AtomicBool::new(false));
        let noticed = closed.clone();
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.connect_timeout))
            .set_response_timeout(Some(self.response_timeout))
            .set_push_sender(move |push: PushInfo| {
                if push.kind == PushKind::Disconnection {
                    noticed.store(true, Ordering::Release);
                }
                Ok::<(), redis::aio::SendError>(())
            });
        (config, closed)
    }

    /// A name is a courtesy: a user who may not set it does without.
    async fn introduce(&self, link: &Link) {
        let Some(name) = &self.client_name else { return };
        let named = redis::cmd("CLIENT").arg("SETNAME").arg(name).to_owned();
        if let Err(error) = named.exec_async(&mut link.connection.clone()).await {
            tracing::debug!(%error, "the connection to Redis has no name");
        }
    }

    /// Opens a connection that subscribes.
    pub(crate) async fn subscribe(
        &self,
        to: &Address,
        login: &Credentials,
        channel: &str,
    ) -> Result<PubSub> {
        let client = self.client(to, login)?;
        let subscribing = async {
            let mut pubsub = client.get_async_pubsub().await?;
            pubsub.subscribe(channel).await?;
            Ok(pubsub)
        };
        within(self.connect_timeout, subscribing).await?.map_err(refused)
    }

    fn client(&self, to: &Address, login: &Credentials) -> Result<Client> {
        let info = self.info(to, login)?;
        match &self.tls {
            None => Client::open(info).map_err(refused),
            Some(certificates) => {
                Client::build_with_tls(info, certificates.clone()).map_err(refused)
            }
        }
    }

    fn info(&self, to: &Address, login: &Credentials) -> Result<ConnectionInfo> {
        let (host, port) = (to.host.clone(), to.port);
        let address = match &self.tls {
            None => ConnectionAddr::Tcp(host, port),
            Some(_) => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
        };
        // The newer protocol tells at once when the server hangs up.
        let mut settings = RedisConnectionInfo::default()
            .set_protocol(ProtocolVersion::RESP3)
            .set_db(self.database)
            .set_skip_set_lib_name();
        if let Some(user) = &login.user {
            settings = settings.set_username(user);
        }
        if let Some(password) = &login.password {
            settings = settings.set_password(password);
        }
        let info: ConnectionInfo = address.into_connection_info().map_err(refused)?;
        Ok(info.set_redis_settings(settings))
    }
}

async fn within<T>(limit: Duration, connecting: impl Future<Output = T>) -> Result<T> {
    let late = |_| {
        let error = io::Error::from(io::ErrorKind::TimedOut);
        unreachable(redis::RedisError::from(error))
    };
    timeout(limit, connecting).await.map_err(late)
}

/// The certificates to trust; also makes sure that there is cryptography.
fn certificates(options: &RedisOptions) -> Result<TlsCertificates> {
    // The process may have chosen a provider; if not, and another crate brings a second one, rustls
    // would not know which to take.
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Another thread may be faster, which is just as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    let read = |path: &std::path::PathBuf| {
        std::fs::read(path).map_err(|error| {
            let reason = format!("{} cannot be read: {error}", path.display());
            Error::invalid("redis.ca_file", reason)
        })
    };
    let root_cert = options.ca_file.as_ref().map(read).transpose()?;
    Ok(TlsCertificates { client_tls: None, root_cert })
}
