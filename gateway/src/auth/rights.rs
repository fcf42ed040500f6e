//! Who may call what: one table of every call the hub serves. What is not in it is refused.

use semantics::role::Role;

/// Who may call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// Anyone, without proof of identity.
    Anyone,
    /// A node with an access token: the role `node` in its own tenant.
    Node,
    /// An operator with this role in the tenant that the request names.
    OfTenant(Role),
    /// An operator with this role in any tenant: what is asked for is no tenant's.
    OfAny(Role),
    /// An operator with this role in the whole hub.
    OfHub(Role),
}

impl Right {
    /// Whether an operator may call, whatever tenant the request names: that is looked at when the request is
    /// read, before anything else of it ([`super::Operator::reaches`]).
    #[must_use]
    pub fn is_held_by(self, operator: &super::Operator) -> bool {
        match self {
            Self::Anyone => true,
            Self::Node => false,
            Self::OfTenant(role) | Self::OfAny(role) => operator.role.includes(role),
            Self::OfHub(role) => operator.is_of_hub() && operator.role.includes(role),
        }
    }
}

/// Whether a call waits for a turn ([`crate::rpc::turns`]) before its work begins: what it holds is counted by nobody
/// until its answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// It holds about a record, or has bounds of its own.
    Never,
    /// It reads row after row, or puts a large answer together.
    ToRead,
    /// The same, and then it waits for a commit: those who only read do not wait with it.
    ToWrite,
}

/// Asks what the hub serves: on the operators' port alone.
pub const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";

/// Every call, in order of its path.
pub const TABLE: &[(&str, Right, Wait)] = &[
    ("/grpc.health.v1.Health/Check", Right::Anyone, Wait::Never),
    ("/grpc.health.v1.Health/List", Right::Anyone, Wait::Never),
    ("/grpc.health.v1.Health/Watch", Right::Anyone, Wait::Never),
    (REFLECTION, Right::OfAny(Role::Viewer), Wait::Never),
    ("/hubward.v1.AdminService/ApplyKind", Right::OfTenant(Role::Admin), Wait::ToWrite),
    ("/hubward.v1.AdminService/CreateTenant", Right::OfHub(Role::Admin), Wait::Never),
    ("/hubward.v1.AdminService/CreateToken", Right::OfTenant(Role::Operator), Wait::ToRead),
    ("/hubward.v1.AdminService/GetCa", Right::OfAny(Role::Viewer), Wait::Never),
    ("/hubward.v1.AdminService/GetConflict", Right::OfTenant(Role::Viewer), Wait::ToRead),
    ("/hubward.v1.AdminService/GetHubRecord", Right::OfTenant(Role::Viewer), Wait::Never),
    ("/hubward.v1.AdminService/GetNode", Right::OfTenant(Role::Viewer), Wait::Never),
    ("/hubward.v1.AdminService/GetTopology", Right::OfTenant(Role::Viewer), Wait::ToRead),
    ("/hubward.v1.AdminService/GetViewDigest", Right::OfTenant(Role::Viewer), Wait::ToRead),
    ("/hubward.v1.AdminService/ListConflicts", Right::OfTenant(Role::Viewer), Wait::ToRead),
    ("/hubward.v1.AdminService/ListHistory", Right::OfTenant(Role::Viewer), Wait::ToRead),
    ("/hubward.v1.AdminService/ListHubRecords", Right::OfTenant(Role::Viewer), Wait::ToRead),
    ("/hubward.v1.AdminService/ListIdentityConvergence", Right::OfTenant(Role::Viewer), Wait::ToRead),
    ("/hubward.v1.AdminService/ListIdentityDivergence", Right::OfTenant(Role::Viewer), Wait::ToRead),
    ("/hubward.v1.AdminService/ListIdentityHealth", Right::OfTenant(Role::Viewer), Wait::ToRead),
    ("/hubward.v1.AdminService/ListKinds", Right::OfTenant(Role::Viewer), Wait::ToRead),
    ("/hubward.v1.AdminService/ListNodeTypes", Right::OfTenant(Role::Viewer), Wait::ToRead),
    ("/hubward.v1.AdminService/ListNodes", Right::OfTenant(Role::Viewer), Wait::ToRead),
    ("/hubward.v1.AdminService/ListPolicies", Right::OfTenant(Role::Viewer), Wait::ToRead),
    ("/hubward.v1.AdminService/ListPrecedents", Right::OfTenant(Role::Viewer), Wait::ToRead),
    ("/hubward.v1.AdminService/ListTenants", Right::OfHub(Role::Viewer), Wait::ToRead),
    ("/hubward.v1.AdminService/ListTokens", Right::OfTenant(Role::Admin), Wait::ToRead),
    ("/hubward.v1.AdminService/PreviewPolicy", Right::OfTenant(Role::Viewer), Wait::ToRead),
    ("/hubward.v1.AdminService/RecoverLog", Right::OfTenant(Role::Admin), Wait::Never),
    ("/hubward.v1.AdminService/ResolveConflict", Right::OfTenant(Role::Arbiter), Wait::ToWrite),
    ("/hubward.v1.AdminService/RevokeNode", Right::OfTenant(Role::Operator), Wait::Never),
    ("/hubward.v1.AdminService/RevokePrecedent", Right::OfTenant(Role::Arbiter), Wait::ToWrite),
    ("/hubward.v1.AdminService/RevokeToken", Right::OfTenant(Role::Admin), Wait::Never),
    ("/hubward.v1.AdminService/SetNodeCapabilities", Right::OfTenant(Role::Admin), Wait::Never),
    ("/hubward.v1.AdminService/SetNodeType", Right::OfTenant(Role::Admin), Wait::Never),
    ("/hubward.v1.AdminService/SetPolicy", Right::OfTenant(Role::Admin), Wait::ToWrite),
    ("/hubward.v1.AdminService/SetTopology", Right::OfTenant(Role::Operator), Wait::ToWrite),
    ("/hubward.v1.AdminService/SetView", Right::OfTenant(Role::Operator), Wait::Never),
    ("/hubward.v1.AdminService/UndoResolution", Right::OfTenant(Role::Arbiter), Wait::ToWrite),
    ("/hubward.v1.AuditService/ListAccess", Right::OfTenant(Role::Viewer), Wait::ToRead),
    ("/hubward.v1.AuditService/ListChanges", Right::OfTenant(Role::Viewer), Wait::ToRead),
    ("/hubward.v1.AuditService/VerifyAccess", Right::OfTenant(Role::Viewer), Wait::ToRead),
    ("/hubward.v1.AuthService/ExchangeAssertion", Right::Anyone, Wait::Never),
    ("/hubward.v1.AuthService/Join", Right::Anyone, Wait::Never),
    ("/hubward.v1.ExamineService/ExamineChain", Right::OfTenant(Role::Viewer), Wait::ToRead),
    ("/hubward.v1.ExamineService/ExamineHub", Right::OfHub(Role::Viewer), Wait::Never),
    ("/hubward.v1.ExamineService/ExamineLog", Right::OfTenant(Role::Viewer), Wait::ToRead),
    ("/hubward.v1.ExamineService/ExamineRecords", Right::OfTenant(Role::Viewer), Wait::ToRead),
    ("/hubward.v1.IdentityService/ExportState", Right::Node, Wait::Never),
    ("/hubward.v1.IdentityService/GetConflictHistory", Right::Node, Wait::Never),
    ("/hubward.v1.IdentityService/GetSyncHealth", Right::Node, Wait::Never),
    ("/hubward.v1.IdentityService/ImportState", Right::Node, Wait::Never),
    ("/hubward.v1.IdentityService/ReportInteraction", Right::Node, Wait::Never),
    ("/hubward.v1.IdentityService/ResolveStates", Right::Node, Wait::Never),
    ("/hubward.v1.IdentityService/ValidateState", Right::Node, Wait::Never),
    ("/hubward.v1.IdentityService/WatchStates", Right::Node, Wait::Never),
    ("/hubward.v1.IdentityService/WatchSync", Right::Node, Wait::Never),
    ("/hubward.v1.NodeService/CountSeen", Right::Node, Wait::ToRead),
    ("/hubward.v1.NodeService/GetRecordConflict", Right::Node, Wait::ToRead),
    ("/hubward.v1.NodeService/Heartbeat", Right::Node, Wait::Never),
    ("/hubward.v1.NodeService/ListRecordHistory", Right::Node, Wait::ToRead),
    ("/hubward.v1.NodeService/ResolveRecordConflict", Right::Node, Wait::ToWrite),
    ("/hubward.v1.NodeService/UndoRecordResolution", Right::Node, Wait::ToWrite),
    ("/hubward.v1.OperatorService/CreateOperator", Right::OfTenant(Role::Admin), Wait::Never),
    ("/hubward.v1.OperatorService/IssueAccessToken", Right::OfAny(Role::Viewer), Wait::Never),
    ("/hubward.v1.OperatorService/ListOperators", Right::OfTenant(Role::Admin), Wait::ToRead),
    ("/hubward.v1.OperatorService/RevokeOperator", Right::OfTenant(Role::Admin), Wait::Never),
    ("/hubward.v1.OperatorService/RotateOperator", Right::OfTenant(Role::Admin), Wait::Never),
    ("/hubward.v1.RecordService/Diagnose", Right::Node, Wait::Never),
    ("/hubward.v1.RecordService/ExportRecords", Right::Node, Wait::Never),
    ("/hubward.v1.RecordService/GetDigest", Right::Node, Wait::Never),
    ("/hubward.v1.RecordService/GetRecord", Right::Node, Wait::Never),
    ("/hubward.v1.RecordService/GetStatus", Right::Node, Wait::Never),
    ("/hubward.v1.RecordService/ImportFile", Right::Node, Wait::Never),
    ("/hubward.v1.RecordService/ListOutbox", Right::Node, Wait::Never),
    ("/hubward.v1.RecordService/ListRecords", Right::Node, Wait::Never),
    ("/hubward.v1.RecordService/ListRemnants", Right::Node, Wait::Never),
    ("/hubward.v1.RecordService/SettleOutboxEntry", Right::Node, Wait::Never),
    ("/hubward.v1.RecordService/SyncNow", Right::Node, Wait::Never),
    ("/hubward.v1.RecordService/WaitForWrites", Right::Node, Wait::Never),
    ("/hubward.v1.RecordService/WatchRecords", Right::Node, Wait::Never),
    ("/hubward.v1.RecordService/WriteRecords", Right::Node, Wait::Never),
    ("/hubward.v1.SyncService/CompareRange", Right::Node, Wait::ToRead),
    ("/hubward.v1.SyncService/CompareScopes", Right::Node, Wait::ToRead),
    ("/hubward.v1.SyncService/Pull", Right::Node, Wait::Never),
    ("/hubward.v1.SyncService/Push", Right::Node, Wait::Never),
    ("/hubward.v1.SyncService/Reconcile", Right::Node, Wait::ToWrite),
    ("/hubward.v1.SyncService/Session", Right::Node, Wait::Never),
];

/// Who may call this; `None` = nobody.
#[must_use]
pub fn right_of(path: &str) -> Option<Right> {
    row_of(path).map(|(_, right, _)| *right)
}

/// What this waits for before its work begins.
#[must_use]
pub fn wait_of(path: &str) -> Wait {
    row_of(path).map_or(Wait::Never, |(.., wait)| *wait)
}

/// The path as the table has it, if that call is served.
#[must_use]
pub fn known_path(path: &str) -> Option<&'static str> {
    row_of(path).map(|(known, ..)| *known)
}

fn row_of(path: &str) -> Option<&'static (&'static str, Right, Wait)> {
    TABLE.binary_search_by_key(&path, |(known, ..)| known).ok().and_then(|at| TABLE.get(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_of_the_protocol_has_its_line_and_no_other_has_one() {
        use prost::Message;
        #[derive(Clone, PartialEq, Message)]
        struct Set {
            #[prost(message, repeated, tag = "1")]
            file: Vec<File>,
        }
        #[derive(Clone, PartialEq, Message)]
        struct File {
            #[prost(string, tag = "2")]
            package: String,
            #[prost(message, repeated, tag = "6")]
            service: Vec<Service>,
        }
        #[derive(Clone, PartialEq, Message)]
        struct Service {
            #[prost(string, tag = "1")]
            name: String,
            #[prost(message, repeated, tag = "2")]
            method: Vec<Method>,
        }
        #[derive(Clone, PartialEq, Message)]
        struct Method {
            #[prost(string, tag = "1")]
            name: String,
        }
        let set = Set::decode(proto::FILE_DESCRIPTOR_SET).unwrap();
        let mut calls: Vec<String> = Vec::new();
        for file in &set.file {
            // That one the user serves, and the hub calls.
            for service in file.service.iter().filter(|service| service.name != "ResolverService") {
                let names = service.method.iter();
                calls.extend(names.map(|m| format!("/{}.{}/{}", file.package, service.name, m.name)));
            }
        }
        calls.sort();
        let ours = TABLE.iter().map(|(path, ..)| (*path).to_owned());
        let ours: Vec<String> = ours.filter(|path| path.starts_with("/hubward.")).collect();
        assert_eq!(ours, calls);
    }

    /// The table as docs/security.md shows it.
    fn rendered() -> String {
        let mut text =
            "| call | viewer | node | operator | arbiter | admin | waits for a turn |\n|---|---|---|---|---|---|---|\n"
                .to_owned();
        for (path, right, wait) in TABLE.iter().filter(|(_, right, _)| *right != Right::Anyone) {
            let mark = |by: Role| match right {
                Right::Anyone => "yes",
                Right::Node if by == Role::Node => "yes",
                Right::OfTenant(role) | Right::OfAny(role) if by.includes(*role) => "yes",
                Right::OfHub(role) if by.includes(*role) => "whole hub",
                _ => "",
            };
            let marks: Vec<&str> = Role::ALL.into_iter().map(mark).collect();
            let name = path.trim_start_matches("/hubward.v1.").trim_start_matches("/grpc.");
            let turn = match wait {
                Wait::Never => "",
                Wait::ToRead => "to read",
                Wait::ToWrite => "to write",
            };
            text.push_str(&format!("| {name} | {} | {turn} |\n", marks.join(" | ")));
        }
        text
    }

    #[test]
    fn the_table_in_the_documents_is_this_one() {
        let document = include_str!("../../../docs/security.md");
        let rendered = rendered();
        assert!(document.contains(&rendered), "docs/security.md must contain:\n{rendered}");
    }

    #[test]
    fn every_call_is_found_in_the_table() {
        for (path, right, wait) in TABLE {
            assert_eq!((right_of(path), wait_of(path)), (Some(*right), *wait), "{path}");
        }
    }

    #[test]
    fn what_is_not_in_the_table_is_for_nobody() {
        for path in ["", "/", "/hubward.v1.AdminService/", "/hubward.v1.SyncService/session", "/metrics"] {
            assert_eq!(right_of(path), None);
        }
    }
}
