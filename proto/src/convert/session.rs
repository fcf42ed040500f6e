//! The messages of a session, and reconciliation.

use semantics::health::SOFTWARE_BYTES_MAX;
use semantics::ids::{CommitNumber, Digest, LogId, MutationId, Revision};
use semantics::recovery::LINEAGE_MAX;
use semantics::session::{
    About, ClientMessage, Hello, Left, Limits, Push, PushItem, Reconcile, Reconciliation, Results,
    ServerMessage, StreamState, Summed, UNANSWERED_MAX, Welcome,
};

use super::cursor::resume_position;
use crate::shape::{At, ShapeError, list, optional, present, required};
use crate::v1;

/// Most outcomes in one page of reconciliation: a bound for decoding only.
const RECONCILED_MAX: usize = 65_536;

fn unanswered_max() -> usize {
    usize::try_from(UNANSWERED_MAX).unwrap_or(usize::MAX)
}

impl TryFrom<v1::StreamState> for StreamState {
    type Error = ShapeError;
    fn try_from(stream: v1::StreamState) -> Result<Self, ShapeError> {
        if stream.epoch == 0 {
            return Err(ShapeError::invalid("epochs of nodes start at 1")).at("epoch");
        }
        if stream.answered_n > stream.last_n {
            return Err(ShapeError::invalid("more was answered than given")).at("answered_n");
        }
        let digest = stream.last_digest.map(|digest| Digest::from_slice(&digest)).transpose();
        Ok(Self {
            epoch: stream.epoch,
            last_n: stream.last_n,
            last_digest: digest.at("last_digest")?,
            answered_n: stream.answered_n,
        })
    }
}

impl From<&StreamState> for v1::StreamState {
    fn from(stream: &StreamState) -> Self {
        Self {
            epoch: stream.epoch,
            last_n: stream.last_n,
            last_digest: stream.last_digest.map(|digest| digest.as_bytes().to_vec()),
            answered_n: stream.answered_n,
        }
    }
}

impl TryFrom<v1::Hello> for Hello {
    type Error = ShapeError;
    fn try_from(hello: v1::Hello) -> Result<Self, ShapeError> {
        if hello.credit_bytes == 0 {
            return Err(ShapeError::invalid("at least 1 is needed")).at("credit_bytes");
        }
        Ok(Self {
            protocol: hello.protocol,
            stream: optional("stream", hello.stream)?,
            cursor: optional("cursor", hello.cursor)?,
            resume: hello.resume.map(|resume| resume_position("resume", resume)).transpose()?,
            credit_bytes: hello.credit_bytes,
            about: optional("about", hello.about)?.unwrap_or_default(),
            lineage: list("lineage", hello.lineage, LINEAGE_MAX)?,
        })
    }
}

impl From<&Hello> for v1::Hello {
    fn from(hello: &Hello) -> Self {
        Self {
            protocol: hello.protocol,
            stream: hello.stream.as_ref().map(Into::into),
            cursor: hello.cursor.as_ref().map(Into::into),
            resume: hello.resume.clone(),
            credit_bytes: hello.credit_bytes,
            about: (hello.about != About::default()).then(|| (&hello.about).into()),
            lineage: hello.lineage.iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<v1::About> for About {
    type Error = ShapeError;
    fn try_from(about: v1::About) -> Result<Self, ShapeError> {
        let software = about.software;
        // It is shown to operators as it is.
        if software.len() > SOFTWARE_BYTES_MAX || software.bytes().any(|b| !b.is_ascii_graphic() && b != b' ')
        {
            let detail = format!("at most {SOFTWARE_BYTES_MAX} characters of printable ASCII");
            return Err(ShapeError::invalid(detail)).at("software");
        }
        Ok(Self { software: Some(software).filter(|name| !name.is_empty()), time_ms: about.time_ms })
    }
}

impl From<&About> for v1::About {
    fn from(about: &About) -> Self {
        Self { software: about.software.clone().unwrap_or_default(), time_ms: about.time_ms }
    }
}

impl TryFrom<v1::Limits> for Limits {
    type Error = ShapeError;
    fn try_from(limits: v1::Limits) -> Result<Self, ShapeError> {
        let above_zero = |field: &str, value: u64| match value {
            0 => Err(ShapeError::invalid("zero does not mean unlimited")).at(field),
            value => Ok(value),
        };
        Ok(Self {
            body_bytes_max: above_zero("body_bytes_max", limits.body_bytes_max)?,
            message_bytes_max: above_zero("message_bytes_max", limits.message_bytes_max)?,
            push_bytes_max: above_zero("push_bytes_max", limits.push_bytes_max)?,
            unanswered_max: above_zero("unanswered_max", limits.unanswered_max)?,
            group_mutations_max: above_zero("group_mutations_max", limits.group_mutations_max)?,
            group_bytes_max: above_zero("group_bytes_max", limits.group_bytes_max)?,
            clock_ahead_ms_max: above_zero("clock_ahead_ms_max", limits.clock_ahead_ms_max)?,
        })
    }
}

impl From<&Limits> for v1::Limits {
    fn from(limits: &Limits) -> Self {
        Self {
            body_bytes_max: limits.body_bytes_max,
            message_bytes_max: limits.message_bytes_max,
            push_bytes_max: limits.push_bytes_max,
            unanswered_max: limits.unanswered_max,
            group_mutations_max: limits.group_mutations_max,
            group_bytes_max: limits.group_bytes_max,
            clock_ahead_ms_max: limits.clock_ahead_ms_max,
        }
    }
}

impl TryFrom<v1::Welcome> for Welcome {
    type Error = ShapeError;
    fn try_from(welcome: v1::Welcome) -> Result<Self, ShapeError> {
        Ok(Self {
            protocol: welcome.protocol,
            log_id: LogId::from_slice(&welcome.log_id).at("log_id")?,
            writer: required("writer", welcome.writer)?,
            last_n: welcome.last_n,
            hub_time_ms: welcome.hub_time_ms,
            limits: required("limits", welcome.limits)?,
            backup_watermark: welcome.backup_watermark.map(Revision),
            recovery: optional("recovery", welcome.recovery)?,
            origin: optional("origin", welcome.origin)?,
        })
    }
}

impl From<&Welcome> for v1::Welcome {
    fn from(welcome: &Welcome) -> Self {
        Self {
            protocol: welcome.protocol,
            log_id: welcome.log_id.as_bytes().to_vec(),
            writer: Some((&welcome.writer).into()),
            last_n: welcome.last_n,
            hub_time_ms: welcome.hub_time_ms,
            limits: Some((&welcome.limits).into()),
            backup_watermark: welcome.backup_watermark.map(|revision| revision.0),
            recovery: welcome.recovery.as_ref().map(Into::into),
            origin: welcome.origin.as_ref().map(Into::into),
        }
    }
}

impl TryFrom<v1::PushItem> for PushItem {
    type Error = ShapeError;
    fn try_from(item: v1::PushItem) -> Result<Self, ShapeError> {
        match present("item", item.item)? {
            v1::push_item::Item::Mutation(mutation) => {
                Ok(Self::Mutation(Box::new((*mutation).try_into().at("mutation")?)))
            }
            v1::push_item::Item::Withdraw(withdraw) => withdrawal(&withdraw).at("withdraw"),
        }
    }
}

fn withdrawal(withdraw: &v1::Withdraw) -> Result<PushItem, ShapeError> {
    if withdraw.n == 0 {
        return Err(ShapeError::invalid("counters start at 1")).at("n");
    }
    Ok(PushItem::Withdraw {
        n: withdraw.n,
        mutation: MutationId::from_slice(&withdraw.mutation).at("mutation")?,
        digest: Digest::from_slice(&withdraw.digest).at("digest")?,
    })
}

impl From<&PushItem> for v1::PushItem {
    fn from(item: &PushItem) -> Self {
        let item = match item {
            PushItem::Mutation(mutation) => v1::push_item::Item::Mutation(Box::new(mutation.as_ref().into())),
            PushItem::Withdraw { n, mutation, digest } => v1::push_item::Item::Withdraw(v1::Withdraw {
                n: *n,
                mutation: mutation.as_bytes().to_vec(),
                digest: digest.as_bytes().to_vec(),
            }),
        };
        Self { item: Some(item) }
    }
}

impl TryFrom<v1::PushRequest> for Push {
    type Error = ShapeError;
    fn try_from(push: v1::PushRequest) -> Result<Self, ShapeError> {
        Ok(Self {
            writer: required("writer", push.writer)?,
            confirmed_n: push.confirmed_n,
            items: list("items", push.items, unanswered_max())?,
        })
    }
}

impl From<&Push> for v1::PushRequest {
    fn from(push: &Push) -> Self {
        Self {
            writer: Some((&push.writer).into()),
            confirmed_n: push.confirmed_n,
            items: push.items.iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<v1::PushResponse> for Results {
    type Error = ShapeError;
    fn try_from(results: v1::PushResponse) -> Result<Self, ShapeError> {
        Ok(Self {
            writer: required("writer", results.writer)?,
            outcomes: list("outcomes", results.outcomes, unanswered_max())?,
            waits: optional("waits", results.waits)?,
        })
    }
}

impl From<&Results> for v1::PushResponse {
    fn from(results: &Results) -> Self {
        Self {
            writer: Some((&results.writer).into()),
            outcomes: results.outcomes.iter().map(Into::into).collect(),
            waits: results.waits.as_ref().map(Into::into),
        }
    }
}

impl TryFrom<v1::Summed> for Summed {
    type Error = ShapeError;
    fn try_from(summed: v1::Summed) -> Result<Self, ShapeError> {
        let digest = Digest::from_slice(&summed.digest).at("digest")?;
        Ok(Self { revision: Revision(summed.revision), digest })
    }
}

impl From<&Summed> for v1::Summed {
    fn from(summed: &Summed) -> Self {
        Self { revision: summed.revision.0, digest: summed.digest.as_bytes().to_vec() }
    }
}

impl TryFrom<v1::SessionRequest> for ClientMessage {
    type Error = ShapeError;
    fn try_from(request: v1::SessionRequest) -> Result<Self, ShapeError> {
        use v1::session_request::Message;
        match present("message", request.message)? {
            Message::Hello(hello) => Ok(Self::Hello(hello.try_into().at("hello")?)),
            Message::Push(push) => Ok(Self::Push(push.try_into().at("push")?)),
            Message::Credit(credit) => Ok(Self::Credit { bytes: credit.bytes }),
            Message::Ack(ack) => {
                let cursor = required("cursor", ack.cursor).at("ack")?;
                let summed = ack.summed.map(TryInto::try_into).transpose().at("summed").at("ack")?;
                Ok(Self::Ack { cursor, answered_n: ack.answered_n, summed })
            }
            Message::Ping(ping) => Ok(Self::Ping { nonce: ping.nonce, time_ms: ping.time_ms }),
            Message::Remnants(page) => Ok(Self::Remnants(page.try_into().at("remnants")?)),
        }
    }
}

impl From<&ClientMessage> for v1::SessionRequest {
    fn from(message: &ClientMessage) -> Self {
        use v1::session_request::Message;
        let message = match message {
            ClientMessage::Hello(hello) => Message::Hello(hello.into()),
            ClientMessage::Push(push) => Message::Push(push.into()),
            ClientMessage::Credit { bytes } => Message::Credit(v1::Credit { bytes: *bytes }),
            ClientMessage::Ack { cursor, answered_n, summed } => {
                let summed = summed.as_ref().map(Into::into);
                Message::Ack(v1::Ack { cursor: Some(cursor.into()), answered_n: *answered_n, summed })
            }
            ClientMessage::Ping { nonce, time_ms } => {
                Message::Ping(v1::Ping { nonce: *nonce, time_ms: *time_ms })
            }
            ClientMessage::Remnants(page) => Message::Remnants(page.into()),
        };
        Self { message: Some(message) }
    }
}

impl TryFrom<v1::SessionResponse> for ServerMessage {
    type Error = ShapeError;
    fn try_from(response: v1::SessionResponse) -> Result<Self, ShapeError> {
        use v1::session_response::Message;
        match present("message", response.message)? {
            Message::Welcome(welcome) => Ok(Self::Welcome(welcome.try_into().at("welcome")?)),
            Message::Results(results) => Ok(Self::Results(results.try_into().at("results")?)),
            Message::Changes(page) => Ok(Self::Changes(page.try_into().at("changes")?)),
            Message::Pong(pong) => Ok(Self::Pong {
                nonce: pong.nonce,
                hub_time_ms: pong.hub_time_ms,
                backup_watermark: pong.backup_watermark.map(Revision),
            }),
            Message::RemnantsTaken(taken) => Ok(Self::RemnantsTaken { page: taken.page }),
            Message::Goodbye(goodbye) => {
                Ok(Self::Goodbye(required("refusal", goodbye.refusal).at("goodbye")?))
            }
        }
    }
}

impl From<&ServerMessage> for v1::SessionResponse {
    fn from(message: &ServerMessage) -> Self {
        use v1::session_response::Message;
        let message = match message {
            ServerMessage::Welcome(welcome) => Message::Welcome(welcome.into()),
            ServerMessage::Results(results) => Message::Results(results.into()),
            ServerMessage::Changes(page) => Message::Changes(page.into()),
            ServerMessage::Pong { nonce, hub_time_ms, backup_watermark } => Message::Pong(v1::Pong {
                nonce: *nonce,
                hub_time_ms: *hub_time_ms,
                backup_watermark: backup_watermark.map(|revision| revision.0),
            }),
            ServerMessage::RemnantsTaken { page } => {
                Message::RemnantsTaken(v1::RemnantsTaken { page: *page })
            }
            ServerMessage::Goodbye(refusal) => {
                Message::Goodbye(v1::Goodbye { refusal: Some(refusal.into()) })
            }
        };
        Self { message: Some(message) }
    }
}

impl TryFrom<v1::ReconcileRequest> for Reconcile {
    type Error = ShapeError;
    fn try_from(request: v1::ReconcileRequest) -> Result<Self, ShapeError> {
        let log_id = request.log_id.map(|bytes| LogId::from_slice(&bytes)).transpose().at("log_id")?;
        if log_id.is_none() && request.left_epoch.is_some() {
            return Err(ShapeError::invalid("it is left with a log: name that too")).at("left_epoch");
        }
        Ok(Self {
            cursor: optional("cursor", request.cursor)?,
            after: CommitNumber(request.after),
            left: log_id.map(|log_id| Left { log_id, epoch: request.left_epoch }),
        })
    }
}

impl From<&Reconcile> for v1::ReconcileRequest {
    fn from(ask: &Reconcile) -> Self {
        Self {
            cursor: ask.cursor.as_ref().map(Into::into),
            after: ask.after.0,
            log_id: ask.left.map(|left| left.log_id.as_bytes().to_vec()),
            left_epoch: ask.left.and_then(|left| left.epoch),
        }
    }
}

impl TryFrom<v1::ReconcileResponse> for Reconciliation {
    type Error = ShapeError;
    fn try_from(page: v1::ReconcileResponse) -> Result<Self, ShapeError> {
        if page.next.is_none() && page.epoch.unwrap_or(0) == 0 {
            return Err(ShapeError::invalid("the last page names an epoch from 1")).at("epoch");
        }
        Ok(Self {
            outcomes: list("outcomes", page.outcomes, RECONCILED_MAX)?,
            next: page.next.map(CommitNumber),
            epoch: page.epoch,
            told_to: page.told_to.map(CommitNumber),
        })
    }
}

impl From<&Reconciliation> for v1::ReconcileResponse {
    fn from(page: &Reconciliation) -> Self {
        Self {
            outcomes: page.outcomes.iter().map(Into::into).collect(),
            next: page.next.map(|commit| commit.0),
            epoch: page.epoch,
            told_to: page.told_to.map(|commit| commit.0),
        }
    }
}
