//! Who may call what: one table of every call the hub serves. What is not in it is refused.

/// Who may call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// Anyone, without proof of identity.
    Anyone,
    /// A node with an access token.
    Node,
    /// An operator with the credential.
    Operator,
}

const TABLE: &[(&str, Right)] = &[
    ("/grpc.health.v1.Health/Check", Right::Anyone),
    ("/grpc.health.v1.Health/List", Right::Anyone),
    ("/grpc.health.v1.Health/Watch", Right::Anyone),
    ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Right::Anyone),
    ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", Right::Anyone),
    ("/hubward.v1.AdminService/ApplyKind", Right::Operator),
    ("/hubward.v1.AdminService/CreateTenant", Right::Operator),
    ("/hubward.v1.AdminService/CreateToken", Right::Operator),
    ("/hubward.v1.AdminService/GetCa", Right::Operator),
    ("/hubward.v1.AdminService/GetHubRecord", Right::Operator),
    ("/hubward.v1.AdminService/GetNode", Right::Operator),
    ("/hubward.v1.AdminService/GetViewDigest", Right::Operator),
    ("/hubward.v1.AdminService/ListHistory", Right::Operator),
    ("/hubward.v1.AdminService/ListHubRecords", Right::Operator),
    ("/hubward.v1.AdminService/ListKinds", Right::Operator),
    ("/hubward.v1.AdminService/ListNodes", Right::Operator),
    ("/hubward.v1.AdminService/ListTenants", Right::Operator),
    ("/hubward.v1.AdminService/RevokeNode", Right::Operator),
    ("/hubward.v1.AdminService/SetView", Right::Operator),
    ("/hubward.v1.AuthService/ExchangeAssertion", Right::Anyone),
    ("/hubward.v1.AuthService/Join", Right::Anyone),
    ("/hubward.v1.NodeService/Heartbeat", Right::Node),
    ("/hubward.v1.NodeService/ListRecordHistory", Right::Node),
    ("/hubward.v1.RecordService/ExportRecords", Right::Node),
    ("/hubward.v1.RecordService/GetDigest", Right::Node),
    ("/hubward.v1.RecordService/GetRecord", Right::Node),
    ("/hubward.v1.RecordService/GetStatus", Right::Node),
    ("/hubward.v1.RecordService/ImportFile", Right::Node),
    ("/hubward.v1.RecordService/ListOutbox", Right::Node),
    ("/hubward.v1.RecordService/ListRecords", Right::Node),
    ("/hubward.v1.RecordService/SettleOutboxEntry", Right::Node),
    ("/hubward.v1.RecordService/SyncNow", Right::Node),
    ("/hubward.v1.RecordService/WatchRecords", Right::Node),
    ("/hubward.v1.RecordService/WriteRecords", Right::Node),
    ("/hubward.v1.SyncService/Pull", Right::Node),
    ("/hubward.v1.SyncService/Push", Right::Node),
    ("/hubward.v1.SyncService/Reconcile", Right::Node),
    ("/hubward.v1.SyncService/Session", Right::Node),
];

/// Who may call this; `None` = nobody.
#[must_use]
pub fn right_of(path: &str) -> Option<Right> {
    TABLE.iter().find(|(known, _)| *known == path).map(|(_, right)| *right)
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
            for service in &file.service {
                let names = service.method.iter();
                calls.extend(names.map(|m| format!("/{}.{}/{}", file.package, service.name, m.name)));
            }
        }
        calls.sort();
        let ours = TABLE.iter().map(|(path, _)| (*path).to_owned());
        let ours: Vec<String> = ours.filter(|path| path.starts_with("/hubward.")).collect();
        assert_eq!(ours, calls);
    }

    #[test]
    fn what_is_not_in_the_table_is_for_nobody() {
        for path in ["", "/", "/hubward.v1.AdminService/", "/hubward.v1.SyncService/session", "/metrics"] {
            assert_eq!(right_of(path), None);
        }
    }
}
