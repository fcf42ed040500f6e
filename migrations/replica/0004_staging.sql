-- What is staged lies as the confirmed layer does, so that the one can take the other's place. A catch-up that was under way
-- begins again.
drop table staging;
delete from meta where name = 'resume';

-- What came and is not shown before a cut. An empty record is a departure; it has an empty digest.
create table staging (
    key blob primary key not null,
    revision bigint not null,
    digest blob not null,
    record blob not null
);
