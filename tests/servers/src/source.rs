//! Where a server came from: started here, or named by the user.

use std::net::SocketAddr;
use std::sync::Arc;

use url::Url;

use crate::error::Error;
use crate::runtime;
use crate::server::Server;

pub(crate) enum Source {
    Own(Arc<Server>),
    Users { address: SocketAddr, description: String },
}

impl Source {
    pub(crate) fn address(&self) -> SocketAddr {
        match self {
            Self::Own(server) => server.address(),
            Self::Users { address, .. } => *address,
        }
    }

    pub(crate) fn description(&self) -> String {
        match self {
            Self::Own(server) => server.description().to_owned(),
            Self::Users { description, .. } => description.clone(),
        }
    }

    pub(crate) async fn kill(&self) -> Result<(), Error> {
        let server = self.own()?;
        runtime::run(async move { server.kill().await }).await
    }

    pub(crate) async fn start(&self) -> Result<(), Error> {
        let server = self.own()?;
        runtime::run(async move { server.start().await }).await
    }

    fn own(&self) -> Result<Arc<Server>, Error> {
        match self {
            Self::Own(server) => Ok(server.clone()),
            Self::Users { description, .. } => Err(Error::Users { what: description.clone() }),
        }
    }
}

/// The address that the URL's host has.
pub(crate) async fn resolve(url: &Url) -> Result<SocketAddr, String> {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let found = tokio::net::lookup_host((host, url.port().unwrap_or_default())).await;
    let mut addresses = found.map_err(|error| format!("{host}: {error}"))?;
    addresses.next().ok_or_else(|| format!("{host} has no address"))
}

/// The URL with another address in it. Every scheme here has a place for one.
pub(crate) fn at(url: &Url, address: SocketAddr) -> Url {
    let mut url = url.clone();
    let _ = url.set_ip_host(address.ip());
    let _ = url.set_port(Some(address.port()));
    url
}
