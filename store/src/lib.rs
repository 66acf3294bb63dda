//! Durable event stores for MCP servers, behind one URL.
//!
//! ```
//! # #[tokio::main] async fn main() -> mcp_event_store::Result<()> {
//! use mcp_event_store::{EventStoreExt, Message, NewEvent, StreamId, StreamRef};
//!
//! let store = mcp_event_store::open("memory://").await?;
//! let stream = StreamRef::sessionless(StreamId::new("request/1")?);
//! let primed = store.events().store_event(&stream, NewEvent::priming(None)).await?;
//! let message = Message::parse(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#)?;
//! store.events().store_event(&stream, NewEvent::message(message).completing()).await?;
//!
//! let missed = store.events().replay_to_vec(stream.scope(), &primed).await?;
//! assert_eq!(missed.len(), 1);
//! # Ok(())
//! # }
//! ```
//!
//! | URL | backend | feature |
//! |---|---|---|
//! | `memory://` | the process's memory, for tests | always there |
//! | `sqlite://PATH` | a SQLite file | `sqlite` (default) |
//! | `postgres://…` | a PostgreSQL database | `postgres` |
//! | `redis://…`, `rediss://…`, `redis+cluster://…`, `redis+sentinel://…` | Redis or Valkey | `redis` |
//! | `rocksdb://PATH` | a RocksDB directory, of one process | `rocksdb` |

mod scheme;

pub use mcp_event_store_core::*;

pub use scheme::BACKENDS;
use scheme::Backend;

/// A configuration to add sources to, which knows the fields of every backend that is compiled in.
///
/// ```
/// let config = mcp_event_store::config()
///     .toml("events.toml", "sqlite.readers = 8")
///     .process_environment()
///     .load()?;
/// # Ok::<(), mcp_event_store::ConfigErrors>(())
/// ```
#[must_use]
pub fn config() -> ConfigBuilder {
    with_backends(Config::builder())
}

fn with_backends(sources: ConfigBuilder) -> ConfigBuilder {
    BACKENDS.iter().fold(sources, |sources, backend| sources.backend(*backend))
}

/// Opens the store at `url`, configured by environment variables and the URL's query.
///
/// # Errors
/// `InvalidInput` for an unknown scheme, one whose feature is off, or a setting that cannot be;
/// otherwise what the backend says. No error shows a password.
pub async fn open(url: &str) -> Result<Store> {
    open_with(url, &config().process_environment().load()?).await
}

/// Opens the store at `url`, configured by `config` and the URL's query.
///
/// # Errors
/// As [`open`].
pub async fn open_with(url: &str, config: &Config) -> Result<Store> {
    let backend = Backend::of(url)?;
    let config = with_backends(config.to_builder()).url(url).load()?;
    match backend {
        Backend::Memory => memory::open(config.settings().clone(), Clock::system()),
        #[cfg(feature = "sqlite")]
        Backend::Sqlite => mcp_event_store_sqlite::open(url, &config).await,
        #[cfg(feature = "postgres")]
        Backend::Postgres => mcp_event_store_postgres::open(url, &config).await,
        #[cfg(feature = "redis")]
        Backend::Redis => mcp_event_store_redis::open(url, &config).await,
        #[cfg(feature = "rocksdb")]
        Backend::RocksDb => mcp_event_store_rocksdb::open(url, &config).await,
        #[allow(unreachable_patterns, reason = "there is none where every feature is on")]
        missing => Err(missing.is_missing()),
    }
}

/// Whether the scheme of `url` is known and its backend compiled in. Opens nothing.
///
/// # Errors
/// `InvalidInput` if not, as from [`open`].
pub fn check_scheme(url: &str) -> Result<()> {
    Backend::of(url).map(drop)
}

/// The Rust in the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
