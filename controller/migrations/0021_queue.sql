-- The queue of starts. A waiting start is a state of its workspace; what decides about it is in these columns.
alter table tenants add column queue_weight integer not null default 1 check (queue_weight between 1 and 100);
alter table workspaces
    add column start_priority text not null default 'interactive'
        check (start_priority in ('interactive', 'class', 'batch')),
    -- The host whose next room it gets, whatever comes after it.
    add column reserved_by text,
    add column estimated_start_at timestamptz,
    -- A budget holds it back: it has no place in the queue.
    add column is_held boolean not null default false;

-- Placements, from the first to the last moment of a runner. A row is written with the placement, and its end once
-- with the end of the placement, in the same transaction: nothing is lost or counted twice.
create table runs (
    tenant_id uuid not null references tenants,
    workspace_id uuid not null,
    epoch bigint not null,
    user_id uuid not null,
    class_id uuid,
    host text not null,
    vcpus smallint not null,
    memory_mib integer not null,
    queued_at timestamptz not null,
    placed_at timestamptz not null,
    ended_at timestamptz,
    primary key (tenant_id, workspace_id, epoch)
);
create index runs_open on runs (host) where ended_at is null;
create index runs_ended on runs (host, ended_at) where ended_at is not null;
create index runs_time on runs (tenant_id, placed_at);

alter table runs enable row level security;
alter table runs force row level security;
create policy tenant on runs for select to burrow_app
    using (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid);
create policy "end" on runs for update to burrow_app
    using (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid and ended_at is null)
    with check (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid);
create policy system_select on runs for select to burrow_system using (true);
create policy system_add on runs for insert to burrow_system with check (ended_at is null);
create policy system_end on runs for update to burrow_system using (ended_at is null) with check (true);
create policy system_remove on runs for delete to burrow_system using (ended_at is not null);
grant select, update (ended_at) on runs to burrow_app;
grant select, insert, delete, update (ended_at) on runs to burrow_system;
