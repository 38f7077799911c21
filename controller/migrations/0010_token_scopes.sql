-- What a token may do, when a session last proved the password, and what a session has created.

-- Tokens from before there were scopes keep what programs use them for. Browsers have no limit of their own.
alter table sessions
    add column scope text not null default 'admin' check (scope in ('read', 'workspaces', 'admin')),
    add column confirmed_at timestamptz,
    add column created_by uuid;
alter table sessions alter column scope drop default;
create index sessions_created_by on sessions (created_by) where created_by is not null;

-- The session of the user who created the link; null: the server's operator.
alter table sign_in_links add column created_by uuid;
-- A token that is revoked takes its links with it.
grant select, delete on sign_in_links to burrow_app;

-- A program asks for a scope; the session that approves is remembered.
alter table device_logins
    add column scope text not null default 'workspaces' check (scope in ('read', 'workspaces', 'admin')),
    add column approved_by uuid;
alter table device_logins alter column scope drop default;

-- The key of a tenant is destroyed a while after it was requested, unless the request is undone.
alter table tenants add column destroy_key_at timestamptz;
create index tenants_destroy_key on tenants (destroy_key_at) where key_destroyed_at is null;
grant update (destroy_key_at) on tenants to burrow_app;
