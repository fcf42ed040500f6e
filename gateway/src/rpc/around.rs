//! All that surrounds the calls of one listener, as one service (see [`super::layers`]): a call clones nothing of it but
//! a count.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;

use super::inflow::{self, Inflow};
use super::layers::{self, Layers};
use super::outflow::{self, Outflow};
use super::shares::{self, Shares};
use super::turns::{self, Queues};
use crate::auth::layer::AuthLayer;

/// What surrounds the calls of one listener.
#[derive(Debug)]
pub struct Around {
    /// What every call goes through.
    pub layers: Layers,
    /// Looks who is calling.
    pub rights: AuthLayer,
    /// How many calls are open, and whose.
    pub shares: Shares,
    /// How much of the call is held until it is whole.
    pub inflow: Inflow,
    /// Whether it is its turn.
    pub turns: Queues,
    /// How much of its answer is held until it is taken.
    pub outflow: Outflow,
}

impl Around {
    /// Puts it around calls.
    pub fn calls(self, routes: axum::Router) -> axum::Router {
        routes.layer(from_fn_with_state(Arc::new(self), call))
    }
}

async fn call(State(around): State<Arc<Around>>, request: Request, next: Next) -> Response {
    let Around { layers, rights, shares, inflow, turns, outflow } = around.as_ref();
    let answered = move |request: Box<Request>| next.run(*request);
    let counted_out = move |request| outflow::bound(outflow, request, answered);
    let in_turn = move |request| turns::bound(turns, request, counted_out);
    let counted_in = move |request| inflow::bound(inflow, request, in_turn);
    let within_share = move |request| shares::bound(shares, request, counted_in);
    let allowed = move |mut request: Box<Request>| async move {
        match rights.admit(&mut request).await {
            Ok(()) => within_share(request).await,
            Err(refused) => refused.into_http(),
        }
    };
    layers::in_use(Box::new(request), move |request| layers.run(request, allowed)).await
}

/// Tells the connection that it is used, where nothing else is around a call.
pub fn in_use(routes: axum::Router) -> axum::Router {
    let call =
        |request: Request, next: Next| layers::in_use(Box::new(request), move |request| next.run(*request));
    routes.layer(from_fn(call))
}
