-- Homes that are not lost: snapshots while the machine runs, their names and how they thin out, restores, forks, and what the
-- store holds for nothing.

-- `created_at` is the instant that a snapshot holds; no two of a volume hold the same.
alter table snapshots
    add column name text check (octet_length(name) between 1 and 100),
    add column kind text not null default 'stop' check (kind in ('stream', 'stop', 'asked')),
    add column consistency text not null default 'clean' check (consistency in ('crash', 'clean')),
    -- The volume that made the manifest, where it is another: the base of a fork.
    add column made_by uuid,
    add foreign key (tenant_id, made_by) references volumes;
alter table snapshots
    alter column kind drop default,
    alter column consistency drop default;
create index snapshots_instant on snapshots (tenant_id, volume_id, created_at desc);

alter table volumes
    -- The volume that made the head, where it is another.
    add column head_of uuid,
    -- How often the home was put back to an earlier snapshot: what hosts have cached from before does not count.
    add column lineage bigint not null default 0 check (lineage >= 0),
    -- When its snapshots were last thinned out.
    add column thinned_at timestamptz,
    add foreign key (tenant_id, head_of) references volumes;
create index volumes_thinned on volumes (thinned_at nulls first) where head is not null;

alter table workspaces
    -- Requests for a snapshot are numbered; the highest one asked, the highest one answered, and by what.
    add column snapshot_wanted bigint not null default 0 check (snapshot_wanted >= 0),
    add column snapshot_answered bigint not null default 0 check (snapshot_answered >= 0),
    add column snapshot_answer uuid,
    -- What the machine last told of its home. What was written before `home_safe_at` is in the store.
    add column unreplicated_ms bigint check (unreplicated_ms >= 0),
    add column home_safe_at timestamptz,
    add column home_used_bytes bigint check (home_used_bytes >= 0),
    add column home_notice text check (home_notice in ('store_unavailable', 'throttled', 'host_disk_full')),
    add column forked_from uuid,
    add column forked_at timestamptz,
    add foreign key (tenant_id, forked_from) references workspaces,
    add check ((forked_from is null) = (forked_at is null));

alter table tenants
    -- Null: destroyed, and with it all that was encrypted under it.
    alter column wrapped_key drop not null,
    add column forgotten_at timestamptz,
    -- As `protocol::api::snapshot::Retention`, whose defaults these are.
    add column retention_all_hours integer not null default 1,
    add column retention_minutely_hours integer not null default 24,
    add column retention_hourly_hours integer not null default 720,
    add column retention_daily_hours integer not null default 8760,
    add check ((wrapped_key is null) = (forgotten_at is not null)),
    add check (retention_all_hours >= 1 and retention_minutely_hours >= retention_all_hours
        and retention_hourly_hours >= retention_minutely_hours and retention_daily_hours >= retention_hourly_hours);

-- Objects that no snapshot needs, since when. What is still here and still not needed a grace period later is deleted.
create table garbage (
    tenant_id uuid not null references tenants,
    -- In the order in which stores list.
    name text collate "C" not null,
    first_seen timestamptz not null,
    bytes bigint not null,
    primary key (tenant_id, name)
);
alter table garbage enable row level security;
alter table garbage force row level security;
create policy tenant on garbage to burrow_app
    using (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid)
    with check (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid);
create policy system on garbage to burrow_system using (true) with check (true);

grant select, insert, update, delete on snapshots to burrow_app, burrow_system;
grant update (retention_all_hours, retention_minutely_hours, retention_hourly_hours, retention_daily_hours)
    on tenants to burrow_app;
grant select on garbage to burrow_app;
grant select, insert, delete on garbage to burrow_system;

-- What people see of a home changes in kind: something is not safe yet or all is, it fills up, or is full.
create function home_mark(unreplicated_ms bigint, used_bytes bigint, home_mib integer) returns integer
language sql immutable as $$
    select (case when unreplicated_ms > 0 then 1 else 0 end)
        + (case when used_bytes / 1048576.0 >= home_mib * 0.95 then 4
                when used_bytes / 1048576.0 >= home_mib * 0.80 then 2 else 0 end)
$$;
-- A revision grows with each change that is worth telling: that a runner still lives, and how much is unsafe, is not.
drop trigger grow on workspaces;
create trigger grow before update on workspaces for each row
    when ((to_jsonb(old) - array['lease_until', 'dirty_bytes', 'unreplicated_ms', 'home_safe_at', 'home_used_bytes'])
            is distinct from
          (to_jsonb(new) - array['lease_until', 'dirty_bytes', 'unreplicated_ms', 'home_safe_at', 'home_used_bytes'])
        or home_mark(old.unreplicated_ms, old.home_used_bytes, old.home_mib)
            <> home_mark(new.unreplicated_ms, new.home_used_bytes, new.home_mib))
    execute function grow_revision();
