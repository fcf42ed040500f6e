use super::*;
use crate::clock::HybridTime;
use crate::digest::record_digest;
use crate::ids::{Dot, Writer};

fn stamp(n: u64) -> Stamp {
    let writer = Writer { node: NodeId([0xab; 16]), epoch: 2 };
    Stamp { time: HybridTime { ms: 1_700_000_000_000, counter: 1 }, dot: Dot { writer, n } }
}

fn record(content: Content) -> Record {
    Record {
        key: Key { kind: Kind::new("entity").unwrap(), id: RecordId::new("a\u{0}b").unwrap() },
        placement: Placement {
            domain: Domain::default_domain(),
            subject: Some(Subject::new("anna").unwrap()),
        },
        placement_stamp: stamp(1),
        facet: Some(Facet::new("blue").unwrap()),
        incarnation: Incarnation(1),
        version: Version::of(stamp(3).dot),
        stamp: stamp(3),
        author: NodeId([0xab; 16]),
        key_id: KEY_ID_CLEAR,
        salt: Salt([9; 16]),
        content,
        fields: BTreeMap::from([
            ("name".to_owned(), FieldStamp { stamp: stamp(1), removed: false }),
            ("size".to_owned(), FieldStamp { stamp: stamp(3), removed: true }),
        ]),
        inputs: BTreeMap::from([(stamp(1), Salt([1; 16])), (stamp(3), Salt([3; 16]))]),
    }
}

fn round_trip(record: Record) -> ExportLine {
    let change = Change { revision: Revision(12), record };
    let text = serde_json::to_string(&ExportLine::from(&change)).unwrap();
    assert!(!text.contains('\n'));
    let line: ExportLine = serde_json::from_str(&text).unwrap();
    let again = Change::try_from(line.clone()).unwrap();
    assert_eq!(again, change);
    assert_eq!(record_digest(&again.record), record_digest(&change.record));
    line
}

#[test]
fn a_body_in_clear_travels_as_json() {
    let line = round_trip(record(Content::Live(br#"{"name":"fern","weight":1.5e-7}"#.to_vec().into())));
    assert!(line.body.is_some() && line.body_hex.is_none() && !line.deleted);
}

#[test]
fn a_sealed_body_travels_as_hexadecimal() {
    let line = round_trip(Record { key_id: 7, ..record(Content::Live(b"{}".to_vec().into())) });
    assert_eq!(line.body_hex.as_deref(), Some("7b7d"));
}

#[test]
fn bytes_that_are_not_canonical_json_travel_as_hexadecimal() {
    let line = round_trip(record(Content::Live(b"{ }".to_vec().into())));
    assert_eq!(line.body_hex.as_deref(), Some("7b207d"));
}

#[test]
fn a_tombstone_travels_without_body() {
    let mut tombstone = record(Content::Deleted);
    tombstone.facet = None;
    let line = round_trip(tombstone);
    assert!(line.deleted && line.body.is_none() && line.body_hex.is_none());
}

#[test]
fn a_line_with_no_content_or_two_is_refused() {
    let line = ExportLine::of(&record(Content::Deleted), Revision(1));
    let none = ExportLine { deleted: false, ..line.clone() };
    assert_eq!(Change::try_from(none).unwrap_err().reason, Reason::Malformed);
    let two = ExportLine { body: Some(Map::new()), ..line };
    assert_eq!(Change::try_from(two).unwrap_err().reason, Reason::Malformed);
}
