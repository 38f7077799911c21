-- Who may see the previews of a workspace's ports. A port without a row is private.
create table workspace_ports (
    tenant_id uuid not null,
    workspace_id uuid not null,
    port integer not null check (port between 1 and 65535),
    visibility text not null check (visibility in ('private', 'members', 'public')),
    -- A public port is private again from then on.
    public_until timestamptz,
    label text not null default '',
    primary key (tenant_id, workspace_id, port),
    foreign key (tenant_id, workspace_id) references workspaces on delete cascade,
    check ((visibility = 'public') = (public_until is not null))
);

-- Tickets, which are exchanged once at the origin of a preview, and what they were exchanged for. Both end with the
-- session that they were made in. Only hashes are kept.
create table preview_secrets (
    tenant_id uuid not null,
    secret_hash bytea not null unique check (length(secret_hash) = 32),
    kind text not null check (kind in ('ticket', 'cookie')),
    session_id uuid not null,
    workspace_id uuid not null,
    port integer not null check (port between 1 and 65535),
    -- A ticket is void once the port has another visibility.
    visibility text not null check (visibility in ('private', 'members', 'public')),
    created_at timestamptz not null,
    expires_at timestamptz not null,
    primary key (tenant_id, secret_hash),
    foreign key (tenant_id, session_id) references sessions on delete cascade,
    foreign key (tenant_id, workspace_id) references workspaces on delete cascade
);
create index preview_secrets_session on preview_secrets (tenant_id, session_id, created_at);
create index preview_secrets_expiry on preview_secrets (expires_at);

do $$
declare
    named text;
begin
    foreach named in array array['workspace_ports', 'preview_secrets'] loop
        execute format('alter table %I enable row level security', named);
        execute format('alter table %I force row level security', named);
        execute format(
            'create policy tenant on %I to burrow_app'
            ' using (tenant_id = nullif(current_setting(''app.tenant_id'', true), '''')::uuid)'
            ' with check (tenant_id = nullif(current_setting(''app.tenant_id'', true), '''')::uuid)', named);
        execute format('create policy system on %I to burrow_system using (true) with check (true)', named);
    end loop;
end
$$;

grant select, insert, update, delete on workspace_ports to burrow_app;
grant select, insert, delete on preview_secrets to burrow_app;
grant select, delete on workspace_ports to burrow_system;
grant select, insert, update, delete on preview_secrets to burrow_system;
