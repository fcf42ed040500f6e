//! The layer that looks who is calling, before anything of the call is parsed.

use std::sync::Arc;

use tonic::Status;

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

    /// Whether this may be called by whoever calls it; that one is then in the request's extensions.
    ///
    /// # Errors
    /// The refusal, as it goes over the wire.
    pub async fn admit<B>(&self, request: &mut http::Request<B>) -> Result<(), Status> {
        let shown = request.headers().get(http::header::AUTHORIZATION).map(http::HeaderValue::as_bytes);
        let path = request.uri().path();
        let proven = self.verifier.proven(path, shown).await;
        if let Ok(caller) = &proven {
            (self.note)(caller.clone());
        }
        let caller = proven.and_then(|caller| caller.allowed(path)).map_err(self.refuse)?;
        request.extensions_mut().insert(caller);
        Ok(())
    }
}
