-- Users who are suspended, and names of workspaces that are free at once.

-- A suspended user is not active, and no invitation activates the account.
alter table users
    add column suspended_at timestamptz,
    add check (suspended_at is null or not active);

-- A deletion of a running workspace takes as long as its stop. Its name is free from the start.
drop index workspaces_name;
create unique index workspaces_name on workspaces (tenant_id, owner_id, name)
    where deleted_at is null and desired_state <> 'deleted';
