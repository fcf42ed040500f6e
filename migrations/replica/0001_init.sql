-- The replica's tables. Keys are blobs (kind, a zero byte, id), so that their order is the order of the bytes.

create table meta (
    name text primary key not null,
    value blob not null
);

-- Exactly the hub's state at the cursor, tombstones included.
create table confirmed (
    key blob primary key not null,
    revision bigint not null,
    digest blob not null,
    record blob not null
);

-- What is shown of records with local mutations.
create table pending (
    key blob primary key not null,
    record blob not null
);

-- Local mutations on their way. state: 0 queued, 1 dotted, 2 answered, 3 set aside.
create table outbox (
    id blob primary key not null,
    place bigint not null,
    key blob not null,
    after blob,
    group_id blob,
    group_index bigint,
    state bigint not null,
    n bigint not null,
    revision bigint,
    bytes bigint not null,
    entry blob not null
);
create index outbox_place on outbox (place);
create index outbox_key on outbox (key, place);
create index outbox_after on outbox (after, place) where after is not null;
create index outbox_group on outbox (group_id, group_index) where group_id is not null;
create index outbox_queued on outbox (place) where state = 0;
create index outbox_dotted on outbox (n) where state = 1;
create index outbox_answered on outbox (revision, id) where state = 2;

-- The sums over the outbox, kept with it.
create table outbox_totals (
    one bigint primary key not null check (one = 1),
    entries bigint not null,
    bytes bigint not null,
    queued bigint not null,
    dotted bigint not null,
    answered bigint not null,
    set_aside bigint not null
);
insert into outbox_totals values (1, 0, 0, 0, 0, 0, 0);

-- What came and is not shown before a cut. An empty record is a departure.
create table staging (
    key blob primary key not null,
    revision bigint not null,
    is_change bigint not null,
    record blob not null
);

-- Digest state of each cell of the confirmed layer.
create table cells (
    cell blob primary key not null,
    state blob not null
);

-- Which records changed in what is shown, in order; the last ones only.
create table changes (
    position integer primary key autoincrement,
    key blob not null
);
