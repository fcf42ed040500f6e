//! Every bound and every missing part is refused under the path of its field.

use prost::Message as _;
use proto::v1::{self, changes, mutation, push_item};
use proto::{ShapeError, Wire};
use semantics::cursor::Page;
use semantics::envelope::{Mutation, Record};
use semantics::outcome::DotOutcome;
use semantics::reason::{Reason, Refusal};
use semantics::session::{Hello, Push, Reconciliation, Results, Welcome};
use semantics::version::Version;
use semantics::view::View;

use super::samples;

/// What is changed, the path that is named, the reason.
type Case<M> = (fn(&mut M), &'static str, Reason);

const BAD: Reason = Reason::Malformed;
const LARGE: Reason = Reason::TooLarge;

fn refused<T>(value: &T, cases: &[Case<T::Message>])
where
    T: Wire + TryFrom<T::Message, Error = ShapeError>,
    T::Message: Clone,
{
    let message = T::Message::decode(value.to_wire().as_slice()).unwrap();
    assert!(T::try_from(message.clone()).is_ok());
    for (change, path, reason) in cases {
        let mut message = message.clone();
        change(&mut message);
        let error = T::try_from(message).err().unwrap_or_else(|| panic!("{path} was taken"));
        assert_eq!(error.path, *path, "{error}");
        let refusal = Refusal::from(error);
        assert_eq!(refusal.reason, *reason, "{refusal}");
        assert!(refusal.detail.starts_with(path), "{refusal}");
    }
}

fn many_dots(count: usize) -> v1::Version {
    let dot = |i: u32| v1::Dot { writer: Some(v1::Writer { node: vec![1; 16], epoch: i }), n: 1 };
    v1::Version { dots: (0..u32::try_from(count).unwrap()).map(dot).collect() }
}

#[test]
fn mutations_of_the_wrong_shape_are_refused() {
    refused::<Mutation>(
        &samples::put(),
        &[
            (|m| m.id.truncate(15), "id", BAD),
            (|m| m.dot = None, "dot", BAD),
            (|m| m.dot.as_mut().unwrap().n = 0, "dot.n", BAD),
            (|m| m.dot.as_mut().unwrap().writer = None, "dot.writer", BAD),
            (|m| m.dot.as_mut().unwrap().writer.as_mut().unwrap().node.clear(), "dot.writer.node", BAD),
            (|m| m.group.as_mut().unwrap().id.clear(), "group.id", BAD),
            (|m| m.group.as_mut().unwrap().size = 65, "group.size", LARGE),
            (|m| m.group.as_mut().unwrap().size = 0, "group.index", BAD),
            (|m| m.group.as_mut().unwrap().index = 2, "group.index", BAD),
            (|m| m.key = None, "key", BAD),
            (|m| m.key.as_mut().unwrap().kind.clear(), "key.kind", BAD),
            (|m| m.key.as_mut().unwrap().kind = "x".repeat(65), "key.kind", LARGE),
            (|m| m.key.as_mut().unwrap().kind = "a\nb".to_owned(), "key.kind", BAD),
            (|m| m.key.as_mut().unwrap().id = "x".repeat(257), "key.id", LARGE),
            (|m| m.op = None, "op", BAD),
            (|m| m.op = Some(mutation::Op::Put(v1::Put { body: vec![0; 262_145] })), "put.body", LARGE),
            (|m| m.placement.as_mut().unwrap().domain = "Kitchen".to_owned(), "placement.domain", BAD),
            (|m| m.placement.as_mut().unwrap().subject = Some(String::new()), "placement.subject", BAD),
            (|m| m.base.as_mut().unwrap().version = Some(many_dots(4097)), "base.version.dots", LARGE),
            (|m| m.base.as_mut().unwrap().own.as_mut().unwrap().writer = None, "base.own.writer", BAD),
            (|m| m.time = None, "time", BAD),
            (|m| m.author.push(0), "author", BAD),
            (|m| m.salt.clear(), "salt", BAD),
            (|m| m.signature = Some(vec![0; 8193]), "signature", LARGE),
        ],
    );
}

fn removing(m: &mut v1::Mutation, names: Vec<String>) {
    let Some(mutation::Op::Patch(patch)) = &mut m.op else { panic!("not a patch") };
    patch.remove = names;
}

#[test]
fn patches_of_the_wrong_shape_are_refused() {
    refused::<Mutation>(
        &samples::patch(),
        &[
            (|m| removing(m, vec!["b".to_owned(), "a".to_owned()]), "patch.remove", BAD),
            (|m| removing(m, vec!["a".to_owned(), "a".to_owned()]), "patch.remove", BAD),
            (|m| removing(m, vec!["x".repeat(257)]), "patch.remove[0]", LARGE),
            (|m| removing(m, vec![String::new(); 1025]), "patch.remove", LARGE),
        ],
    );
}

#[test]
fn versions_name_a_writer_once_and_not_too_many() {
    let full = Version::try_from(many_dots(4096)).unwrap();
    assert_eq!(full.len(), 4096);
    refused::<Version>(
        &Version::of(samples::dot(1)),
        &[
            (|v| v.dots.push(v.dots[0].clone()), "dots[1]", BAD),
            (|v| v.dots[0].writer = None, "dots[0].writer", BAD),
            (|v| *v = many_dots(4097), "dots", LARGE),
        ],
    );
}

#[test]
fn records_of_the_wrong_shape_are_refused() {
    refused::<Record>(
        &samples::record(),
        &[
            (|r| r.key = None, "key", BAD),
            (|r| r.placement = None, "placement", BAD),
            (|r| r.placement_stamp = None, "placement_stamp", BAD),
            (|r| r.facet = Some("x".repeat(257)), "facet", LARGE),
            (|r| r.stamp = None, "stamp", BAD),
            (|r| r.stamp.as_mut().unwrap().time = None, "stamp.time", BAD),
            (|r| r.author.clear(), "author", BAD),
            (|r| r.salt.clear(), "salt", BAD),
            (|r| r.body = Some(vec![0; 262_145]), "body", LARGE),
            (|r| r.fields[1].stamp = None, "fields[1].stamp", BAD),
            (|r| r.fields.swap(0, 1), "fields[1]", BAD),
            (|r| r.fields[0].field = "x".repeat(257), "fields[0].field", LARGE),
            (|r| r.fields = vec![v1::FieldStamp::default(); 1025], "fields", LARGE),
            (|r| r.inputs[1].stamp = None, "inputs[1].stamp", BAD),
            (|r| r.inputs.swap(0, 1), "inputs[1]", BAD),
            (|r| r.inputs[0].salt.clear(), "inputs[0].salt", BAD),
            (|r| r.inputs = vec![v1::Input::default(); 1026], "inputs", LARGE),
        ],
    );
}

#[test]
fn greetings_of_the_wrong_shape_are_refused() {
    refused::<Hello>(
        &samples::hello(),
        &[
            (|h| h.credit_bytes = 0, "credit_bytes", BAD),
            (|h| h.stream.as_mut().unwrap().epoch = 0, "stream.epoch", BAD),
            (|h| h.stream.as_mut().unwrap().answered_n = 10, "stream.answered_n", BAD),
            (|h| h.stream.as_mut().unwrap().last_digest = Some(vec![1]), "stream.last_digest", BAD),
            (|h| h.cursor.as_mut().unwrap().log_id.clear(), "cursor.log_id", BAD),
            (|h| h.cursor.as_mut().unwrap().chain.clear(), "cursor.chain", BAD),
            (|h| h.resume = Some(vec![0; 4097]), "resume", LARGE),
        ],
    );
    refused::<Hello>(
        &samples::named_hello(),
        &[
            (|h| h.about.as_mut().unwrap().software = "x".repeat(65), "about.software", BAD),
            (|h| h.about.as_mut().unwrap().software = "a\nb".to_owned(), "about.software", BAD),
            (|h| h.about.as_mut().unwrap().software = "ü".to_owned(), "about.software", BAD),
        ],
    );
    refused::<Welcome>(
        &samples::welcome(),
        &[
            (|w| w.log_id.clear(), "log_id", BAD),
            (|w| w.writer = None, "writer", BAD),
            (|w| w.limits = None, "limits", BAD),
            (|w| w.limits.as_mut().unwrap().unanswered_max = 0, "limits.unanswered_max", BAD),
        ],
    );
}

#[test]
fn pushes_of_the_wrong_shape_are_refused() {
    refused::<Push>(
        &samples::push(),
        &[
            (|p| p.writer = None, "writer", BAD),
            (|p| p.items[2].item = None, "items[2].item", BAD),
            (|p| p.items = vec![v1::PushItem::default(); 257], "items", LARGE),
            (|p| withdrawn(p).n = 0, "items[3].withdraw.n", BAD),
            (|p| withdrawn(p).mutation.clear(), "items[3].withdraw.mutation", BAD),
            (|p| withdrawn(p).digest.clear(), "items[3].withdraw.digest", BAD),
            (|p| first(p).key.as_mut().unwrap().id.clear(), "items[0].mutation.key.id", BAD),
        ],
    );
}

fn withdrawn(push: &mut v1::PushRequest) -> &mut v1::Withdraw {
    match push.items[3].item.as_mut() {
        Some(push_item::Item::Withdraw(withdraw)) => withdraw,
        other => panic!("{other:?}"),
    }
}

fn first(push: &mut v1::PushRequest) -> &mut v1::Mutation {
    match push.items[0].item.as_mut() {
        Some(push_item::Item::Mutation(mutation)) => mutation,
        other => panic!("{other:?}"),
    }
}

#[test]
fn answers_of_the_wrong_shape_are_refused() {
    refused::<Results>(
        &samples::results(),
        &[
            (|r| r.writer = None, "writer", BAD),
            (|r| r.outcomes[0].outcome.as_mut().unwrap().revision = 0, "outcomes[0].outcome.revision", BAD),
            (|r| r.outcomes[1].outcome.as_mut().unwrap().r#type = 0, "outcomes[1].outcome.type", BAD),
            (|r| r.outcomes[1].outcome.as_mut().unwrap().r#type = 99, "outcomes[1].outcome.type", BAD),
            (|r| r.outcomes[3].outcome.as_mut().unwrap().refusal = None, "outcomes[3].outcome.refusal", BAD),
            (|r| r.outcomes = vec![v1::DotResult::default(); 257], "outcomes", LARGE),
            (|r| r.waits.as_mut().unwrap().refusal = None, "waits.refusal", BAD),
            (|r| r.waits.as_mut().unwrap().refusal.as_mut().unwrap().reason = 0, "waits.refusal.reason", BAD),
            (
                |r| r.waits.as_mut().unwrap().refusal.as_mut().unwrap().reason = -7,
                "waits.refusal.reason",
                BAD,
            ),
            (
                |r| r.waits.as_mut().unwrap().refusal.as_mut().unwrap().detail = "x".repeat(513),
                "waits.refusal.detail",
                LARGE,
            ),
        ],
    );
    refused::<DotOutcome>(
        &samples::dot_outcome(),
        &[
            (|o| o.mutation.clear(), "mutation", BAD),
            (|o| o.digest.clear(), "digest", BAD),
            (|o| o.outcome = None, "outcome", BAD),
        ],
    );
    let last = samples::last_reconciliation();
    refused::<Reconciliation>(
        &last,
        &[(|r| r.epoch = None, "epoch", BAD), (|r| r.epoch = Some(0), "epoch", BAD)],
    );
}

fn selectors(count: usize) -> v1::View {
    v1::View { cells: vec![v1::Selector { domain: "d".to_owned(), kind: None, facet: None }; count] }
}

fn cut(page: &mut v1::Changes) -> &mut v1::Cut {
    match page.next.as_mut() {
        Some(changes::Next::Cut(cut)) => cut,
        other => panic!("{other:?}"),
    }
}

/// Changes the batch inside a page.
fn rebatch(page: &mut v1::Changes, change: fn(&mut v1::ChangeBatch)) {
    let mut batch = v1::ChangeBatch::decode(page.batch.clone()).unwrap();
    change(&mut batch);
    page.batch = batch.encode_to_vec().into();
}

#[test]
fn pages_of_the_wrong_shape_are_refused() {
    refused::<Page>(
        &samples::page(),
        &[
            (|p| p.next = None, "next", BAD),
            (|p| p.next = Some(changes::Next::Resume(vec![0; 4097])), "resume", LARGE),
            (|p| cut(p).cursor = None, "cut.cursor", BAD),
            (|p| cut(p).digest = Some(vec![1]), "cut.digest", BAD),
            (|p| cut(p).view = Some(selectors(257)), "cut.view.cells", LARGE),
            (|p| p.batch = vec![0xff].into(), "batch", BAD),
            (|p| rebatch(p, |b| b.changes[1].record = None), "batch.changes[1].record", BAD),
            (|p| rebatch(p, |b| b.departures[0].key = None), "batch.departures[0].key", BAD),
            (|p| rebatch(p, |b| b.changes = vec![v1::Change::default(); 65_537]), "batch.changes", LARGE),
        ],
    );
    refused::<View>(
        &samples::view(),
        &[
            (|v| v.cells[1].domain.clear(), "cells[1].domain", BAD),
            (|v| v.cells[0].kind = Some(String::new()), "cells[0].kind", BAD),
            (|v| v.cells[0].facet = Some(String::new()), "cells[0].facet", BAD),
        ],
    );
}
