-- How much of the allowance of a home for automatic snapshots is used up, at a time. It falls with time. In the
-- database, because a restart of the runner must not give the home a new allowance.
alter table volumes
    add column allowance_used_bytes bigint not null default 0 check (allowance_used_bytes >= 0),
    add column allowance_used_at timestamptz not null default now();
