-- Mutations that took effect and that no backup of the hub holds yet, by the revision they got.
create table kept (
    revision bigint primary key not null,
    acknowledged_ms bigint not null,
    id blob not null,
    entry blob not null
);

-- Records as they were confirmed in a log that went on from a backup, at revisions which that backup does not hold.
create table remnants (
    key blob primary key not null,
    revision bigint not null,
    digest blob not null,
    record blob not null
);
