//! Running a script: on the server that has its bucket, again where that is safe.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use mcp_event_store_core::{Durability, Error, Result};
use redis::{Cmd, Value};
use tokio::time::{Instant, sleep};

use crate::args::Args;
use crate::config::RedisOptions;
use crate::connect::Link;
use crate::error::{Effect, Failure, Next, classify};
use crate::keys::{self, Bucket, gate};
use crate::nodes::{Lane, Nodes};
use crate::rows::text_of;
use crate::scripts::{self, Script};
use crate::server;
use crate::target::{Address, Target};

/// Buckets that one call works on where there is one server, which does nothing else meanwhile.
const CHUNK: usize = 64;

/// Calls for several buckets that are under way at once in a cluster.
const AT_ONCE: usize = 32;

/// Redirections that one call follows without a pause: more would be a circle.
const REDIRECTIONS: u32 = 5;

const SHORTEST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// A script, where it runs, and what it is given after the terms.
pub(crate) struct Call {
    pub(crate) script: &'static Script,
    pub(crate) effect: Effect,
    pub(crate) buckets: Vec<Bucket>,
    pub(crate) args: Args,
}

impl Call {
    /// One that may be tried again.
    pub(crate) fn new(script: &'static Script, bucket: Bucket) -> Self {
        Self { script, effect: Effect::Repeatable, buckets: vec![bucket], args: Args::default() }
    }

    pub(crate) fn arg(mut self, arg: impl AsRef<[u8]>) -> Self {
        self.args.push(arg);
        self
    }

    /// One of its buckets: the server that has it has them all.
    fn bucket(&self) -> Bucket {
        self.buckets.first().copied().unwrap_or_default()
    }

    /// A number, which scripts read exactly up to 2^53.
    pub(crate) fn number(self, number: u64) -> Self {
        self.arg(text_of(number))
    }
}

/// Nothing was sent, whatever it was.
fn unsent(error: Error) -> Failure {
    let next = if error.is_retryable() { Next::LookAround } else { Next::GiveUp };
    Failure::new(error, next)
}

/// A store's servers.
pub(crate) struct Redis {
    pub(crate) nodes: Nodes,
    pub(crate) prefix: String,
    retry_for: Duration,
    wait: Option<(u64, Duration)>,
}

impl Redis {
    pub(crate) async fn open(
        target: Target,
        options: &RedisOptions,
        durability: Durability,
    ) -> Result<Self> {
        keys::check_prefix(&options.key_prefix)?;
        let nodes = Nodes::open(target, options, durability).await?;
        let redis = Self {
            nodes,
            prefix: options.key_prefix.clone(),
            retry_for: options.retry_for,
            wait: options.wait_replicas.map(|replicas| (replicas, options.wait_timeout)),
        };
        for master in redis.nodes.masters() {
            let link = redis.nodes.link(&master, Lane::Others).await?;
            server::warn_of_eviction(&link, &master).await?;
        }
        Ok(redis)
    }

    /// Whether appends wait for replicas.
    pub(crate) fn waits(&self) -> bool {
        self.wait.is_some()
    }

    /// Runs `call` with `terms`, for as long as it may be tried again.
    pub(crate) async fn run(&self, call: &Call, terms: &[u8]) -> Result<Value> {
        let deadline = Instant::now() + self.retry_for;
        let (mut pause, mut redirections, mut as_text) = (SHORTEST_PAUSE, 0, false);
        loop {
            let (seen, failure) = match self.attempt(call, terms, as_text).await {
                Ok(value) => return Ok(value),
                Err(failed) => failed,
            };
            match failure.next {
                Next::GiveUp => return Err(failure.error),
                Next::SendText if !as_text => {
                    as_text = true;
                    continue;
                }
                Next::Ask(_) if redirections < REDIRECTIONS => {
                    redirections += 1;
                    continue;
                }
                _ => {}
            }
            if Instant::now() + pause > deadline {
                return Err(failure.error);
            }
            tracing::debug!(script = ?call.script, error = %failure.error, "trying again");
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            (as_text, redirections) = (false, 0);
            if failure.next != Next::Wait
                && let Err(error) = Box::pin(self.nodes.look_around(seen)).await
            {
                tracing::debug!(%error, "nobody says who serves");
            }
        }
    }

    /// Sends `call` once. A failure comes with the version of the map that the call went by.
    async fn attempt(
        &self,
        call: &Call,
        terms: &[u8],
        as_text: bool,
    ) -> Result<Value, (u64, Failure)> {
        let (seen, master) = self.nodes.master_of(call.bucket());
        let fail = |failure| (seen, failure);
        let Some(master) = master else {
            let message = "no node of the Redis cluster serves the slot: check `CLUSTER INFO`";
            let error = Error::Unavailable { message: message.into(), cause: None };
            return Err(fail(Failure::new(error, Next::LookAround)));
        };
        self.send_to(&master, call, terms, as_text).await.map_err(fail)
    }

    /// Sends `call` to `master`: an append by a connection of its own, if it gets one.
    async fn send_to(
        &self,
        master: &Address,
        call: &Call,
        terms: &[u8],
        as_text: bool,
    ) -> Result<Value, Failure> {
        let is_append = call.effect == Effect::Once;
        if is_append && let Some(mut taken) = self.nodes.take(master).await.map_err(unsent)? {
            let ask = async |link: &Link| {
                let answer = self.send(call, terms, as_text, link).await;
                answer.inspect_err(|failure| self.learn(failure, link, call, master))
            };
            let answer = taken.connection.during(ask).await;
            taken.give_back();
            return answer;
        }
        let lane = if is_append { Lane::Appends } else { Lane::Others };
        let link = self.nodes.link(master, lane).await.map_err(unsent)?;
        let sent = self.send(call, terms, as_text, &link).await;
        sent.inspect_err(|failure| self.learn(failure, &link, call, master))
    }

    /// What a failure says about the servers.
    fn learn(&self, failure: &Failure, link: &Link, call: &Call, master: &Address) {
        match &failure.next {
            Next::Ask(node) => self.nodes.moved(call.bucket(), master, node),
            Next::LookAround => link.abandon(),
            Next::GiveUp if matches!(failure.error, Error::OutcomeUnknown { .. }) => link.abandon(),
            _ => {}
        }
    }

    async fn send(
        &self,
        call: &Call,
        terms: &[u8],
        as_text: bool,
        link: &Link,
    ) -> Result<Value, Failure> {
        let mut connection = link.connection.clone();
        let command = self.command(call, terms, as_text);
        let sent = connection.send_packed_command(&command).await;
        let value = sent.and_then(Value::extract_error).map_err(|e| classify(e, call.effect))?;
        if call.effect == Effect::Once {
            self.wait_for_replicas(link).await?;
        }
        Ok(value)
    }

    fn command(&self, call: &Call, terms: &[u8], as_text: bool) -> Cmd {
        let name = if as_text { "EVAL" } else { "EVALSHA" };
        let script = if as_text { call.script.code() } else { call.script.sha() };
        let (args, buckets) = (&call.args, call.buckets.len());
        let gates = buckets * (self.prefix.len() + "{1023}".len());
        let bytes = script.len() + gates + terms.len() + args.bytes();
        let mut command = Cmd::with_capacity(4 + buckets + args.len(), bytes + 32);
        command.arg(name).arg(script);
        command.arg(buckets);
        for bucket in &call.buckets {
            command.arg(gate(&self.prefix, *bucket));
        }
        command.arg(terms);
        for arg in args.iter() {
            command.arg(arg);
        }
        command
    }

    /// `WAIT` on the connection that wrote.
    async fn wait_for_replicas(&self, link: &Link) -> Result<(), Failure> {
        let Some((replicas, limit)) = self.wait else { return Ok(()) };
        let mut connection = link.connection.clone();
        let millis = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        let mut wait = redis::cmd("WAIT");
        wait.arg(replicas).arg(millis);
        let came: u64 = wait
            .query_async(&mut connection)
            .await
            .map_err(|error| classify(error, Effect::Once))?;
        if came >= replicas {
            return Ok(());
        }
        let message = format!(
            "{came} of {replicas} replicas have the events (wait_replicas): they are stored, and a \
             failover may lose them"
        );
        Err(Error::OutcomeUnknown { message: message.into(), cause: None }.into())
    }

    /// Whether replicas have everything that was written to `bucket` until now.
    pub(crate) async fn confirm(&self, bucket: Bucket, terms: &[u8]) -> Result<()> {
        let touch = Call { effect: Effect::Once, ..Call::new(&scripts::TOUCH, bucket) };
        match self.run(&touch, terms).await {
            Err(Error::OutcomeUnknown { message, cause }) => {
                Err(Error::Unavailable { message, cause })
            }
            done => done.map(drop),
        }
    }

    /// Buckets in groups that one call can work on.
    pub(crate) fn chunks(&self, buckets: &[Bucket]) -> Vec<Vec<Bucket>> {
        let size = if self.nodes.is_cluster() { 1 } else { CHUNK };
        buckets.chunks(size).map(<[Bucket]>::to_vec).collect()
    }

    /// Runs a call that may be tried again for all `buckets` that have a key of one of `names`;
    /// answers each call's buckets and answer, in order. In a cluster a few run at once. One server
    /// works on one at a time, and appends that come meanwhile should wait for no more than that.
    pub(crate) async fn run_everywhere(
        &self,
        script: &'static Script,
        buckets: &[Bucket],
        names: &[&str],
        args: &Args,
        terms: &[u8],
    ) -> Result<Vec<(Vec<Bucket>, Value)>> {
        let occupied = self.occupied(buckets, names).await;
        let calls = self.chunks(&occupied).into_iter().map(|buckets| async move {
            let args = args.clone();
            let call = Call { script, effect: Effect::Repeatable, buckets, args };
            let answer = self.run(&call, terms).await?;
            Ok((call.buckets, answer))
        });
        let at_once = if self.nodes.is_cluster() { AT_ONCE } else { 1 };
        stream::iter(calls).buffered(at_once).try_collect().await
    }

    /// Those of `buckets` that may have a key of one of `names`. In a cluster, where each bucket
    /// takes a call of its own, most of a small store's are empty: one request to each node tells.
    async fn occupied(&self, buckets: &[Bucket], names: &[&str]) -> Vec<Bucket> {
        if !self.nodes.is_cluster() {
            return buckets.to_vec();
        }
        let mut by_node: BTreeMap<Option<Address>, Vec<Bucket>> = BTreeMap::new();
        for bucket in buckets {
            by_node.entry(self.nodes.master_of(*bucket).1).or_default().push(*bucket);
        }
        let found = by_node.into_iter().map(|(node, buckets)| async move {
            let told = match node {
                Some(node) => self.which_exist(&node, &buckets, names).await,
                None => None,
            };
            told.unwrap_or(buckets)
        });
        let mut found = join_all(found).await.concat();
        found.sort_unstable();
        found
    }

    /// `None` if the node does not tell. A bucket about which it does not is taken for occupied:
    /// its slot may be elsewhere, or on its way.
    async fn which_exist(
        &self,
        node: &Address,
        buckets: &[Bucket],
        names: &[&str],
    ) -> Option<Vec<Bucket>> {
        let mut link = self.nodes.link(node, Lane::Others).await.ok()?;
        let mut questions = redis::pipe();
        for bucket in buckets {
            let gate = gate(&self.prefix, *bucket);
            let keys: Vec<_> = names.iter().map(|name| format!("{gate}:{name}")).collect();
            questions.cmd("EXISTS").arg(keys);
        }
        let answers = link.connection.send_packed_commands(&questions, 0, buckets.len()).await;
        let answers = answers.ok().filter(|answers| answers.len() == buckets.len())?;
        let occupied = buckets.iter().zip(answers).filter(|(_, count)| *count != Value::Int(0));
        Some(occupied.map(|(bucket, _)| *bucket).collect())
    }
}
