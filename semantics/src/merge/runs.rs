//! Arrays: which runs of the ancestor's elements each side replaced by which of its own, and both together
//! (Khanna, Kunal and Pierce, "A Formal Investigation of Diff3", 2007).

use std::ops::Range;

use serde_json::Value;

use super::CELLS_MAX;

/// A run of the ancestor that one side replaced; both ranges may be empty, not both at once.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Change {
    base: Range<usize>,
    own: Range<usize>,
}

/// The array that both sides together made. `None` when they replaced touching runs in different ways, or when it is
/// too long to tell.
pub(super) fn merge(base: &[Value], first: &[Value], second: &[Value]) -> Option<Vec<Value>> {
    let (ours, theirs) = (changes(base, first)?, changes(base, second)?);
    let (mut ours, mut theirs) = (ours.iter().peekable(), theirs.iter().peekable());
    let mut merged = Vec::with_capacity(first.len().max(second.len()));
    let mut at = 0;
    loop {
        let (change, side) = match (ours.peek(), theirs.peek()) {
            (None, None) => break,
            (Some(a), Some(b))
                if a.base == b.base && first.get(a.own.clone()) == second.get(b.own.clone()) =>
            {
                theirs.next();
                (ours.next()?, first)
            }
            (Some(a), Some(b)) if touch(&a.base, &b.base) => return None,
            (Some(a), Some(b)) if a.base.start < b.base.start => (ours.next()?, first),
            (Some(_), None) => (ours.next()?, first),
            (_, Some(_)) => (theirs.next()?, second),
        };
        merged.extend_from_slice(base.get(at..change.base.start)?);
        merged.extend_from_slice(side.get(change.own.clone())?);
        at = change.base.end;
    }
    merged.extend_from_slice(base.get(at..)?);
    Some(merged)
}

/// Whether two runs share an element or meet: two insertions at one place have no order.
fn touch(a: &Range<usize>, b: &Range<usize>) -> bool {
    a.start <= b.end && b.start <= a.end
}

/// What one side replaced, along a longest common subsequence.
fn changes(base: &[Value], own: &[Value]) -> Option<Vec<Change>> {
    let head = base.iter().zip(own).take_while(|(a, b)| a == b).count();
    let (base_rest, own_rest) = (base.get(head..)?, own.get(head..)?);
    let tail = base_rest.iter().rev().zip(own_rest.iter().rev()).take_while(|(a, b)| a == b).count();
    let base_rest = base_rest.get(..base_rest.len() - tail)?;
    let own_rest = own_rest.get(..own_rest.len() - tail)?;
    if base_rest.len().saturating_add(1).saturating_mul(own_rest.len().saturating_add(1)) > CELLS_MAX {
        return None;
    }
    let mut found: Vec<Change> = Vec::new();
    let (mut b, mut o) = (0, 0);
    for (kept_b, kept_o) in common(base_rest, own_rest).into_iter().chain([(base_rest.len(), own_rest.len())])
    {
        if kept_b > b || kept_o > o {
            found.push(Change { base: head + b..head + kept_b, own: head + o..head + kept_o });
        }
        (b, o) = (kept_b + 1, kept_o + 1);
    }
    Some(found)
}

/// Places of a longest common subsequence, by the table of lengths.
fn common(base: &[Value], own: &[Value]) -> Vec<(usize, usize)> {
    let width = own.len() + 1;
    let mut lengths = vec![0_u32; (base.len() + 1) * width];
    let get = |lengths: &[u32], b: usize, o: usize| lengths.get(b * width + o).copied().unwrap_or(0);
    for (b, in_base) in base.iter().enumerate().rev() {
        for (o, in_own) in own.iter().enumerate().rev() {
            let length = if in_base == in_own {
                get(&lengths, b + 1, o + 1) + 1
            } else {
                get(&lengths, b + 1, o).max(get(&lengths, b, o + 1))
            };
            if let Some(cell) = lengths.get_mut(b * width + o) {
                *cell = length;
            }
        }
    }
    let (mut b, mut o) = (0, 0);
    let mut kept = Vec::new();
    while let (Some(in_base), Some(in_own)) = (base.get(b), own.get(o)) {
        if in_base == in_own {
            kept.push((b, o));
            (b, o) = (b + 1, o + 1);
        } else if get(&lengths, b + 1, o) >= get(&lengths, b, o + 1) {
            b += 1;
        } else {
            o += 1;
        }
    }
    kept
}
