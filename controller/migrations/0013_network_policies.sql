-- Where workspaces may connect. The tenant's policy holds for all of its workspaces; the template's, or what an owner or teacher
-- has granted a workspace instead, comes on top of it, and then what the workspace's own owner has chosen. All of them hold
-- together, so that none widens another.
alter table tenants add column network_policy jsonb not null default '{"mode": "open"}';
alter table templates add column network_policy jsonb not null default '{"mode": "open"}';
alter table workspaces
    add column network_grant jsonb,
    add column network_choice jsonb,
    -- Grows with each change of one of these policies: the runner enforces the newest.
    add column network_revision bigint not null default 1 check (network_revision > 0),
    -- What the present or last runner has reported.
    add column network_refused jsonb not null default '[]',
    add column network_sent_bytes bigint check (network_sent_bytes >= 0),
    add column network_received_bytes bigint check (network_received_bytes >= 0);

grant update (network_policy) on tenants to burrow_app;
grant update (network_policy) on templates to burrow_app;
