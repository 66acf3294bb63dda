//! Asking a cluster's nodes who serves which slot.

use std::collections::BTreeMap;

use mcp_event_store_core::Result;
use redis::Value;

use crate::connect::Link;
use crate::error::{malformed, refused};
use crate::keys::{BUCKETS, slot_of};
use crate::target::Address;

/// Each bucket's master, as the node at the other end of `link` sees it; `None` where a slot has
/// none.
pub(crate) async fn masters(link: &Link, asked: &Address) -> Result<Vec<Option<Address>>> {
    let mut connection = link.connection.clone();
    let ask = redis::cmd("CLUSTER").arg("SLOTS").to_owned();
    let answer: Value = ask.query_async(&mut connection).await.map_err(refused)?;
    let Value::Array(ranges) = answer else { return Err(malformed("CLUSTER SLOTS")) };
    let mut by_last_slot = BTreeMap::new();
    for range in ranges {
        let (first, last, master) = slots(range, asked)?;
        by_last_slot.insert(last, (first, master));
    }
    let master_of = |bucket| {
        let slot = i64::from(slot_of(bucket));
        let (_, (first, master)) = by_last_slot.range(slot..).next()?;
        (*first <= slot).then(|| master.clone())
    };
    Ok((0..BUCKETS).map(master_of).collect())
}

/// One range: first slot, last slot, master.
fn slots(range: Value, asked: &Address) -> Result<(i64, i64, Address)> {
    let Value::Array(range) = range else { return Err(malformed("a range of slots")) };
    let [Value::Int(first), Value::Int(last), Value::Array(master), ..] = &range[..] else {
        return Err(malformed("a range of slots"));
    };
    let [host, Value::Int(port), ..] = &master[..] else { return Err(malformed("a master")) };
    let host = match host {
        Value::BulkString(host) if !host.is_empty() && host != b"?" => {
            String::from_utf8_lossy(host).into_owned()
        }
        // A node that does not know its own name is the one that was asked.
        _ => asked.host.clone(),
    };
    let port = u16::try_from(*port).map_err(|_| malformed("a port"))?;
    Ok((*first, *last, Address { host, port }))
}

/// The address in a redirection; an empty host means the node that redirected.
pub(crate) fn redirected(node: &str, asked: &Address) -> Option<Address> {
    let (host, port) = node.rsplit_once(':')?;
    let host = if host.is_empty() { asked.host.clone() } else { host.to_owned() };
    Some(Address { host, port: port.parse().ok()? })
}
