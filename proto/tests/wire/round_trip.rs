//! What is written is read as what it was.

use std::fmt::Debug;

use proptest::prelude::*;
use proto::Wire;
use proto::convert::PullFrom;
use proto::v1;

use super::{arbitrary, samples};

fn survives<T: Wire + PartialEq + Debug>(value: &T) {
    assert_eq!(&T::from_wire(&value.to_wire()).unwrap(), value);
}

proptest! {
    #[test]
    fn mutations_survive(mutation in arbitrary::mutation()) {
        survives(&mutation);
    }
    #[test]
    fn records_survive(record in arbitrary::record()) {
        survives(&record);
    }
    #[test]
    fn versions_survive(version in arbitrary::version()) {
        survives(&version);
    }
    #[test]
    fn outcomes_survive(outcome in arbitrary::outcome()) {
        survives(&outcome);
    }
    #[test]
    fn pages_survive(page in arbitrary::page()) {
        survives(&page);
    }
    #[test]
    fn pushes_survive(push in arbitrary::push()) {
        survives(&push);
    }
    #[test]
    fn damaged_bytes_are_refused_or_read_but_never_panic(
        page in arbitrary::page(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut bytes = page.to_wire();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = semantics::cursor::Page::from_wire(&bytes);
    }
}

#[test]
fn every_message_of_a_session_survives() {
    samples::client_messages().iter().for_each(|(_, message)| survives(message));
    samples::server_messages().iter().for_each(|(_, message)| survives(message));
    survives(&samples::reconcile());
    survives(&samples::adopting());
    survives(&samples::leaving_an_epoch());
    survives(&samples::reconciliation());
    survives(&samples::last_reconciliation());
}

#[test]
fn every_start_of_a_pull_survives() {
    for from in [PullFrom::Start, PullFrom::Cursor(samples::cursor()), PullFrom::Resume(vec![1])] {
        assert_eq!(PullFrom::try_from(v1::PullRequest::from(&from)).unwrap(), from);
    }
}
