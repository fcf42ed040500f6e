//! What a line of the table is.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use semantics::outcome::Outcome;
use semantics::reason::Reason;
use tonic::{Response, Status};

use super::world::World;

/// Who is known to be calling: whose name the refusal can be put down to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum By {
    Nobody,
    Node,
    Operator,
    /// The library of the wire answers by itself, and nobody is asked.
    Wire,
}

/// What an attacker is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// The call is refused; nothing of it is kept.
    Refused(Reason),
    /// The mutation is answered for good: it has no effect.
    Rejected(Reason),
    /// The stream waits; nothing of it is kept.
    Waits(Reason),
    /// The session ends with this.
    Goodbye(Reason),
    /// The hub closes the connection before or beside any call, and counts it.
    Closed(&'static str),
    /// The connection ends with this error of HTTP/2.
    Ended(&'static str),
    /// Nothing: it is borne, and others are served meanwhile.
    Borne,
    /// It was taken: never what a line says.
    Taken,
}

impl fmt::Display for Heard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(reason) => write!(f, "`{}`", reason.as_str()),
            Self::Rejected(reason) => write!(f, "rejected: `{}`", reason.as_str()),
            Self::Waits(reason) => write!(f, "waits: `{}`", reason.as_str()),
            Self::Goodbye(reason) => write!(f, "goodbye: `{}`", reason.as_str()),
            Self::Closed(cause) => write!(f, "closed: `{cause}`"),
            Self::Ended(error) if error.contains(' ') => write!(f, "connection ends: {error}"),
            Self::Ended(error) => write!(f, "connection ends: `{error}`"),
            Self::Borne => write!(f, "borne; others are served"),
            Self::Taken => write!(f, "taken"),
        }
    }
}

pub type Attack = for<'a> fn(&'a World) -> Pin<Box<dyn Future<Output = Heard> + Send + 'a>>;

/// One attack.
pub struct Row {
    pub name: &'static str,
    pub by: By,
    pub hears: Heard,
    pub attack: Attack,
}

/// `attack!("what is sent", who is known, what is heard, |world| what is done)`
macro_rules! attack {
    ($name:literal, $by:ident, $hears:expr, |$world:ident| $attack:expr) => {
        $crate::table::Row {
            name: $name,
            by: $crate::table::By::$by,
            hears: $hears,
            attack: |$world| Box::pin(async move { $attack }),
        }
    };
}
pub(crate) use attack;

/// What a call's answer says.
pub fn told<T>(answer: Result<Response<T>, Status>) -> Heard {
    match answer {
        Ok(_) => Heard::Taken,
        Err(status) => Heard::Refused(proto::reason::refusal_of(&status).reason),
    }
}

/// What the answer to a push says of its first mutation that was not taken.
pub fn answered(answer: Result<Response<proto::v1::PushResponse>, Status>) -> Heard {
    let answer = match answer {
        Ok(answer) => answer.into_inner(),
        Err(status) => return Heard::Refused(proto::reason::refusal_of(&status).reason),
    };
    let results = semantics::session::Results::try_from(answer).unwrap();
    if let Some(waits) = results.waits {
        return Heard::Waits(waits.reason);
    }
    let rejected = results.outcomes.into_iter().find_map(|result| match result.outcome {
        Some(Outcome::Rejected(refusal)) => Some(refusal.reason),
        _ => None,
    });
    rejected.map_or(Heard::Taken, Heard::Rejected)
}
