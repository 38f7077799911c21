-- Repairs of homes whose objects are damaged in the store: numbered as requests for a snapshot are, the highest one asked with
-- what is damaged, the highest one answered with what it came to.
alter table workspaces
    add column repair_wanted bigint not null default 0 check (repair_wanted >= 0),
    add column repair_objects text[] not null default '{}',
    add column repair_answered bigint not null default 0 check (repair_answered >= 0),
    add column repair_answer jsonb;
