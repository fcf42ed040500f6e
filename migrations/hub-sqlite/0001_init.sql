-- The hub's tables on SQLite. Names are UTF-8 bytes in blobs, so that they compare as bytes; numbers and times
-- (milliseconds since 1970-01-01 UTC) are integers. Every key leads with the tenant. The same tables and columns
-- as on PostgreSQL.

-- Where each tenant's log ends.
create table heads (
  tenant blob not null primary key,
  log_id blob not null,
  commit_number integer not null,
  revision integer not null,
  chain blob not null,
  horizon integer not null,
  time_ms integer not null
) strict, without rowid;

-- One row for each revision. A body stands once: in the mutation where that has it, else in the record.
create table log (
  tenant blob not null,
  revision integer not null,
  previous integer not null,
  commit_number integer not null,
  kind blob not null,
  id blob not null,
  domain blob not null,
  facet blob,
  departed_domain blob,
  departed_kind blob,
  departed_facet blob,
  departed_since integer,
  node blob not null,
  epoch integer not null,
  n integer not null,
  outcome integer not null,
  rule_version integer not null,
  weight integer not null,
  body_in_mutation integer not null,
  mutation blob,
  record blob not null,
  primary key (tenant, revision)
) strict;

-- One row for each commit down to the horizon, with what became of the dots it consumed.
create table commits (
  tenant blob not null,
  number integer not null,
  first_revision integer not null,
  last_revision integer not null,
  chain blob not null,
  leaf blob not null,
  time_ms integer not null,
  outcomes blob not null,
  primary key (tenant, number)
) strict;

-- Where each record is: its latest revision, whose log row holds it.
create table records (
  tenant blob not null,
  kind blob not null,
  id blob not null,
  domain blob not null,
  facet blob,
  since integer not null,
  revision integer not null,
  deleted integer not null,
  digest blob not null,
  open blob not null,
  primary key (tenant, kind, id)
) strict, without rowid;

-- Where each writer's stream stands.
create table writers (
  tenant blob not null,
  node blob not null,
  epoch integer not null,
  last_n integer not null,
  last_digest blob not null,
  confirmed_n integer not null,
  answered blob not null,
  closed integer not null,
  primary key (tenant, node, epoch)
) strict, without rowid;

-- Each cell's multiset hash.
create table cells (
  tenant blob not null,
  cell blob not null,
  state blob not null,
  primary key (tenant, cell)
) strict;

-- Revisions that pruning leaves.
create table held (
  tenant blob not null,
  revision integer not null,
  primary key (tenant, revision)
) strict, without rowid;

-- What is not log: registry, acknowledgements, leases, tokens.
create table plain (
  tenant blob not null,
  space integer not null,
  key blob not null,
  value blob not null,
  version integer not null,
  primary key (tenant, space, key)
) strict;
