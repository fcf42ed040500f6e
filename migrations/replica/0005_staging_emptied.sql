-- What a catch-up of an older version had staged, and where it stood, is read by nobody any more: it only takes room. A
-- catch-up of this version stands under another name.
delete from staging;
delete from meta where name = 'resume';
