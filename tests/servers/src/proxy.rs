//! A TCP proxy that cuts connections at the worst moment.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::error::Error;
use crate::runtime;

/// How long a server may take to finish with a connection that its client lost.
const LAST_WORDS: Duration = Duration::from_secs(30);

/// A way to lose the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Once, at the next write that is spotted: the connection dies before the server gets it.
    Request,
    /// Once, at the next write that is spotted: the server gets it, and the connection dies when
    /// the server answers, before the client gets that answer.
    Answer,
    /// From now on until it is mended: open connections are dead, and new ones die at once.
    Down,
}

/// Watches what one client says. It is fed all of it, piece by piece as it arrives, and says
/// whether this piece holds the write to strike, or its end.
pub type Spotter = Box<dyn FnMut(&[u8]) -> bool + Send>;

type MakeSpotter = Box<dyn Fn() -> Spotter + Send + Sync>;

/// A TCP proxy in front of a server. It ends, and its connections with it, when it is dropped.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    _end: DropGuard,
}

struct Shared {
    target: SocketAddr,
    make_spotter: MakeSpotter,
    end: CancellationToken,
    /// Nothing awaits under it.
    state: Mutex<State>,
}

struct State {
    /// What happens at the next spotted write.
    strike: Option<Cut>,
    /// Ends all connections opened since it was last mended; cancelled while it is down.
    up: CancellationToken,
}

impl Proxy {
    /// A proxy to `target`; it calls `spotter` once for each connection.
    ///
    /// # Errors
    /// It cannot listen on the loopback interface.
    pub async fn to(
        target: SocketAddr,
        spotter: impl Fn() -> Spotter + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let start = async move {
            let end = CancellationToken::new();
            let state = Mutex::new(State { strike: None, up: end.child_token() });
            let make_spotter: MakeSpotter = Box::new(spotter);
            let shared = Arc::new(Shared { target, make_spotter, end: end.clone(), state });
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
            let listener = listener.map_err(|error| Error::here("a port for the proxy", error))?;
            let address = listener.local_addr();
            let address = address.map_err(|error| Error::here("the proxy's port", error))?;
            tokio::spawn(end.clone().run_until_cancelled_owned(accept(listener, shared.clone())));
            Ok(Self { address, shared, _end: end.drop_guard() })
        };
        runtime::run(start).await.map_err(io::Error::other)
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts connections in the given way. After [`Cut::Down`] nothing more gets through once this
    /// returns.
    pub fn cut(&self, how: Cut) {
        let mut state = self.shared.state();
        match how {
            Cut::Down => state.up.cancel(),
            Cut::Request | Cut::Answer => state.strike = Some(how),
        }
    }

    /// Lets connections through again, and forgets a cut that has not struck.
    pub fn mend(&self) {
        let mut state = self.shared.state();
        state.strike = None;
        if state.up.is_cancelled() {
            state.up = self.shared.end.child_token();
        }
    }
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Proxy({} to {})", self.address, self.shared.target)
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        let up = shared.state().up.clone();
        let shared = shared.clone();
        tokio::spawn(async move {
            // Once it is cancelled, dropping the streams closes the connections.
            up.clone().run_until_cancelled(serve(client, shared, up)).await
        });
    }
}

/// One connection, to its end. Nothing is left to do when either side has gone.
async fn serve(client: TcpStream, shared: Arc<Shared>, up: CancellationToken) -> io::Result<()> {
    let server = TcpStream::connect(shared.target).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let link = Arc::new(Link { shared, up, struck: CancellationToken::new(), armed: false.into() });
    let requests = requests(link.clone(), from_client, to_server);
    let answers = answers(link, from_server, to_client);
    tokio::join!(requests, answers);
    Ok(())
}

/// What the two directions of a connection share.
struct Link {
    shared: Arc<Shared>,
    up: CancellationToken,
    /// The client has lost this connection.
    struck: CancellationToken,
    /// The next answer strikes.
    armed: AtomicBool,
}

/// Client to server, until either side ends or a cut strikes. Dropping `to` tells the server.
async fn requests(link: Arc<Link>, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
    let mut spotter = (link.shared.make_spotter)();
    let mut buffer = vec![0; 64 << 10];
    while let Some(Ok(length @ 1..)) = link.struck.run_until_cancelled(from.read(&mut buffer)).await
    {
        let bytes = &buffer[..length];
        let holds_a_write = spotter(bytes);
        match link.strike(holds_a_write) {
            Some(Cut::Request | Cut::Down) => return link.struck.cancel(),
            Some(Cut::Answer) => link.armed.store(true, SeqCst),
            None => {}
        }
        if to.write_all(bytes).await.is_err() {
            break;
        }
    }
}

/// Server to client. After a strike the server is heard out, so that it does all it was asked:
/// pipelined requests before the spotted one may have brought the answer that struck.
async fn answers(link: Arc<Link>, mut from: OwnedReadHalf, to: OwnedWriteHalf) {
    let mut to = Some(to);
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = if link.struck.is_cancelled() {
            drop(to.take());
            timeout(LAST_WORDS, from.read(&mut buffer)).await.unwrap_or(Ok(0))
        } else {
            tokio::select! {
                biased;
                () = link.struck.cancelled() => continue,
                read = from.read(&mut buffer) => read,
            }
        };
        let Ok(length @ 1..) = read else { return link.struck.cancel() };
        if link.up.is_cancelled() {
            return;
        }
        if link.armed.load(SeqCst) {
            link.struck.cancel();
        }
        if let Some(to) = to.as_mut().filter(|_| !link.struck.is_cancelled())
            && to.write_all(&buffer[..length]).await.is_err()
        {
            link.struck.cancel();
        }
    }
}

impl Link {
    /// The cut that strikes now.
    fn strike(&self, at_a_write: bool) -> Option<Cut> {
        let mut state = self.shared.state();
        if self.up.is_cancelled() {
            return Some(Cut::Down);
        }
        if at_a_write { state.strike.take() } else { None }
    }
}
