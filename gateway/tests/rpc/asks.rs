//! A well-formed request for each call of the hub, about a thing that is there or one that is not.

use gateway::auth::rights::REFLECTION;
use prost::Message;
use proto::v1;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

/// Bytes as they are: a call of which only the path matters.
#[derive(Debug, Clone, Copy, Default)]
pub struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;
    fn encoder(&mut self) -> Self {
        Self
    }
    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;
    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        bytes::BufMut::put_slice(buffer, &item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;
    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut bytes = vec![0; bytes::Buf::remaining(buffer)];
        bytes::Buf::copy_to_slice(buffer, &mut bytes);
        Ok(Some(bytes))
    }
}

/// What a request is about, wherever its call names such a thing.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    /// A tenant.
    pub tenant: &'a str,
    /// Name of a node, a record, an operator or a kind.
    pub thing: &'a str,
    /// The node that asks.
    pub node: &'a [u8],
}

impl About<'_> {
    fn tenant(self) -> String {
        self.tenant.to_owned()
    }

    fn name(self) -> String {
        self.thing.to_owned()
    }

    fn key(self) -> Option<v1::Key> {
        Some(v1::Key { kind: "note".to_owned(), id: self.name() })
    }
}

/// The bytes of a request to `path`.
pub fn ask(path: &str, about: About<'_>) -> Vec<u8> {
    if path == REFLECTION {
        // Which services there are.
        return b":\x01*".to_vec();
    }
    let (service, method) = path.trim_start_matches("/hubward.v1.").split_once('/').unwrap();
    match service {
        "AdminService" => admin(method, about),
        "AuditService" => audit(method, about),
        "ExamineService" => examine(method, about),
        "OperatorService" => operators(method, about),
        "NodeService" | "SyncService" => of_node(method, about),
        // The daemon's own services: the hub knows who may call it, and does not serve it.
        "RecordService" | "IdentityService" => Vec::new(),
        _ => panic!("say how {path} is asked"),
    }
}

fn admin(method: &str, about: About<'_>) -> Vec<u8> {
    let (tenant, node, key) = (about.tenant(), about.name(), about.key());
    let declaration = format!(r#"{{"name":"{}","policy":"fields"}}"#, about.thing).into_bytes();
    let cells = vec![v1::Selector { domain: about.name(), kind: None, facet: None }];
    match method {
        "ApplyKind" => v1::ApplyKindRequest { tenant, declaration }.encode_to_vec(),
        "CreateTenant" => v1::CreateTenantRequest { tenant }.encode_to_vec(),
        "CreateToken" => v1::CreateTokenRequest { tenant, uses: None, ttl_s: None }.encode_to_vec(),
        "ListTokens" => v1::ListTokensRequest { tenant, ..Default::default() }.encode_to_vec(),
        "RevokeToken" => v1::RevokeTokenRequest { tenant, id: about.name() }.encode_to_vec(),
        "GetCa" => v1::GetCaRequest {}.encode_to_vec(),
        "GetConflict" => v1::GetConflictRequest { tenant, conflict: about.name() }.encode_to_vec(),
        "ListConflicts" => v1::ListConflictsRequest { tenant, ..Default::default() }.encode_to_vec(),
        "ResolveConflict" => {
            let choice = Some(v1::conflict_choice::Choice::Keep(v1::KeepStanding {}));
            let choice = Some(v1::ConflictChoice { choice });
            let conflict = about.name();
            v1::ResolveConflictRequest { tenant, conflict, choice, ..Default::default() }.encode_to_vec()
        }
        "UndoResolution" => {
            v1::UndoResolutionRequest { tenant, conflict: about.name(), ..Default::default() }.encode_to_vec()
        }
        "GetHubRecord" => v1::GetHubRecordRequest { tenant, key }.encode_to_vec(),
        "GetNode" => v1::GetNodeRequest { tenant, node }.encode_to_vec(),
        "GetViewDigest" => v1::GetViewDigestRequest { tenant, node }.encode_to_vec(),
        "ListHistory" => v1::ListHistoryRequest { tenant, key, ..Default::default() }.encode_to_vec(),
        "ListHubRecords" => {
            v1::ListHubRecordsRequest { tenant, prefix: about.name(), ..Default::default() }.encode_to_vec()
        }
        "ListPolicies" => v1::ListPoliciesRequest { tenant, ..Default::default() }.encode_to_vec(),
        "SetPolicy" => v1::SetPolicyRequest { tenant, kind: about.name(), policy: Some("branch".to_owned()) }
            .encode_to_vec(),
        "GetTopology" => v1::GetTopologyRequest { tenant }.encode_to_vec(),
        "SetTopology" => {
            let (shape, primary) = ("primary_replica".to_owned(), node);
            v1::SetTopologyRequest { tenant, shape, primary, ..Default::default() }.encode_to_vec()
        }
        "ListIdentityHealth" => {
            v1::ListIdentityHealthRequest { tenant, ..Default::default() }.encode_to_vec()
        }
        "ListIdentityConvergence" => {
            v1::ListIdentityConvergenceRequest { tenant, ..Default::default() }.encode_to_vec()
        }
        "ListIdentityDivergence" => {
            v1::ListIdentityDivergenceRequest { tenant, ..Default::default() }.encode_to_vec()
        }
        "ListPrecedents" => v1::ListPrecedentsRequest { tenant, ..Default::default() }.encode_to_vec(),
        "PreviewPolicy" => {
            v1::PreviewPolicyRequest { tenant, policy: "branch".to_owned(), ..Default::default() }
                .encode_to_vec()
        }
        "RevokePrecedent" => v1::RevokePrecedentRequest { tenant, precedent: about.name() }.encode_to_vec(),
        "ListKinds" => v1::ListKindsRequest { tenant, ..Default::default() }.encode_to_vec(),
        "ListNodeTypes" => v1::ListNodeTypesRequest { tenant }.encode_to_vec(),
        "ListNodes" => v1::ListNodesRequest { tenant, ..Default::default() }.encode_to_vec(),
        "ListTenants" => v1::ListTenantsRequest::default().encode_to_vec(),
        "RecoverLog" => v1::RecoverLogRequest { tenant, action: 0 }.encode_to_vec(),
        "RevokeNode" => v1::RevokeNodeRequest { tenant, node }.encode_to_vec(),
        "SetNodeCapabilities" => {
            v1::SetNodeCapabilitiesRequest { tenant, node, capabilities: None }.encode_to_vec()
        }
        "SetNodeType" => {
            v1::SetNodeTypeRequest { tenant, node_type: about.name(), capabilities: None, kinds: None }
                .encode_to_vec()
        }
        "SetView" => v1::SetViewRequest { tenant, node, view: Some(v1::View { cells }) }.encode_to_vec(),
        _ => panic!("say how {method} is asked"),
    }
}

fn audit(method: &str, about: About<'_>) -> Vec<u8> {
    let tenant = about.tenant();
    match method {
        "ListAccess" => {
            v1::ListAccessRequest { tenant, who: about.name(), ..Default::default() }.encode_to_vec()
        }
        "VerifyAccess" => v1::VerifyAccessRequest { tenant, ..Default::default() }.encode_to_vec(),
        "ListChanges" => {
            v1::ListChangesRequest { tenant, author: about.name(), ..Default::default() }.encode_to_vec()
        }
        _ => panic!("say how {method} is asked"),
    }
}

fn examine(method: &str, about: About<'_>) -> Vec<u8> {
    let tenant = about.tenant();
    match method {
        "ExamineChain" => v1::ExamineChainRequest { tenant, ..Default::default() }.encode_to_vec(),
        "ExamineHub" => v1::ExamineHubRequest {}.encode_to_vec(),
        "ExamineLog" => v1::ExamineLogRequest { tenant }.encode_to_vec(),
        "ExamineRecords" => v1::ExamineRecordsRequest { tenant, ..Default::default() }.encode_to_vec(),
        _ => panic!("say how {method} is asked"),
    }
}

fn operators(method: &str, about: About<'_>) -> Vec<u8> {
    let (tenant, name) = (about.tenant(), about.name());
    match method {
        "CreateOperator" => {
            v1::CreateOperatorRequest { tenant, name, role: "viewer".to_owned(), ttl_s: None }.encode_to_vec()
        }
        "IssueAccessToken" => v1::IssueAccessTokenRequest {}.encode_to_vec(),
        "ListOperators" => v1::ListOperatorsRequest { tenant, ..Default::default() }.encode_to_vec(),
        "RevokeOperator" => v1::RevokeOperatorRequest { tenant, name }.encode_to_vec(),
        "RotateOperator" => {
            v1::RotateOperatorRequest { tenant, name, ttl_s: None, grace_s: None }.encode_to_vec()
        }
        _ => panic!("say how {method} is asked"),
    }
}

fn of_node(method: &str, about: About<'_>) -> Vec<u8> {
    match method {
        "CompareRange" => v1::CompareRangeRequest::default().encode_to_vec(),
        "CompareScopes" => v1::CompareScopesRequest {}.encode_to_vec(),
        "CountSeen" => v1::CountSeenRequest { revisions: vec![1] }.encode_to_vec(),
        "GetRecordConflict" => v1::GetRecordConflictRequest { conflict: about.name() }.encode_to_vec(),
        "ResolveRecordConflict" => {
            let choice = Some(v1::conflict_choice::Choice::Keep(v1::KeepStanding {}));
            let choice = Some(v1::ConflictChoice { choice });
            let conflict = about.name();
            v1::ResolveRecordConflictRequest { conflict, choice, ..Default::default() }.encode_to_vec()
        }
        "UndoRecordResolution" => {
            v1::UndoRecordResolutionRequest { conflict: about.name(), ..Default::default() }.encode_to_vec()
        }
        "Heartbeat" => v1::HeartbeatRequest::default().encode_to_vec(),
        "ListRecordHistory" => {
            v1::ListRecordHistoryRequest { key: about.key(), ..Default::default() }.encode_to_vec()
        }
        "Pull" => {
            let from = v1::pull_request::From::Start(v1::Start {});
            v1::PullRequest { from: Some(from) }.encode_to_vec()
        }
        "Push" => {
            let writer = Some(v1::Writer { node: about.node.to_vec(), epoch: 1 });
            v1::PushRequest { writer, ..Default::default() }.encode_to_vec()
        }
        "Reconcile" => v1::ReconcileRequest::default().encode_to_vec(),
        "Session" => {
            let hello = v1::session_request::Message::Hello(super::world::hello());
            v1::SessionRequest { message: Some(hello) }.encode_to_vec()
        }
        _ => panic!("say how {method} is asked"),
    }
}
