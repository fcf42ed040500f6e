//! What a preview says of a conflict, beside what becomes of the same writes where the policy was in force.
#![allow(clippy::unwrap_used, reason = "in a test a surprise is a failure")]

mod support;

use semantics::conflict::Conflict;
use semantics::decide::Decision;
use semantics::envelope::{Base, Mutation, Op, Record};
use semantics::form;
use semantics::ids::{Dot, Revision};
use semantics::kind::{POLICIES, Policy};
use semantics::preview::{Preview, preview};
use semantics::reason::Reason;
use semantics::resolution::{Row, Wanted, shown};
use serde_json::{Map, Value, json};
use support::{Author, Hub};

/// What somebody asks a spoke for.
#[derive(Debug, Clone)]
enum Asked {
    Put(Value),
    /// A patch that sets.
    Set(Value),
    Delete,
}

use Asked::{Delete, Put, Set};

fn object(value: &Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

/// In the form in which it travels; `None`: it is refused where it is written.
fn op(asked: &Asked, view: Option<&Record>, policy: Policy) -> Option<Op> {
    let held = view.and_then(Record::body).map(|body| serde_json::from_slice(body).unwrap());
    match asked {
        Put(body) => Some(form::of_put(held.as_ref(), &object(body), policy).unwrap()),
        Set(set) => form::of_patch(&held.unwrap(), &object(set), &[], policy).ok(),
        Delete => Some(Op::Delete),
    }
}

/// One who writes offline, one thing after the other, on what a hub holds.
fn writes(hub: &Hub, author: u8, asked: &[Asked], policy: Policy) -> Vec<Mutation> {
    let (mut author, mut own) = (Author::new(author), None::<Dot>);
    let mut here = Hub::new(policy);
    here.record.clone_from(&hub.record);
    let base = Base {
        revision: hub.last,
        version: hub.view().map(|record| record.version.clone()).unwrap_or_default(),
        own: None,
    };
    let mut written = Vec::new();
    for asked in asked {
        let Some(op) = op(asked, here.view(), policy) else { continue };
        let now_ms = 10 * u64::from(author.writer.node.0[0]) + author.n;
        let mutation = author.write(here.view(), op, now_ms);
        here.take(&mutation);
        written.push(Mutation { base: Base { own, ..base.clone() }, ..mutation.clone() });
        own = Some(mutation.dot);
    }
    written
}

struct Case {
    name: &'static str,
    base: Option<Value>,
    sides: [Vec<Asked>; 2],
}

/// What comes of a case under a policy; the second side arrives first where `swapped`.
fn come(case: &Case, policy: Policy, swapped: bool) -> Hub {
    let mut hub = Hub::new(policy);
    if let Some(base) = &case.base {
        let first = writes(&hub, 1, &[Put(base.clone())], policy);
        hub.take(&first[0]);
    }
    let [one, two] = [2, 3].map(|author| writes(&hub, author, &case.sides[usize::from(author) - 2], policy));
    for mutation in if swapped { [two, one] } else { [one, two] }.iter().flatten() {
        if let Decision::Rejected(refusal) = hub.take(mutation) {
            assert_eq!(refusal.reason, Reason::AppendOnly, "{}: {policy:?}", case.name);
        }
    }
    hub
}

fn told(hub: &Hub, conflict: &Conflict, policy: Policy) -> Preview {
    let row = |revision: Revision| {
        let (mutation, record) = hub.rows.get(&revision)?;
        Some(Row { mutation: Some(mutation), record })
    };
    preview(conflict, policy, &hub.rule, row)
}

fn base() -> Value {
    json!({"x": 0, "y": 0, "o": {"p": 1, "q": 1}, "l": [1, 2, 3]})
}

/// The base with these fields.
fn with(fields: &Value) -> Asked {
    let mut body = object(&base());
    body.extend(object(fields));
    Put(Value::Object(body))
}

fn cases() -> Vec<Case> {
    let of = |name, one: Asked, two: Asked| Case { name, base: Some(base()), sides: [vec![one], vec![two]] };
    vec![
        of("the same field", with(&json!({"x": 1})), with(&json!({"x": 2}))),
        of("two fields", with(&json!({"x": 1})), with(&json!({"y": 2}))),
        of("a nested object", with(&json!({"o": {"p": 2, "q": 1}})), with(&json!({"o": {"p": 1, "q": 2}}))),
        of("an array", with(&json!({"l": [1, 2, 3, 4]})), with(&json!({"l": [0, 1, 2, 3]}))),
        of("another sort of thing", with(&json!({"o": [1]})), with(&json!({"o": "s"}))),
        of("fields left out", Put(json!({"x": 0, "y": 0})), Put(json!({"x": 0, "l": [1, 2, 3]}))),
        of("two patches", Set(json!({"x": 1})), Set(json!({"x": 2}))),
        of("a patch and a put", Set(json!({"o": {"p": 7}})), with(&json!({"x": 2}))),
        of("a delete and an edit", Delete, with(&json!({"x": 2}))),
        of("an edit and a delete", Set(json!({"x": 2})), Delete),
        Case {
            name: "two creations",
            base: None,
            sides: [vec![Put(json!({"x": 1}))], vec![Put(json!({"x": 2, "y": 1}))]],
        },
        Case {
            name: "a chain of puts",
            base: Some(base()),
            sides: [vec![with(&json!({"x": 1})), with(&json!({"x": 3}))], vec![with(&json!({"x": 2}))]],
        },
    ]
}

/// Whether what a chain wrote before its last is named by no conflict, and was no body.
fn is_lost(case: &Case, origin: Policy, asked: Policy) -> bool {
    case.name == "a chain of puts" && origin == Policy::Fields && asked != Policy::Fields
}

#[test]
fn each_side_is_asked_in_the_form_in_which_it_would_have_come() {
    for case in cases() {
        for (origin, swapped) in POLICIES.into_iter().flat_map(|policy| [(policy, false), (policy, true)]) {
            let hub = come(&case, origin, swapped);
            for (path, (_, conflict)) in &hub.conflicts {
                for asked in POLICIES {
                    let at = format!("{}: {origin:?} -> {asked:?} at {path:?}, {swapped}", case.name);
                    let told = told(&hub, conflict, asked);
                    if is_lost(&case, origin, asked) && asked != Policy::AppendOnly {
                        assert_eq!(told.would.unwrap_err().reason, Reason::RecordGone, "{at}");
                        continue;
                    }
                    let real = come(&case, asked, swapped);
                    let stands =
                        real.view().map_or(Ok(Wanted::Nothing), |record| shown(record, origin, path));
                    assert_eq!(told.would, stands, "{at}");
                    if path.is_empty() {
                        assert_eq!(told.waits, !real.conflicts.is_empty(), "{at}");
                    }
                }
            }
        }
    }
}

#[test]
fn what_the_policy_refuses_has_no_effect() {
    let sides = [vec![with(&json!({"x": 1}))], vec![with(&json!({"x": 2}))]];
    let case = Case { name: "refused", base: Some(base()), sides };
    let hub = come(&case, Policy::Branch, false);
    let told = told(&hub, &hub.conflicts[""].1, Policy::AppendOnly);
    assert_eq!((told.would, told.waits), (Ok(Wanted::Value(base())), false));
}

#[test]
fn what_cannot_be_told_is_told_of_no_side() {
    let sides = [vec![with(&json!({"x": 1}))], vec![with(&json!({"y": 2}))]];
    let case = Case { name: "pruned", base: Some(base()), sides };
    let mut hub = come(&case, Policy::Branch, false);
    hub.rows.remove(&Revision(1));
    for policy in POLICIES {
        let told = told(&hub, &hub.conflicts[""].1, policy);
        match policy {
            Policy::Fields | Policy::ThreeWay | Policy::AppendOnly => {
                assert_eq!(told.would.unwrap_err().reason, Reason::RecordGone, "{policy:?}");
            }
            _ => assert_eq!(
                told.would,
                Ok(Wanted::Value(json!({"x": 0, "y": 2, "o": {"p": 1, "q": 1}, "l": [1, 2, 3]})))
            ),
        }
        assert!(told.waits, "{policy:?}");
    }
}
