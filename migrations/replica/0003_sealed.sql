-- From here on what is stored in meta, pending, outbox, kept and staging begins with a sum over itself. What is there
-- already has none until it is written again. A position in a catch-up is opaque and could look like a sum: it is
-- forgotten, and the catch-up starts anew.
delete from staging;
delete from meta where name = 'resume';
