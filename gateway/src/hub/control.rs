//! Control records: kinds, views, nodes. Changed by compare-and-set, never merged.

use semantics::ids::{Domain, Key, Kind, NodeId, RecordId, Revision, Salt, TenantId};
use semantics::kind::{self, Declaration};
use semantics::node::NodeType;
use semantics::reason::Reason;
use semantics::view::View;
use serde::Serialize;
use serde_json::{Map, Value};

use super::Hub;
use super::error::HubError;
use super::heavy;
use super::known::{NodeBody, NodeStatus, control_body, control_key};
use super::work::{Answer, ControlWork, NoneOpened, Work};
use crate::store::{Current, Space, Wanted};

/// Most looks at what stands before one change is given up.
pub(super) const LOOKS_MAX: usize = 3;

impl Hub {
    /// Sets a control record that stands at `expected` (zero = absent), or deletes it. The log names `author`.
    ///
    /// # Errors
    /// STALE when it stands elsewhere; shape refusals; store errors.
    pub async fn set_control(
        &self,
        tenant: &TenantId,
        author: NodeId,
        key: Key,
        body: Option<Map<String, Value>>,
        expected: Revision,
    ) -> Result<Revision, HubError> {
        let salt = Salt(self.entropy().bytes16());
        self.change_control(tenant, ControlWork { key, body, expected, only_if: None, author, salt }).await
    }

    /// The same, where something else must hold as well when it is committed.
    pub(super) async fn change_control(
        &self,
        tenant: &TenantId,
        work: ControlWork,
    ) -> Result<Revision, HubError> {
        match self.submit(tenant, Work::Control(work)).await? {
            Answer::Control(revision) => Ok(revision?),
            Answer::Push(_) | Answer::Settled(_) | Answer::Done(_) => {
                Err(HubError::internal("a control record got another answer"))
            }
        }
    }

    /// A control record as it stands.
    ///
    /// # Errors
    /// Store errors.
    pub async fn control(&self, tenant: &TenantId, key: &Key) -> Result<Option<Current>, HubError> {
        let wanted = Wanted { keys: [key.clone()].into(), ..Wanted::default() };
        let found = self.store().load(tenant, &wanted).await?.current.remove(key);
        Ok(found.filter(|current| !current.pointer.deleted))
    }

    /// Declares a kind, or declares it anew. Declaring what stands already changes nothing.
    ///
    /// # Errors
    /// What [`Declaration::check`] refuses; CONFLICTS_OPEN where a side of an open conflict would not fit; STALE; store
    /// errors.
    pub async fn apply_kind(
        &self,
        tenant: &TenantId,
        author: NodeId,
        declaration: &Declaration,
    ) -> Result<Revision, HubError> {
        heavy::check(declaration)?;
        let key = key_of(kind::KIND, declaration.name.as_str())?;
        let mut looks = 1;
        loop {
            let only_if = self.check_conflicts_under(tenant, declaration).await?;
            let stands = self.control(tenant, &key).await?;
            match self.put_over(tenant, author, (&key, stands), declaration, only_if).await {
                Err(error) if has_changed(&error) && looks < LOOKS_MAX => looks += 1,
                done => return done,
            }
        }
    }

    /// Sets a node's view.
    ///
    /// # Errors
    /// NOT_FOUND for a node that is not registered; TOO_LARGE; STALE; store errors.
    pub async fn set_view(
        &self,
        tenant: &TenantId,
        author: NodeId,
        node: NodeId,
        view: &View,
    ) -> Result<Revision, HubError> {
        if view.cells.len() > semantics::view::VIEW_SELECTORS_MAX {
            return Err(HubError::new(
                Reason::TooLarge,
                format!("{} selectors in one view", view.cells.len()),
            ));
        }
        if self.control(tenant, &key_of(kind::NODE, &node.to_string())?).await?.is_none() {
            return Err(HubError::new(Reason::NotFound, format!("no node {node}")));
        }
        self.put_control(tenant, author, key_of(kind::VIEW, &node.to_string())?, view).await
    }

    /// As [`Hub::register`], of which only the node's id is told.
    ///
    /// # Errors
    /// As [`Hub::register`].
    pub async fn register_node(&self, tenant: &TenantId, body: &NodeBody) -> Result<NodeId, HubError> {
        Ok(self.register(tenant, body).await?.node)
    }

    /// Registers a node by its name. Doing it again with the same facts gives the same id, and writes nothing over a
    /// registration that stands: it may be revoked in that moment.
    ///
    /// # Errors
    /// ALREADY_EXISTS when the name is taken by a live node with other facts; PROTOCOL_VERSION when it is by one that
    /// a newer gateway wrote and this one does not read; OVERLOADED while another call registers the name; store
    /// errors.
    pub async fn register(&self, tenant: &TenantId, body: &NodeBody) -> Result<Registered, HubError> {
        let name = body.name.as_bytes();
        let held = self.store().plain_get(tenant, Space::Node, name).await?;
        let version = held.as_ref().map_or(0, |row| row.version);
        let known = held.and_then(|row| NodeId::from_slice(&row.value).ok());
        if let Some(node) = known {
            match self.registration(tenant, node).await?.map(|(_, stands)| stands) {
                Some(stands) if stands.status == NodeStatus::Revoked => {}
                Some(stands) => {
                    // What an admin set for it since is no fact that it joins with.
                    if (NodeBody { assigned: None, ..stands }) != *body {
                        let detail = format!("node {} is registered with other facts", body.name);
                        return Err(HubError::new(Reason::AlreadyExists, detail));
                    }
                    return Ok(Registered { node, is_new: false });
                }
                None => return self.write_node(tenant, node, body).await,
            }
        }
        let node = NodeId(self.entropy().bytes16());
        if !self.store().plain_put(tenant, Space::Node, name, node.as_bytes(), version).await? {
            return Err(being_registered());
        }
        self.write_node(tenant, node, body).await
    }

    /// Writes a node's records, its registration last; one cut short is finished by doing it again.
    async fn write_node(
        &self,
        tenant: &TenantId,
        node: NodeId,
        body: &NodeBody,
    ) -> Result<Registered, HubError> {
        let view_key = key_of(kind::VIEW, &node.to_string())?;
        if self.control(tenant, &view_key).await?.is_none() {
            let types = self.node_types(tenant).await?;
            // What is not known to be allowed is not shown.
            let kinds = types.kinds(NodeType::from_name(&body.node_type)?)?;
            self.put_control(tenant, node, view_key, &View::of_kinds(&body.domain, kinds)).await?;
        }
        let key = key_of(kind::NODE, &node.to_string())?;
        match self.put_over(tenant, node, (&key, None), body, None).await {
            Ok(_) => Ok(Registered { node, is_new: true }),
            Err(error) if error.reason() == Reason::Stale => Err(being_registered()),
            Err(error) => Err(error),
        }
    }

    /// A node's registration, as it stands and read.
    ///
    /// # Errors
    /// PROTOCOL_VERSION for one that a newer gateway wrote and this one does not read; store errors.
    pub async fn registration(
        &self,
        tenant: &TenantId,
        node: NodeId,
    ) -> Result<Option<(Current, NodeBody)>, HubError> {
        let key = key_of(kind::NODE, &node.to_string())?;
        let Some(current) = self.control(tenant, &key).await? else { return Ok(None) };
        let newer = || {
            let detail = format!("the registration of {node} is of a newer version than this gateway");
            HubError::new(Reason::ProtocolVersion, detail)
        };
        let body = control_body(Some(&current)).ok_or_else(newer)?;
        Ok(Some((current, body)))
    }

    /// Revokes a node: it may not speak again. Every gateway learns of it with the next commit it reads.
    ///
    /// # Errors
    /// NOT_FOUND; STALE; store errors.
    pub async fn revoke_node(
        &self,
        tenant: &TenantId,
        author: NodeId,
        node: NodeId,
    ) -> Result<Revision, HubError> {
        let revoked = |stands| NodeBody { status: NodeStatus::Revoked, ..stands };
        self.change_node(tenant, author, node, revoked).await
    }

    /// Changes a registration as it stands. Where it is another by the time of the commit it is looked at anew, so that
    /// no change takes back another one.
    pub(super) async fn change_node(
        &self,
        tenant: &TenantId,
        author: NodeId,
        node: NodeId,
        change: impl Fn(NodeBody) -> NodeBody,
    ) -> Result<Revision, HubError> {
        let key = key_of(kind::NODE, &node.to_string())?;
        let mut looks = 1;
        loop {
            let absent = || HubError::new(Reason::NotFound, format!("no node {node}"));
            let (current, stands) = self.registration(tenant, node).await?.ok_or_else(absent)?;
            match self.put_over(tenant, author, (&key, Some(current)), &change(stands), None).await {
                Err(error) if error.reason() == Reason::Stale && looks < LOOKS_MAX => looks += 1,
                done => return done,
            }
        }
    }

    pub(super) async fn put_control(
        &self,
        tenant: &TenantId,
        author: NodeId,
        key: Key,
        body: &impl Serialize,
    ) -> Result<Revision, HubError> {
        let stands = self.control(tenant, &key).await?;
        self.put_over(tenant, author, (&key, stands), body, None).await
    }

    /// Puts a control record in the place of what was read of it.
    pub(super) async fn put_over(
        &self,
        tenant: &TenantId,
        author: NodeId,
        (key, stands): (&Key, Option<Current>),
        body: &impl Serialize,
        only_if: Option<NoneOpened>,
    ) -> Result<Revision, HubError> {
        let body = match serde_json::to_value(body) {
            Ok(Value::Object(body)) => body,
            Ok(_) | Err(_) => return Err(HubError::internal("a control body is no object")),
        };
        let same = stands.as_ref().and_then(|current| control_body::<Map<String, Value>>(Some(current)));
        let at = stands.map(|current| current.pointer.revision).unwrap_or_default();
        if same.as_ref() == Some(&body) {
            return Ok(at);
        }
        let salt = Salt(self.entropy().bytes16());
        let work = ControlWork { key: key.clone(), body: Some(body), expected: at, only_if, author, salt };
        self.change_control(tenant, work).await
    }
}

/// What a registration came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Registered {
    /// The node.
    pub node: NodeId,
    /// Whether it was registered by this, and not before.
    pub is_new: bool,
}

/// Whether a change was refused for what came between a look for open conflicts and its commit: another look says what
/// it was.
pub(super) fn has_changed(error: &HubError) -> bool {
    matches!(error.reason(), Reason::ConflictsOpen | Reason::Overloaded)
}

fn being_registered() -> HubError {
    HubError::transient(Reason::Overloaded, "the name is being registered", 50)
}

pub(super) fn key_of(kind: &str, id: &str) -> Result<Key, HubError> {
    control_key(kind, id).ok_or_else(|| HubError::new(Reason::Malformed, format!("{id:?} is no id")))
}

/// A registration with nothing special.
#[must_use]
pub fn plain_node(name: &str, domain: Domain) -> NodeBody {
    NodeBody {
        name: name.to_owned(),
        node_type: "agent".to_owned(),
        domain,
        capabilities: std::collections::BTreeSet::new(),
        assigned: None,
        public_key: String::new(),
        status: NodeStatus::Active,
    }
}

/// A record's key from texts.
///
/// # Errors
/// MALFORMED, saying which of both is no name.
pub fn record_key(kind: &str, id: &str) -> Result<Key, HubError> {
    let malformed = |e: semantics::ids::IdError| HubError::new(Reason::Malformed, e.to_string());
    Ok(Key { kind: Kind::new(kind).map_err(malformed)?, id: RecordId::new(id).map_err(malformed)? })
}
