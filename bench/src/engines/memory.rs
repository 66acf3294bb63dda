//! The process's memory: a store without an engine below it.

use async_trait::async_trait;

use super::{Engine, Raw};

pub(super) struct Memory;

#[async_trait]
impl Engine for Memory {
    fn description(&self) -> &'static str {
        "the process's memory: nothing is durable"
    }

    fn store_url(&self, _name: &str) -> String {
        "memory://".into()
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn raw(&self) -> Option<&dyn Raw> {
        None
    }

    async fn stored_bytes(&self) -> anyhow::Result<u64> {
        Ok(0)
    }

    async fn clean(&self) -> anyhow::Result<()> {
        Ok(())
    }
}
