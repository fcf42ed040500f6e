-- The horizon after each commit, so that its leaf can be computed from what is stored. 0 in commits from before this.
alter table commits add column horizon integer not null default 0;
