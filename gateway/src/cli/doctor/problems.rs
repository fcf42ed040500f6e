//! What is wrong with a hub, each with what to do. A fault is what should never be; the rest is worth knowing.

use semantics::clock::CLOCK_AHEAD_MS_MAX;
use serde_json::{Value, json};

/// A clock that differs by more is named, milliseconds: half of what a hub takes.
const CLOCK_MS_MAX: u64 = CLOCK_AHEAD_MS_MAX / 2;
/// A write-ahead log that is larger is named, bytes.
const WAL_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Problems {
    faults: Vec<Value>,
    notes: Vec<Value>,
}

impl Problems {
    pub(super) fn is_empty(&self) -> bool {
        self.faults.is_empty() && self.notes.is_empty()
    }

    pub(super) fn faults(&self) -> usize {
        self.faults.len()
    }

    /// All of them, faults first.
    pub(super) fn listed(&self) -> Vec<Value> {
        self.faults.iter().chain(&self.notes).cloned().collect()
    }

    fn fault(&mut self, tenant: Option<&str>, what: &str, detail: String, remedy: &str) {
        let problem =
            json!({"fault": true, "tenant": tenant, "what": what, "detail": detail, "remedy": remedy});
        self.faults.push(problem);
    }

    fn note(&mut self, tenant: Option<&str>, what: &str, detail: String, remedy: &str) {
        let problem =
            json!({"fault": false, "tenant": tenant, "what": what, "detail": detail, "remedy": remedy});
        self.notes.push(problem);
    }

    /// What is wrong with the store below all tenants.
    pub(super) fn of_hub(&mut self, hub: &Value) {
        if let Some(unsafe_) = hub["unsafe"].as_object() {
            let text = |name: &str| unsafe_.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            self.fault(None, "the store", format!("{}: {}", text("reason"), text("detail")), &text("remedy"));
        }
        if let Some(failed) = hub["token_key_failed"].as_str() {
            let detail = format!("the gateway signs on with the key from before: {failed}");
            let remedy = "give the files in the folder `keys` to the user that the hub runs as, or put them back; the \
                          hub looks once a minute";
            self.fault(None, "the key of access tokens", detail, remedy);
        }
        let store = &hub["store"];
        let number = |name: &str| store[name].as_str().and_then(|text| text.parse::<u64>().ok());
        if let Some(bytes) = number("wal_bytes").filter(|bytes| *bytes > WAL_BYTES_MAX) {
            let detail =
                format!("the write-ahead log has {bytes} bytes: a reader keeps it from being folded in");
            self.note(None, "the write-ahead log", detail, "restart the hub when it is quiet");
        }
        let pool = number("connections_in_use").zip(number("connections_max"));
        if let Some((in_use, max)) = pool.filter(|(in_use, max)| in_use >= max) {
            let detail = format!("{in_use} of {max} connections to the database are in use");
            self.note(None, "connections", detail, "look for slow statements, or run another gateway");
        }
    }

    /// What is wrong with a tenant.
    pub(super) fn of_tenant(&mut self, name: &str, tenant: &Value, hub: &Value) {
        self.of_log(name, tenant);
        self.of_records(name, tenant);
        for node in tenant["nodes"].as_array().into_iter().flatten() {
            if node["status"] == "active" {
                self.of_node(name, node, tenant, hub);
            }
        }
    }

    fn of_log(&mut self, name: &str, tenant: &Value) {
        let wrong = tenant["chain"]["wrong"].as_u64().unwrap_or_default();
        if let (true, Some(first)) = (wrong > 0, tenant["chain"]["faults"].get(0)) {
            let detail = format!(
                "{wrong} of the commits do not follow from the one before, the first is {} ({})",
                first["commit"],
                first["what"].as_str().unwrap_or_default()
            );
            let remedy = "stop the hub, keep the store as it is, restore from a backup";
            self.fault(Some(name), "the chain", detail, remedy);
        }
        if tenant["recovering"] == json!(true) {
            let detail = "the log takes back what it lost when it went on from a backup".to_owned();
            self.note(Some(name), "recovery", detail, "`hubward recover --status`, then `--finish`");
        }
    }

    fn of_records(&mut self, name: &str, tenant: &Value) {
        let remedy = "stop the hub, keep the store as it is, restore from a backup; check the disk";
        let damaged = tenant["damaged"]["count"].as_u64().unwrap_or_default();
        if damaged > 0 {
            let first = &tenant["damaged"]["records"][0];
            let text = |name: &str| first[name].as_str().unwrap_or_default().to_owned();
            let detail = format!(
                "{damaged} of them are not what their digest says, the first is {}/{}",
                text("kind"),
                text("id")
            );
            self.fault(Some(name), "damaged records", detail, remedy);
        }
        let scopes = tenant["scopes"].as_array().into_iter().flatten();
        let differ: Vec<&Value> = scopes.filter(|scope| scope["equal"] == json!(false)).collect();
        if let Some(first) = differ.first() {
            let text = |name: &str| first[name].as_str().unwrap_or_default().to_owned();
            let detail = format!(
                "{} are not those of their records, the first is {}/{}",
                differ.len(),
                text("domain"),
                text("kind")
            );
            self.fault(Some(name), "sums of scopes", detail, remedy);
        }
        if tenant["compared"] == json!(false) {
            let detail = format!(
                "records and kept sums were not read at one revision in {} tries, or there are more than 4096 sums",
                tenant["tries"]
            );
            self.note(Some(name), "sums not compared", detail, "try again when fewer nodes write");
        }
    }

    fn of_node(&mut self, name: &str, node: &Value, tenant: &Value, hub: &Value) {
        let node_name = node["name"].as_str().unwrap_or_default();
        let ahead_ms = node["clock_offset_ms"].as_i64().unwrap_or_default();
        if ahead_ms.unsigned_abs() > CLOCK_MS_MAX {
            let detail = format!("{node_name} is {ahead_ms} ms ahead of the hub");
            self.note(Some(name), "a clock", detail, "set the node's clock, best by NTP");
        }
        let held = node["acknowledged"].as_u64().filter(|_| node["epochs_open"].as_u64() > Some(0));
        let keep = tenant["kept_revisions"].as_u64().unwrap_or(u64::MAX);
        let revision = tenant["revision"].as_u64().unwrap_or_default();
        let behind = held.map(|held| revision.saturating_sub(held)).filter(|behind| *behind > keep);
        if let Some(behind) = behind {
            let detail = format!(
                "{node_name} is {behind} revisions behind ({}): they are all kept for it",
                text(&node["health"])
            );
            let remedy =
                "bring it back, or `hubward node revoke` it; it is let go when it was silent for the expiry";
            self.note(Some(name), "the horizon is held", detail, remedy);
        }
        let ours = hub["software"].as_str().and_then(version);
        let theirs = node["software"].as_str().and_then(version);
        if let Some((ours, theirs)) = ours.zip(theirs).filter(|(ours, theirs)| ours != theirs) {
            let which = if theirs < ours { "older" } else { "newer" };
            let detail = format!("{node_name} runs {}, {which} than the hub", text(&node["software"]));
            let remedy = if theirs < ours { "upgrade the node" } else { "upgrade the hub first, then nodes" };
            self.note(Some(name), "versions", detail, remedy);
        }
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
}

/// The numbers of a version, after the program's name.
fn version(software: &str) -> Option<Vec<u64>> {
    let (_, version) = software.rsplit_once(' ')?;
    let numbers = version.split(['-', '+']).next()?.split('.');
    numbers.map(|number| number.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sound() -> Value {
        json!({
            "revision": 100, "kept_revisions": 50, "recovering": false, "compared": true, "tries": 1,
            "chain": {"first": 1, "last": 9, "wrong": 0, "faults": []},
            "damaged": {"count": 0, "records": []},
            "scopes": [{"domain": "home", "kind": "note", "equal": true}],
            "nodes": [{
                "name": "laptop", "status": "active", "health": "healthy", "epochs_open": 1, "acknowledged": 90,
                "clock_offset_ms": 20, "software": "spoke 0.4.0",
            }],
        })
    }

    fn hub() -> Value {
        json!({"software": "hubward 0.4.0", "store": {"wal_bytes": "4096"}, "unsafe": null})
    }

    fn found(tenant: &Value, hub: &Value) -> Vec<(String, bool)> {
        let mut problems = Problems::default();
        problems.of_hub(hub);
        problems.of_tenant("t", tenant, hub);
        let named = |problem: Value| (text(&problem["what"]).to_owned(), problem["fault"] == json!(true));
        problems.listed().into_iter().map(named).collect()
    }

    fn with(pointer: &str, value: Value) -> Vec<(String, bool)> {
        let mut tenant = sound();
        *tenant.pointer_mut(pointer).unwrap() = value;
        found(&tenant, &hub())
    }

    #[test]
    fn a_sound_hub_has_no_problems() {
        assert!(found(&sound(), &hub()).is_empty());
    }

    #[test]
    fn what_should_never_be_is_a_fault() {
        let fault = |what: &str| vec![(what.to_owned(), true)];
        let chain = json!({"wrong": 1, "faults": [{"commit": 7, "what": "chain"}]});
        assert_eq!(with("/chain", chain), fault("the chain"));
        let damaged = json!({"count": 1, "records": [{"kind": "note", "id": "a"}]});
        assert_eq!(with("/damaged", damaged), fault("damaged records"));
        assert_eq!(with("/scopes/0/equal", json!(false)), fault("sums of scopes"));
        let mut unsafe_ = hub();
        unsafe_["unsafe"] =
            json!({"reason": "STORE_UNSAFE", "detail": "fsync is off", "remedy": "switch it on"});
        assert_eq!(found(&sound(), &unsafe_), fault("the store"));
    }

    #[test]
    fn what_is_worth_knowing_is_no_fault() {
        let note = |what: &str| vec![(what.to_owned(), false)];
        assert_eq!(with("/nodes/0/clock_offset_ms", json!(-40_000)), note("a clock"));
        assert_eq!(with("/nodes/0/acknowledged", json!(49)), note("the horizon is held"));
        assert_eq!(with("/nodes/0/software", json!("spoke 0.3.9")), note("versions"));
        assert_eq!(with("/nodes/0/software", json!("spoke 0.10.0")), note("versions"));
        assert_eq!(with("/compared", json!(false)), note("sums not compared"));
        assert_eq!(with("/recovering", json!(true)), note("recovery"));
        let mut large = hub();
        large["store"]["wal_bytes"] = json!((WAL_BYTES_MAX + 1).to_string());
        assert_eq!(found(&sound(), &large), note("the write-ahead log"));
    }

    #[test]
    fn a_revoked_node_is_nobodys_problem() {
        let mut tenant = sound();
        tenant["nodes"][0]["clock_offset_ms"] = json!(90_000);
        tenant["nodes"][0]["status"] = json!("revoked");
        assert!(found(&tenant, &hub()).is_empty());
    }

    #[test]
    fn versions_are_compared_number_by_number() {
        assert!(version("spoke 0.10.0") > version("spoke 0.9.9"));
        assert_eq!(version("hubward 1.2.3-rc.1"), Some(vec![1, 2, 3]));
        assert_eq!(version("something else"), None);
    }

    #[test]
    fn a_key_of_access_tokens_that_is_not_taken_up_is_a_fault() {
        let mut hub = hub();
        hub["token_key_failed"] = json!("PERMISSION_DENIED: keys/token.key");
        assert_eq!(found(&sound(), &hub), [("the key of access tokens".to_owned(), true)]);
    }
}
