-- Names that follow docs/glossary.md. No data changes its meaning.
--
-- Row-level security is forced on the owner too: rows are changed as `burrow_system`.

-- What the owner last asked for, and the numbered requests to the runner.
alter table workspaces rename column wanted to desired_state;
alter table workspaces rename constraint workspaces_wanted_check to workspaces_desired_state_check;
alter table workspaces rename column snapshot_wanted to snapshot_requested;
alter table workspaces rename constraint workspaces_snapshot_wanted_check to workspaces_snapshot_requested_check;
alter table workspaces rename column repair_wanted to repair_requested;
alter table workspaces rename constraint workspaces_repair_wanted_check to workspaces_repair_requested_check;

-- A snapshot that a user asked for is of the kind `requested`.
alter table snapshots drop constraint snapshots_kind_check;
set local role burrow_system;
update snapshots set kind = 'requested' where kind = 'asked';
reset role;
alter table snapshots add constraint snapshots_kind_check check (kind in ('stream', 'stop', 'requested'));

-- Snapshots are pruned, a tenant's key is destroyed, a sign-in is denied and polled for.
alter table volumes rename column thinned_at to pruned_at;
alter index volumes_thinned rename to volumes_pruned;
alter table tenants rename column forgotten_at to key_destroyed_at;
alter table installation rename column one to singleton;
alter table device_logins rename column asked_at to polled_at;
alter table device_logins drop constraint device_logins_state_check;
set local role burrow_system;
update device_logins set state = 'denied' where state = 'refused';
reset role;
alter table device_logins
    add constraint device_logins_state_check check (state in ('pending', 'approved', 'denied', 'used'));

-- The step that starts the sandbox was called `machine`.
set local role burrow_system;
update workspaces set
    steps = (select coalesce(jsonb_agg(
                 case when step ->> 'step' = 'machine' then jsonb_set(step, '{step}', '"sandbox"') else step end
                 order by position), '[]')
             from jsonb_array_elements(steps) with ordinality as listed(step, position)),
    failure = case when failure ->> 'step' = 'machine' then jsonb_set(failure, '{step}', '"sandbox"') else failure end
where steps @> '[{"step": "machine"}]' or failure ->> 'step' = 'machine';
reset role;
