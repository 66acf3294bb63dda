//! The layer before rmcp: typed refusals, and sessions bound to their principals.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Request, Response};
use http_body_util::{Either, Full};
use tower_layer::Layer;
use tower_service::Service;
use tracing::Instrument;

use crate::principal::Caller;
use crate::request_scope::RequestScope;

const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

type PrincipalOf = dyn Fn(&Parts) -> Option<String> + Send + Sync;

/// A tower layer, and the service it makes, around rmcp's `StreamableHttpService`.
///
/// rmcp answers a resume that is refused with an empty 200, after which clients come back for ever,
/// and other refusals with text. Behind this layer they get a JSON-RPC error whose
/// `error.data.reason` says what happened: `unknown_event` and `events_expired` with status 400,
/// `limit_reached` with 429, `store_unavailable` with 503, and so on. What rmcp refuses by
/// itself (403, 404, 405, 406 …) keeps its status.
///
/// [`DurableSessionManager::service`](crate::DurableSessionManager::service) puts it in its place.
/// Where it is wired by hand, it must run in the same task as rmcp's service, as tower layers do
/// that do not spawn:
///
/// ```
/// # use mcp_event_store_rmcp::ResumeGuard;
/// # fn wire<S>(service: S) -> ResumeGuard<S> {
/// use tower_layer::Layer as _;
///
/// ResumeGuard::layer().layer(service)
/// # }
/// ```
#[derive(Clone)]
pub struct ResumeGuard<S> {
    inner: S,
    principal: Option<Arc<PrincipalOf>>,
}

impl ResumeGuard<()> {
    /// The layer that puts a guard around a service.
    #[must_use]
    pub fn layer() -> ResumeGuardLayer {
        ResumeGuardLayer { principal: None }
    }
}

impl<S> ResumeGuard<S> {
    /// Guards `inner`.
    #[must_use]
    pub fn new(inner: S) -> Self {
        Self { inner, principal: None }
    }

    /// Binds each session to the principal that began it: to everybody else it is not found.
    ///
    /// `principal` gives the authenticated user of a request, such as the subject of its token
    /// (not the token: the name is stored with the session), from an extension that the
    /// authentication before this layer has left; `None` is one more principal, for requests
    /// without a user. Who is authenticated at all stays for the server to decide.
    ///
    /// Requests without a session (protocol 2026-07-28) are not bound to anybody.
    #[must_use]
    pub fn with_principal(
        self,
        principal: impl Fn(&Parts) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        Self { principal: Some(Arc::new(principal)), ..self }
    }
}

impl<S> fmt::Debug for ResumeGuard<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let checked = self.principal.is_some();
        f.debug_struct("ResumeGuard").field("checks_principal", &checked).finish_non_exhaustive()
    }
}

impl<S, B, R> Service<Request<B>> for ResumeGuard<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    R: Send + 'static,
{
    type Response = Response<Either<R, Full<Bytes>>>;
    type Error = S::Error;
    type Future =
        Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send + 'static>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (mut parts, body) = request.into_parts();
        name_what_cannot_be_read(&mut parts);
        let caller = match &self.principal {
            Some(principal) => Caller::Checked(principal(&parts).map(Into::into)),
            None => Caller::Unchecked,
        };
        let scope = RequestScope::of(caller);
        let of_session = parts.headers.contains_key(SESSION_ID);
        let answer = scope.clone().run(self.inner.call(Request::from_parts(parts, body)));
        Box::pin(async move {
            let answer = if of_session { to_its_end(answer).await? } else { answer.await? };
            Ok(refused(&scope).unwrap_or_else(|| answer.map(Either::Left)))
        })
    }
}

/// Runs `answer` even if its client goes away meanwhile. rmcp restores a session within the request
/// that first asks for it; cut off in the middle, that leaves a session that knows no `initialize`,
/// and tells others who wait for it that it is not there.
async fn to_its_end<T: Send + 'static>(answer: impl Future<Output = T> + Send + 'static) -> T {
    match tokio::spawn(answer.in_current_span()).await {
        Ok(answer) => answer,
        Err(ended) => match ended.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is about to end, and this task with it.
            Err(_) => std::future::pending().await,
        },
    }
}

/// rmcp takes a `Last-Event-ID` that is no text for none at all, and would send the whole
/// standalone stream. No event has the empty ID.
fn name_what_cannot_be_read(parts: &mut Parts) {
    if let Some(id) = parts.headers.get_mut(LAST_EVENT_ID)
        && id.to_str().is_err()
    {
        *id = HeaderValue::from_static("");
    }
}

/// The answer to a request that was refused.
fn refused<R>(scope: &RequestScope) -> Option<Response<Either<R, Full<Bytes>>>> {
    let (refusal, request) = scope.refusal()?;
    let body = refusal.body(request).to_string();
    let mut response = Response::new(Either::Right(Full::from(body)));
    *response.status_mut() = refusal.status();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if refusal.passes() {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    Some(response)
}

/// Puts a [`ResumeGuard`] around a service.
#[derive(Clone)]
pub struct ResumeGuardLayer {
    principal: Option<Arc<PrincipalOf>>,
}

impl ResumeGuardLayer {
    /// As [`ResumeGuard::with_principal`].
    #[must_use]
    pub fn with_principal(
        self,
        principal: impl Fn(&Parts) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        Self { principal: Some(Arc::new(principal)) }
    }
}

impl<S> Layer<S> for ResumeGuardLayer {
    type Service = ResumeGuard<S>;

    fn layer(&self, inner: S) -> ResumeGuard<S> {
        ResumeGuard { inner, principal: self.principal.clone() }
    }
}

impl fmt::Debug for ResumeGuardLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResumeGuardLayer").finish_non_exhaustive()
    }
}
