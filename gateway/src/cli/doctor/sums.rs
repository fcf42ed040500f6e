//! The sums of a tenant's records, made anew from their content, beside those that the hub keeps.

use std::collections::BTreeMap;

use proto::v1;
use semantics::compare::Scope;
use semantics::envelope::Cell;
use semantics::ids::Digest;
use semantics::lthash::LtHash;
use semantics::reason::{Reason, Refusal};
use serde_json::{Value, json};

use super::super::client::Examine;
use super::super::operate::{PAGE_SIZE, refused};

/// How often it is tried to read all records while the log stands still.
const TRIES_MAX: usize = 5;
/// Most damaged records that are named.
const DAMAGED_MAX: usize = 100;

/// What the records came to.
#[derive(Debug, Default)]
pub(super) struct Sums {
    cells: BTreeMap<Cell, (u64, u64, LtHash)>,
    damaged: Vec<Value>,
    damaged_count: usize,
    /// As of which revision the first page was read, and whether all others were.
    revision: Option<u64>,
    has_moved: bool,
    /// What the hub keeps, as of the same revision.
    kept: Option<BTreeMap<Cell, Digest>>,
    /// Walks over all records that it took.
    pub(super) tries: usize,
}

/// Reads all records; again, where others wrote meanwhile.
pub(super) async fn look(examine: &mut Examine, tenant: &str) -> Result<Sums, Refusal> {
    let mut tries = 0;
    loop {
        tries += 1;
        let sums = Sums { tries, ..walk(examine, tenant).await? };
        if !sums.has_moved || tries >= TRIES_MAX {
            return Ok(sums);
        }
    }
}

async fn walk(examine: &mut Examine, tenant: &str) -> Result<Sums, Refusal> {
    let mut sums = Sums::default();
    let mut request = v1::ExamineRecordsRequest {
        tenant: tenant.to_owned(),
        page_size: PAGE_SIZE,
        page_token: String::new(),
    };
    loop {
        let page = examine.examine_records(request.clone()).await.map_err(refused)?.into_inner();
        request.page_token = page.next_page_token.clone();
        sums.take(page)?;
        if request.page_token.is_empty() {
            return Ok(sums);
        }
    }
}

impl Sums {
    fn take(&mut self, page: v1::ExamineRecordsResponse) -> Result<(), Refusal> {
        self.has_moved |= *self.revision.get_or_insert(page.revision) != page.revision;
        for summed in page.sums {
            let scope = summed.scope.ok_or_else(|| Refusal::new(Reason::Malformed, "a sum of no scope"))?;
            let cell = Cell::try_from(scope).map_err(Refusal::from)?;
            let sum = LtHash::from_bytes(&summed.sum)
                .map_err(|error| Refusal::new(Reason::Malformed, format!("sum: {error}")))?;
            let (live, tombstones, whole) = self.cells.entry(cell).or_default();
            *live = live.saturating_add(summed.live);
            *tombstones = tombstones.saturating_add(summed.tombstones);
            whole.combine(&sum);
        }
        self.damaged_count += page.damaged.len();
        self.damaged.extend(page.damaged.iter().map(|key| json!({"kind": key.kind, "id": key.id})));
        self.damaged.truncate(DAMAGED_MAX);
        if let Some(kept) = page.kept {
            self.has_moved |= Some(kept.revision) != self.revision;
            let scopes = kept.scopes.into_iter().map(Scope::try_from);
            let scopes = scopes.collect::<Result<Vec<Scope>, _>>().map_err(Refusal::from)?;
            self.kept = Some(scopes.into_iter().map(|scope| (scope.cell, scope.digest)).collect());
        }
        Ok(())
    }

    /// Whether records and sums were read at one revision.
    pub(super) fn compared(&self) -> bool {
        self.kept.is_some() && !self.has_moved
    }

    /// How many records of each kind there are.
    pub(super) fn kinds(&self) -> Vec<Value> {
        let mut kinds: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for (cell, (live, tombstones, _)) in &self.cells {
            let (all_live, all_tombstones) = kinds.entry(cell.kind.as_str()).or_default();
            *all_live = all_live.saturating_add(*live);
            *all_tombstones = all_tombstones.saturating_add(*tombstones);
        }
        let row = |(kind, (records, tombstones))| json!({"kind": kind, "records": records, "tombstones": tombstones});
        kinds.into_iter().map(row).collect()
    }

    /// Each scope that holds a live record, by either side.
    pub(super) fn scopes(&self) -> Vec<Value> {
        let kept = self.kept.as_ref().filter(|_| self.compared());
        let ours = self.cells.iter().filter(|(_, (live, _, _))| *live > 0);
        let mut all: BTreeMap<&Cell, (u64, Option<Digest>)> =
            ours.map(|(cell, (live, _, sum))| (cell, (*live, Some(sum.finish())))).collect();
        for cell in kept.into_iter().flat_map(BTreeMap::keys) {
            all.entry(cell).or_insert((0, None));
        }
        let row = |(cell, (records, digest)): (&Cell, (u64, Option<Digest>))| {
            let theirs = kept.map(|kept| kept.get(cell).copied());
            json!({
                "domain": cell.domain,
                "kind": cell.kind,
                "facet": cell.facet,
                "records": records,
                "digest": digest,
                "kept_digest": theirs.flatten(),
                "equal": theirs.map(|theirs| theirs == digest),
            })
        };
        all.into_iter().map(row).collect()
    }

    /// Records whose content is not what their digest says: the first ones, and how many there are.
    pub(super) fn damaged(&self) -> Value {
        json!({"count": self.damaged_count, "records": self.damaged})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(kind: &str) -> v1::Scope {
        v1::Scope { domain: "home".to_owned(), kind: kind.to_owned(), facet: None }
    }

    fn page(
        revision: u64,
        kind: &str,
        digests: &[u8],
        kept: Option<v1::KeptSums>,
    ) -> v1::ExamineRecordsResponse {
        let sum: LtHash = digests.iter().map(|byte| Digest([*byte; 32])).collect::<Vec<_>>().iter().collect();
        let live = u64::try_from(digests.len()).unwrap();
        let sums =
            vec![v1::ScopeSum { scope: Some(cell(kind)), live, tombstones: 1, sum: sum.as_bytes().to_vec() }];
        v1::ExamineRecordsResponse { revision, sums, kept, ..Default::default() }
    }

    fn kept(revision: u64, kind: &str, digests: &[u8]) -> v1::KeptSums {
        let digests: Vec<Digest> = digests.iter().map(|byte| Digest([*byte; 32])).collect();
        let digest = semantics::compare::sum(&digests).as_bytes().to_vec();
        v1::KeptSums { revision, scopes: vec![v1::ScopeDigest { scope: Some(cell(kind)), digest }] }
    }

    fn of(pages: Vec<v1::ExamineRecordsResponse>) -> Sums {
        let mut sums = Sums::default();
        pages.into_iter().for_each(|page| sums.take(page).unwrap());
        sums
    }

    #[test]
    fn sums_of_pages_add_up_to_the_one_that_is_kept() {
        let sums = of(vec![
            page(9, "note", &[1, 2], None),
            page(9, "note", &[3], Some(kept(9, "note", &[3, 2, 1]))),
        ]);
        assert!(sums.compared());
        assert_eq!(sums.scopes()[0]["equal"], true);
        assert_eq!(sums.kinds(), [json!({"kind": "note", "records": 3, "tombstones": 2})]);
    }

    #[test]
    fn another_sum_or_one_of_no_record_differs() {
        let sums = of(vec![page(9, "note", &[1, 2], Some(kept(9, "note", &[1])))]);
        assert_eq!(sums.scopes()[0]["equal"], false);
        let sums = of(vec![page(9, "note", &[], Some(kept(9, "lamp", &[1])))]);
        let scopes = sums.scopes();
        assert_eq!(
            (scopes.len(), &scopes[0]["kind"], &scopes[0]["equal"]),
            (1, &json!("lamp"), &json!(false))
        );
    }

    #[test]
    fn a_head_that_moved_compares_nothing() {
        for pages in [
            vec![page(9, "note", &[1], None), page(10, "note", &[2], Some(kept(10, "note", &[1, 2])))],
            vec![page(9, "note", &[1], Some(kept(10, "note", &[1])))],
            vec![page(9, "note", &[1], None)],
        ] {
            let sums = of(pages);
            assert!(!sums.compared());
            assert_eq!(sums.scopes()[0]["equal"], Value::Null);
        }
    }
}
