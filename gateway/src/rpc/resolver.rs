//! The resolver over the network: one connection a question, so that one that was lost is nobody's business.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use proto::v1;
use proto::v1::resolver_service_client::ResolverServiceClient;
use semantics::canonical;
use semantics::envelope::BODY_BYTES_MAX;
use semantics::ids::Dot;
use semantics::reason::{Reason, Refusal};
use semantics::resolution::Choice;
use semantics::resolution::proposal::{Proposal, Question, Said};
use semantics::session::MESSAGE_BYTES_MAX;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Code, Request, Status};

use super::conflicts::told;
use crate::config::ResolverAt;
use crate::hub::Hub;
use crate::hub::asks::Turn;
use crate::hub::resolver::{Resolver, Unanswered};
use crate::telemetry::Metrics;
use crate::tls;

/// Longest answer, bytes: a body, and room for name and reason.
pub const ANSWER_BYTES_MAX: usize = BODY_BYTES_MAX + 16 * 1024;
/// The outcome of a conflict that the budget has held up, in counters.
const OVER_BUDGET: &str = "over_budget";
/// Without anything to ask about, the list is looked at this often, milliseconds.
const LOOK_MS: u64 = 60_000;

/// The user's program, at an address.
#[derive(Debug)]
pub struct RemoteResolver(ResolverAt);

impl RemoteResolver {
    /// The one at this address.
    #[must_use]
    pub fn at(at: ResolverAt) -> Self {
        Self(at)
    }
}

/// A hub that asks the program that the settings name, if they name one.
#[must_use]
pub fn attached(hub: Hub, at: Option<&ResolverAt>) -> Hub {
    match at {
        Some(at) => hub.resolving(Arc::new(RemoteResolver::at(at.clone())), at.per_minute),
        None => hub,
    }
}

/// Has everything asked about that is due, until it is stopped; what is on its way then is dropped.
pub async fn keep_asking(hub: Arc<Hub>, metrics: Metrics, tasks: TaskTracker, stop: CancellationToken) {
    loop {
        let turn = hub.turn();
        let held_up = hub.asks().take_over_budget();
        if held_up > 0 {
            metrics.resolver(OVER_BUDGET, held_up);
            tracing::info!(conflicts = held_up, "the resolver's budget of this minute is used up");
        }
        let wait_ms = match turn {
            Turn::Ask(case) => {
                let (hub, metrics, stop) = (Arc::clone(&hub), metrics.clone(), stop.clone());
                tasks.spawn(async move {
                    tokio::select! {
                        () = stop.cancelled() => {}
                        outcome = hub.ask(&case) => {
                            if let Some(outcome) = outcome {
                                metrics.resolver(outcome.name(), 1);
                            }
                        }
                    }
                });
                continue;
            }
            Turn::Wait(ms) => ms,
            Turn::Look(_) | Turn::Idle => LOOK_MS,
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = hub.asks().came() => {}
            () = tokio::time::sleep(Duration::from_millis(wait_ms)) => {}
        }
    }
}

#[async_trait]
impl Resolver for RemoteResolver {
    async fn propose(&self, question: &Question) -> Result<Proposal, Unanswered> {
        let request = request(question);
        let answer = tokio::time::timeout(self.0.timeout, self.call(request));
        let response = answer.await.map_err(|_| Unanswered::Timeout)??;
        proposal(response).map_err(|refusal| Unanswered::Malformed(refusal.to_string()))
    }
}

impl RemoteResolver {
    async fn call(&self, asked: v1::ProposeRequest) -> Result<v1::ProposeResponse, Unanswered> {
        let channel = tls::client::channel(&self.0.url, self.0.ca_pem.as_deref()).await;
        let channel = channel.map_err(|error| Unanswered::Unavailable(error.to_string()))?;
        let mut client = ResolverServiceClient::new(channel)
            .max_decoding_message_size(ANSWER_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let mut request = Request::new(asked);
        request.set_timeout(self.0.timeout);
        Ok(client.propose(request).await.map_err(|status| of_status(&status))?.into_inner())
    }
}

/// What a status says: that the answer, or the question, will be no better the next time, or that it may.
fn of_status(status: &Status) -> Unanswered {
    let told = format!("{:?}", status.code());
    // With a source it is the connection that failed, and no answer of anybody's.
    let is_said = std::error::Error::source(status).is_none();
    match status.code() {
        Code::DeadlineExceeded => Unanswered::Timeout,
        // The service's timer says it in its own words, the client's in this way.
        Code::Cancelled if is_said || has_timed_out(status) => Unanswered::Timeout,
        Code::Internal | Code::InvalidArgument | Code::OutOfRange | Code::DataLoss if is_said => {
            Unanswered::Malformed(told)
        }
        _ => Unanswered::Unavailable(told),
    }
}

/// Whether the call's own timer ended it.
fn has_timed_out(status: &Status) -> bool {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        if error.is::<tonic::TimeoutExpired>() {
            return true;
        }
        cause = error.source();
    }
    false
}

fn request(question: &Question) -> v1::ProposeRequest {
    let value = |wanted: &Result<_, Refusal>| told::value(wanted.clone());
    v1::ProposeRequest {
        tenant: question.tenant.to_string(),
        conflict: question.conflict.to_string(),
        revision: question.revision.0,
        subject: Some((&question.subject).into()),
        path: question.path.clone(),
        r#type: question.conflict_type.name().to_owned(),
        policy: question.policy.name().to_owned(),
        rule_version: question.rule_version.0,
        sides: question.sides.iter().map(side).collect(),
        dropped: question.dropped,
        ancestor: question.ancestor.as_ref().map(value),
        standing: question.standing.as_ref().map(value),
    }
}

fn side(said: &Said) -> v1::ProposeSide {
    v1::ProposeSide {
        stamp: Some((&said.side.stamp).into()),
        revision: said.side.revision.0,
        author: said.author.map(|author| author.as_bytes().to_vec()).unwrap_or_default(),
        name: said.name.clone(),
        deed: said.deed.name().to_owned(),
        value: Some(told::value(said.says.clone())),
    }
}

fn proposal(response: v1::ProposeResponse) -> Result<Proposal, Refusal> {
    use v1::propose_response::Choice as Wire;
    let v1::ProposeResponse { choice, name, reason } = response;
    let choice = match choice {
        None => return Err(Refusal::new(Reason::Malformed, "choice: absent")),
        Some(Wire::Abstain(v1::Abstain {})) => None,
        Some(Wire::Keep(v1::KeepStanding {})) => Some(Choice::Keep),
        Some(Wire::Ancestor(v1::TakeAncestor {})) => Some(Choice::Ancestor),
        Some(Wire::Nothing(v1::NoValue {})) => Some(Choice::Value(None)),
        Some(Wire::Side(dot)) => Some(Choice::Side(Dot::try_from(dot).map_err(Refusal::from)?)),
        Some(Wire::Value(json)) if json.len() > BODY_BYTES_MAX => {
            let detail = format!("value: {} bytes, at most {BODY_BYTES_MAX} are allowed", json.len());
            return Err(Refusal::new(Reason::TooLarge, detail));
        }
        Some(Wire::Value(json)) => Some(Choice::Value(Some(canonical::from_json(&json)?))),
    };
    Ok(Proposal { choice, name, reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(choice: Option<v1::propose_response::Choice>) -> v1::ProposeResponse {
        v1::ProposeResponse { choice, name: "model".to_owned(), reason: "because".to_owned() }
    }

    #[test]
    fn an_answer_is_read_or_refused_by_name() {
        use v1::propose_response::Choice as Wire;
        let read = |wire| proposal(answer(wire)).map(|read| read.choice).map_err(|refusal| refusal.reason);
        assert_eq!(read(None), Err(Reason::Malformed));
        assert_eq!(read(Some(Wire::Abstain(v1::Abstain {}))), Ok(None));
        assert_eq!(read(Some(Wire::Nothing(v1::NoValue {}))), Ok(Some(Choice::Value(None))));
        let value = |json: &str| read(Some(Wire::Value(json.as_bytes().to_vec())));
        assert_eq!(value(r#"{"a":1}"#), Ok(Some(Choice::Value(Some(serde_json::json!({"a": 1}))))));
        assert_eq!(value("{"), Err(Reason::Malformed));
        assert_eq!(value(&"1".repeat(BODY_BYTES_MAX + 1)), Err(Reason::TooLarge));
        assert_eq!(read(Some(Wire::Side(v1::Dot::default()))), Err(Reason::Malformed));
    }

    #[test]
    fn a_status_says_whether_to_ask_again() {
        for (code, is_final) in [
            (Code::Internal, true),
            (Code::InvalidArgument, true),
            (Code::OutOfRange, true),
            (Code::DataLoss, true),
            (Code::Unavailable, false),
            (Code::Unimplemented, false),
            (Code::Unknown, false),
            (Code::ResourceExhausted, false),
        ] {
            let is_malformed = matches!(of_status(&Status::new(code, "")), Unanswered::Malformed(_));
            assert_eq!(is_malformed, is_final, "{code:?}");
        }
        for timed_out in [Status::deadline_exceeded(""), Status::cancelled("")] {
            assert_eq!(of_status(&timed_out), Unanswered::Timeout);
        }
    }
}
