-- What came and is not shown before a cut lies as the confirmed layer does, so that the one table can take the other's place. An
-- empty record is a departure; it has an empty digest. What the table staging holds is read by nobody any more.
create table arrived (
    key blob primary key not null,
    revision bigint not null,
    digest blob not null,
    record blob not null
);
