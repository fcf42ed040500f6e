//! The layer that looks who is calling, before anything of the call is parsed.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tonic::Status;
use tower::{Layer, Service};

use super::verifier::{Caller, Verifier};
use crate::hub::error::HubError;

/// Turns a refusal into what goes over the wire.
pub type Refuse = fn(HubError) -> Status;
/// Is told who has proved to be calling, before it is looked whether that one may.
pub type Note = fn(Caller);

/// Lets those through who may call what they call, each with its [`super::Caller`] in the request's extensions.
#[derive(Debug, Clone)]
pub struct AuthLayer {
    verifier: Arc<Verifier>,
    refuse: Refuse,
    note: Note,
}

impl AuthLayer {
    /// A layer.
    #[must_use]
    pub fn new(verifier: Arc<Verifier>, refuse: Refuse, note: Note) -> Self {
        Self { verifier, refuse, note }
    }
}

impl<S> Layer<S> for AuthLayer {
    type Service = Auth<S>;
    fn layer(&self, inner: S) -> Auth<S> {
        Auth { inner, layer: self.clone() }
    }
}

/// A service behind an [`AuthLayer`].
#[derive(Debug, Clone)]
pub struct Auth<S> {
    inner: S,
    layer: AuthLayer,
}

impl<S, B, R> Service<http::Request<B>> for Auth<S>
where
    S: Service<http::Request<B>, Response = http::Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
    R: Default,
{
    type Response = http::Response<R>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: http::Request<B>) -> Self::Future {
        // The service that was polled ready is the one to call; its clone waits for the next turn.
        let waiting = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, waiting);
        let AuthLayer { verifier, refuse, note } = self.layer.clone();
        Box::pin(async move {
            let shown = request.headers().get(http::header::AUTHORIZATION).cloned();
            let shown = shown.as_ref().map(http::HeaderValue::as_bytes);
            let path = request.uri().path();
            let proven = verifier.proven(path, shown).await;
            if let Ok(caller) = &proven {
                note(caller.clone());
            }
            match proven.and_then(|caller| caller.allowed(path)) {
                Ok(caller) => {
                    request.extensions_mut().insert(caller);
                    inner.call(request).await
                }
                Err(error) => Ok(refuse(error).into_http()),
            }
        })
    }
}
