//! The PostgreSQL backend against real servers.

#![allow(clippy::unwrap_used, missing_docs)]

mod accounting;
mod booking;
mod crossing;
mod extending;
mod limits;
mod notifications;
mod opening;
mod plans;
mod restart;
mod rights;
mod scope;
mod tls;
