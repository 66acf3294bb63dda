//! Database servers for this project's own tests: PostgreSQL, Redis or Valkey, PgBouncer, and a
//! TCP proxy that cuts connections.
//!
//! A server comes from the first of these that is there: a URL in the environment, a container, a
//! program of this machine. If none is there, asking for one is an error that says what was looked
//! for and what to do; no test is skipped. `docs/testing.md` tells users of the variables.
//!
//! Servers listen on the loopback interface only, on ports chosen here. Each ends with the test
//! process, however that ends (see `keeper.sh` and `guard.sh`), or earlier, when its value is
//! dropped. Everything may be called from any number of async runtimes, which may come and go:
//! whatever is bound to a runtime lives on this crate's own.

mod container;
mod environment;
mod error;
mod local;
mod pgbouncer;
mod place;
mod ports;
mod postgres;
mod proxy;
mod recipe;
mod redis;
mod redis_cluster;
mod redis_sentinel;
mod resp;
mod runtime;
mod server;
mod source;

pub use crate::redis::{Redis, RedisOptions};
pub use environment::Flavour;
pub use error::Error;
pub use pgbouncer::PgBouncer;
pub use postgres::{Postgres, PostgresOptions};
pub use proxy::{Cut, Proxy, Spotter};
pub use redis_cluster::RedisCluster;
pub use redis_sentinel::RedisSentinel;
