//! Asking Sentinels who the master is.

use mcp_event_store_core::{Error, Result};

use crate::connect::{Connector, Link};
use crate::error::refused;
use crate::target::{Address, Credentials};

/// The master's address, by the first of `sentinels` that knows it.
pub(crate) async fn find_master(
    connector: &Connector,
    sentinels: &[Address],
    credentials: &Credentials,
    name: &str,
) -> Result<Address> {
    let mut failure = None;
    for sentinel in sentinels {
        match ask(connector, sentinel, credentials, name).await {
            Ok(Some(master)) => return Ok(master),
            Ok(None) => {}
            Err(error) => failure = Some(error),
        }
    }
    let unknown = || {
        let message = format!("no Sentinel knows a master named `{name}`: check the URL's path");
        Error::Unavailable { message: message.into(), cause: None }
    };
    Err(failure.unwrap_or_else(unknown))
}

/// Sentinels often have no password where their master has one, and refuse to be given any.
async fn ask(
    connector: &Connector,
    sentinel: &Address,
    credentials: &Credentials,
    name: &str,
) -> Result<Option<Address>> {
    let connector = connector.without_database();
    let unnamed = ask_as(&connector, sentinel, &Credentials::default(), name).await;
    if unnamed.is_ok() || *credentials == Credentials::default() {
        return unnamed;
    }
    ask_as(&connector, sentinel, credentials, name).await
}

async fn ask_as(
    connector: &Connector,
    sentinel: &Address,
    credentials: &Credentials,
    name: &str,
) -> Result<Option<Address>> {
    let Link { mut connection, .. } = connector.connect(sentinel, credentials).await?;
    let ask = redis::cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(name).to_owned();
    let found: Option<(String, u16)> = ask.query_async(&mut connection).await.map_err(refused)?;
    Ok(found.map(|(host, port)| Address { host, port }))
}
