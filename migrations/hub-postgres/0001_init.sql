-- The hub's tables on PostgreSQL. Names are UTF-8 bytes in bytea, so that they compare as bytes and may hold
-- U+0000; numbers and times (milliseconds since 1970-01-01 UTC) are bigint. Every key leads with the tenant. The
-- same tables and columns as on SQLite.

-- Where each tenant's log ends. Every append moves a row: room on the page keeps the updates there.
create table heads (
  tenant bytea not null primary key,
  log_id bytea not null,
  commit_number bigint not null,
  revision bigint not null,
  chain bytea not null,
  horizon bigint not null,
  time_ms bigint not null
) with (fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- One row for each revision. A body stands once: in the mutation where that has it, else in the record.
create table log (
  tenant bytea not null,
  revision bigint not null,
  previous bigint not null,
  commit_number bigint not null,
  kind bytea not null,
  id bytea not null,
  domain bytea not null,
  facet bytea,
  departed_domain bytea,
  departed_kind bytea,
  departed_facet bytea,
  departed_since bigint,
  node bytea not null,
  epoch bigint not null,
  n bigint not null,
  outcome bigint not null,
  rule_version bigint not null,
  weight bigint not null,
  body_in_mutation bigint not null,
  mutation bytea,
  record bytea not null,
  primary key (tenant, revision)
);

-- One row for each commit down to the horizon, with what became of the dots it consumed.
create table commits (
  tenant bytea not null,
  number bigint not null,
  first_revision bigint not null,
  last_revision bigint not null,
  chain bytea not null,
  leaf bytea not null,
  time_ms bigint not null,
  outcomes bytea not null,
  primary key (tenant, number)
);

-- Where each record is: its latest revision, whose log row holds it. The revision has no index, and pages keep
-- room, so that an update touches no index.
create table records (
  tenant bytea not null,
  kind bytea not null,
  id bytea not null,
  domain bytea not null,
  facet bytea,
  since bigint not null,
  revision bigint not null,
  deleted bigint not null,
  digest bytea not null,
  open bytea not null,
  primary key (tenant, kind, id)
) with (fillfactor = 70);

-- Where each writer's stream stands.
create table writers (
  tenant bytea not null,
  node bytea not null,
  epoch bigint not null,
  last_n bigint not null,
  last_digest bytea not null,
  confirmed_n bigint not null,
  answered bytea not null,
  closed bigint not null,
  primary key (tenant, node, epoch)
) with (fillfactor = 50);

-- Each cell's multiset hash: 2 KiB of noise, written by nearly every commit, so kept in the row as it is.
create table cells (
  tenant bytea not null,
  cell bytea not null,
  state bytea not null,
  primary key (tenant, cell)
) with (fillfactor = 50);
alter table cells alter column state set storage plain;

-- Revisions that pruning leaves.
create table held (
  tenant bytea not null,
  revision bigint not null,
  primary key (tenant, revision)
);

-- What is not log: registry, acknowledgements, leases, tokens.
create table plain (
  tenant bytea not null,
  space bigint not null,
  key bytea not null,
  value bytea not null,
  version bigint not null,
  primary key (tenant, space, key)
);
