//! A resolver to begin with: it merges two versions of a record field by field, and says how.
//!
//! ```text
//! cargo run -p gateway --example resolver -- --listen 127.0.0.1:7500
//! hubward serve --resolver http://127.0.0.1:7500 …
//! hubward policy set KIND resolver
//! ```
//!
//! Of two texts it takes the longer, of two arrays all that either holds, of two numbers the greater; what only one side
//! changed is that side's. It has no state: the hub may ask the same twice, and may throw an answer away. In the place of
//! `merge` a model can be asked; what it says goes into the reason.
#![allow(clippy::print_stdout, reason = "it tells who started it where it listens")]

use std::net::SocketAddr;
use std::time::Duration;

use clap::Parser;
use proto::v1;
use proto::v1::conflict_value::Value as Told;
use proto::v1::propose_response::Choice;
use proto::v1::resolver_service_server::{ResolverService, ResolverServiceServer};
use serde_json::{Map, Value};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

/// Proposes what is to stand where two versions of a record disagree.
#[derive(Debug, Clone, Parser)]
struct Args {
    /// Where the hub finds it; port 0 takes a free one. The address is printed as one line of JSON.
    #[arg(long, default_value = "127.0.0.1:7500")]
    listen: SocketAddr,
    /// The name that the hub's history shows, after `resolver/`.
    #[arg(long, default_value = "example-1")]
    name: String,
    /// Takes so long to answer, milliseconds: to see what the hub does then.
    #[arg(long, default_value_t = 0)]
    slow_ms: u64,
    /// Leaves everything to a person.
    #[arg(long)]
    abstain: bool,
    /// Answers with something that is no JSON.
    #[arg(long)]
    garbage: bool,
}

#[tonic::async_trait]
impl ResolverService for Args {
    async fn propose(
        &self,
        request: Request<v1::ProposeRequest>,
    ) -> Result<Response<v1::ProposeResponse>, Status> {
        tokio::time::sleep(Duration::from_millis(self.slow_ms)).await;
        let abstain = |why: &str| (Choice::Abstain(v1::Abstain {}), why.to_owned());
        let (choice, reason) = if self.garbage {
            (Choice::Value(b"{".to_vec()), String::new())
        } else if self.abstain {
            abstain("told to")
        } else {
            match merge(request.get_ref()) {
                Some((value, reason)) => (Choice::Value(value.to_string().into_bytes()), reason),
                None => abstain("it needs two sides that it can read"),
            }
        };
        Ok(Response::new(v1::ProposeResponse { choice: Some(choice), name: self.name.clone(), reason }))
    }
}

/// What two sides come to, and why. `None` for more sides, for a delete, and for what is sealed or not kept.
fn merge(question: &v1::ProposeRequest) -> Option<(Value, String)> {
    let [earlier, later] = question.sides.as_slice() else { return None };
    let (one, two) = (json(earlier.value.as_ref())?, json(later.value.as_ref())?);
    let before = json(question.ancestor.as_ref()).unwrap_or_default();
    let (Value::Object(one), Value::Object(two)) = (&one, &two) else {
        let (value, how) = of_both(&one, &two);
        return Some((value, how.to_owned()));
    };
    let mut merged = Map::new();
    let mut reasons: Vec<String> = Vec::new();
    for name in one.keys().chain(two.keys().filter(|name| !one.contains_key(*name))) {
        let was = before.get(name);
        let value = match (one.get(name), two.get(name)) {
            (mine, theirs) if mine == theirs || mine == was => theirs.cloned(),
            (mine, theirs) if theirs == was => mine.cloned(),
            (Some(mine), Some(theirs)) => {
                let (value, how) = of_both(mine, theirs);
                reasons.push(format!("{name}: {how}"));
                Some(value)
            }
            // Removed by one, changed by the other: what was written is kept.
            (mine, theirs) => mine.or(theirs).cloned(),
        };
        merged.extend(value.map(|value| (name.clone(), value)));
    }
    let reason =
        if reasons.is_empty() { "they changed different fields".to_owned() } else { reasons.join(", ") };
    // The hub takes 1024 bytes.
    Some((Value::Object(merged), reason.chars().take(250).collect()))
}

fn of_both(earlier: &Value, later: &Value) -> (Value, &'static str) {
    match (earlier, later) {
        (Value::String(one), Value::String(two)) if one.len() > two.len() => {
            (earlier.clone(), "the longer text")
        }
        (Value::String(_), Value::String(_)) => (later.clone(), "the longer text"),
        (Value::Array(one), Value::Array(two)) => {
            let more = two.iter().filter(|value| !one.contains(value));
            (one.iter().chain(more).cloned().collect(), "all of both")
        }
        (Value::Number(one), Value::Number(two)) if one.as_f64() > two.as_f64() => {
            (earlier.clone(), "the greater number")
        }
        (Value::Number(_), Value::Number(_)) => (later.clone(), "the greater number"),
        _ => (later.clone(), "the later one"),
    }
}

fn json(value: Option<&v1::ConflictValue>) -> Option<Value> {
    match value?.value.as_ref()? {
        Told::Json(bytes) => serde_json::from_slice(bytes).ok(),
        Told::Nothing(_) | Told::Sealed(_) | Told::Unknown(_) => None,
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let listener = TcpListener::bind(args.listen).await?;
    println!("{}", serde_json::json!({"listen": listener.local_addr()?.to_string()}));
    tonic::transport::Server::builder()
        .add_service(ResolverServiceServer::new(args))
        .serve_with_incoming(TcpListenerStream::new(listener))
        .await?;
    Ok(())
}
