-- The schema: every row belongs to a tenant, and Postgres itself keeps tenants apart.
--
-- Two roles beside the owner, entered with `set role`: `burrow_app` sees the rows of the tenant that the transaction names in
-- `app.tenant_id`, and without one none; `burrow_system` serves what must look across tenants (sign-in, scheduling, the
-- runners' reports), each table by a policy of its own. Neither owns a table, and row-level security is forced on all.

do $$
begin
    if not exists (select from pg_roles where rolname = 'burrow_app') then
        create role burrow_app nologin nosuperuser nobypassrls;
    end if;
exception when duplicate_object or unique_violation then null; -- roles are the cluster's: another database made it just now
end
$$;
do $$
begin
    if not exists (select from pg_roles where rolname = 'burrow_system') then
        create role burrow_system nologin nosuperuser nobypassrls;
    end if;
exception when duplicate_object or unique_violation then null;
end
$$;
do $$
begin
    execute format('grant burrow_app, burrow_system to %I', current_user);
exception when others then
    if not (pg_has_role(current_user, 'burrow_app', 'member') and pg_has_role(current_user, 'burrow_system', 'member')) then
        raise;
    end if;
end
$$;
do $$
begin
    execute format('grant usage on schema %I to burrow_app, burrow_system', current_schema());
end
$$;

-- What belongs to the installation as a whole: one row.
create table installation (
    one boolean primary key default true check (one),
    master_key_fingerprint text not null,
    sealed_signing_key bytea not null,
    created_at timestamptz not null default now()
);

create table tenants (
    tenant_id uuid primary key,
    name text not null check (length(name) between 1 and 200),
    wrapped_key bytea not null,
    created_at timestamptz not null default now()
);

create table users (
    tenant_id uuid not null references tenants,
    user_id uuid not null,
    email text not null check (length(email) between 3 and 254),
    name text not null check (length(name) between 1 and 200),
    role text not null check (role in ('member', 'teacher', 'owner')),
    -- Null: comes by links only, so far.
    password_hash text,
    -- False until an invitation is accepted: may not sign in.
    active boolean not null,
    created_at timestamptz not null default now(),
    primary key (tenant_id, user_id)
);
create unique index users_email on users (tenant_id, lower(email));
create index users_sign_in on users (lower(email)) where active;

-- Signed-in clients: browsers' cookies and personal access tokens. The secret is kept as a hash only.
create table sessions (
    tenant_id uuid not null,
    session_id uuid not null,
    user_id uuid not null,
    kind text not null check (kind in ('cookie', 'token')),
    secret_hash bytea not null unique check (length(secret_hash) = 32),
    name text not null default '',
    -- By a link rather than a password.
    by_link boolean not null default false,
    created_at timestamptz not null default now(),
    -- Slides with use, up to `ends_at`.
    expires_at timestamptz not null,
    ends_at timestamptz not null,
    last_used_at timestamptz,
    primary key (tenant_id, session_id),
    foreign key (tenant_id, user_id) references users on delete cascade
);
create index sessions_user on sessions (tenant_id, user_id);
create index sessions_id on sessions (session_id);

-- One-time links to sign in with.
create table sign_in_links (
    tenant_id uuid not null,
    secret_hash bytea not null unique check (length(secret_hash) = 32),
    user_id uuid not null,
    expires_at timestamptz not null,
    used_at timestamptz,
    primary key (tenant_id, secret_hash),
    foreign key (tenant_id, user_id) references users on delete cascade
);

-- Device logins (RFC 8628). They have no tenant until someone approves.
create table device_logins (
    secret_hash bytea primary key check (length(secret_hash) = 32),
    user_code text not null unique,
    client_name text not null,
    state text not null default 'pending' check (state in ('pending', 'approved', 'refused', 'used')),
    tenant_id uuid,
    user_id uuid,
    created_at timestamptz not null default now(),
    expires_at timestamptz not null,
    asked_at timestamptz,
    foreign key (tenant_id, user_id) references users on delete cascade
);

create table templates (
    tenant_id uuid not null references tenants,
    name text not null check (name ~ '^[a-z0-9-]{1,63}$'),
    title text not null,
    description text not null,
    image text not null,
    vcpus smallint not null check (vcpus between 1 and 255),
    memory_mib integer not null check (memory_mib > 0),
    home_mib integer not null check (home_mib > 0),
    scratch_mib integer not null check (scratch_mib > 0),
    pids integer not null check (pids > 0),
    primary key (tenant_id, name)
);

create table classes (
    tenant_id uuid not null,
    class_id uuid not null,
    name text not null,
    template text not null,
    teacher_id uuid not null,
    created_at timestamptz not null default now(),
    deleted_at timestamptz,
    primary key (tenant_id, class_id),
    foreign key (tenant_id, teacher_id) references users,
    foreign key (tenant_id, template) references templates
);
create unique index classes_name on classes (tenant_id, teacher_id, name) where deleted_at is null;

-- A home: the block device that outlives the machine. `head` is the newest committed snapshot.
create table volumes (
    tenant_id uuid not null references tenants,
    volume_id uuid not null,
    head bytea check (length(head) = 32),
    safe_at timestamptz,
    stored_bytes bigint,
    created_at timestamptz not null default now(),
    primary key (tenant_id, volume_id)
);

create table workspaces (
    tenant_id uuid not null,
    workspace_id uuid not null,
    owner_id uuid not null,
    name text not null,
    template text not null,
    image text not null,
    vcpus smallint not null,
    memory_mib integer not null,
    home_mib integer not null,
    scratch_mib integer not null,
    pids integer not null,
    class_id uuid,
    volume_id uuid not null,
    created_at timestamptz not null default now(),
    last_used_at timestamptz,
    revision bigint not null default 1,
    -- The machine's life; `controller::lifecycle` says what these mean together.
    phase text not null check (phase in ('queued', 'provisioning', 'running', 'stopping', 'persisting', 'terminated')),
    wanted text not null check (wanted in ('running', 'stopped', 'deleted')),
    epoch bigint not null default 0 check (epoch >= 0),
    deadline timestamptz,
    lease_until timestamptz,
    not_before timestamptz,
    attempts smallint not null default 0,
    steps jsonb not null default '[]',
    failure jsonb,
    front text,
    accelerator text,
    -- The engine that placed it: whoever starts anew under this name knows that its runners are gone.
    host text,
    -- What the runner of `epoch` proves itself with.
    runner_hash bytea check (length(runner_hash) = 32),
    queued_at timestamptz,
    queue_position integer,
    dirty_bytes bigint,
    deleted_at timestamptz,
    primary key (tenant_id, workspace_id),
    foreign key (tenant_id, owner_id) references users,
    foreign key (tenant_id, class_id) references classes,
    foreign key (tenant_id, volume_id) references volumes,
    -- A waiting phase has a deadline, a machine that serves has a lease.
    check ((phase = 'terminated') = (deadline is null and lease_until is null))
);
create unique index workspaces_name on workspaces (tenant_id, owner_id, name) where deleted_at is null;
create index workspaces_class on workspaces (tenant_id, class_id) where class_id is not null;
create index workspaces_id on workspaces (workspace_id);
create index workspaces_awake on workspaces (phase) where phase <> 'terminated' and deleted_at is null;

create table snapshots (
    tenant_id uuid not null,
    volume_id uuid not null,
    snapshot_id uuid not null,
    epoch bigint not null,
    manifest bytea not null check (length(manifest) = 32),
    changed_bytes bigint not null,
    uploaded_bytes bigint not null,
    stored_bytes bigint not null,
    objects bigint not null,
    created_at timestamptz not null default now(),
    primary key (tenant_id, snapshot_id),
    -- A snapshot counts once, however often it is reported.
    unique (tenant_id, volume_id, manifest),
    foreign key (tenant_id, volume_id) references volumes
);

create table members (
    tenant_id uuid not null,
    class_id uuid not null,
    member_id uuid not null,
    user_id uuid not null,
    workspace_id uuid,
    name text not null,
    email text not null,
    created_at timestamptz not null default now(),
    primary key (tenant_id, member_id),
    foreign key (tenant_id, class_id) references classes,
    foreign key (tenant_id, user_id) references users,
    foreign key (tenant_id, workspace_id) references workspaces
);
create unique index members_email on members (tenant_id, class_id, lower(email));
create index members_user on members (tenant_id, user_id);

create table invitations (
    tenant_id uuid not null,
    invitation_id uuid not null,
    member_id uuid not null,
    user_id uuid not null,
    secret_hash bytea not null unique check (length(secret_hash) = 32),
    created_at timestamptz not null default now(),
    expires_at timestamptz not null,
    used_at timestamptz,
    primary key (tenant_id, invitation_id),
    foreign key (tenant_id, member_id) references members on delete cascade,
    foreign key (tenant_id, user_id) references users on delete cascade
);
create index invitations_member on invitations (tenant_id, member_id);

-- The first answer to a request with the header `idempotency-key`.
create table idempotency (
    tenant_id uuid not null,
    user_id uuid not null,
    key text not null check (length(key) between 1 and 200),
    request_hash bytea not null check (length(request_hash) = 32),
    workspace_id uuid not null,
    created_at timestamptz not null default now(),
    primary key (tenant_id, user_id, key),
    foreign key (tenant_id, user_id) references users on delete cascade
);

-- Who did what; written with the deed, delivered later to whoever listens, never changed.
create table audit (
    tenant_id uuid not null references tenants,
    audit_id bigint generated always as identity,
    at timestamptz not null default now(),
    actor uuid,
    session_id uuid,
    request_id text,
    action text not null,
    subject text not null default '',
    detail jsonb not null default '{}',
    delivered_at timestamptz,
    primary key (tenant_id, audit_id)
);
create index audit_outbox on audit (audit_id) where delivered_at is null;

-- Tenants are kept apart.
do $$
declare
    named text;
begin
    foreach named in array array['tenants', 'users', 'sessions', 'sign_in_links', 'templates', 'classes', 'volumes',
                                 'workspaces', 'snapshots', 'members', 'invitations', 'idempotency', 'audit'] loop
        execute format('alter table %I enable row level security', named);
        execute format('alter table %I force row level security', named);
        execute format(
            'create policy tenant on %I to burrow_app'
            ' using (tenant_id = nullif(current_setting(''app.tenant_id'', true), '''')::uuid)'
            ' with check (tenant_id = nullif(current_setting(''app.tenant_id'', true), '''')::uuid)', named);
        execute format('create policy system on %I to burrow_system using (true) with check (true)', named);
    end loop;
    foreach named in array array['installation', 'device_logins'] loop
        execute format('alter table %I enable row level security', named);
        execute format('alter table %I force row level security', named);
        execute format('create policy system on %I to burrow_system using (true) with check (true)', named);
    end loop;
end
$$;

grant select on tenants, templates to burrow_app;
grant select, insert, update on users, classes, volumes, workspaces to burrow_app;
grant select, insert, update, delete on sessions, members, invitations, idempotency to burrow_app;
grant select on snapshots to burrow_app;
grant insert on audit to burrow_app;
grant usage on sequence audit_audit_id_seq to burrow_app, burrow_system;

grant select, insert, update on installation, tenants, users, volumes, workspaces, templates to burrow_system;
grant select, insert, update, delete on sessions, sign_in_links, device_logins, invitations, idempotency to burrow_system;
grant select on classes, members to burrow_system;
grant select, insert on snapshots to burrow_system;
grant select, insert, update on audit to burrow_system;

-- Every change of a workspace wakes those who show it and those who act on it:
-- tenant, workspace, owner, the class's teacher or nothing.
create function announce_workspace() returns trigger language plpgsql as $$
declare
    teacher uuid;
begin
    if new.class_id is not null then
        select teacher_id into teacher from classes where tenant_id = new.tenant_id and class_id = new.class_id;
    end if;
    perform pg_notify('burrow_workspaces',
        concat_ws(' ', new.tenant_id, new.workspace_id, new.owner_id, teacher));
    return null;
end
$$;
-- A revision grows with each change that is worth telling; that a runner still lives is not.
create function grow_revision() returns trigger language plpgsql as $$
begin
    new.revision := old.revision + 1;
    return new;
end
$$;
create trigger grow before update on workspaces for each row
    when ((to_jsonb(old) - 'lease_until') is distinct from (to_jsonb(new) - 'lease_until'))
    execute function grow_revision();
create trigger announce_new after insert on workspaces for each row execute function announce_workspace();
create trigger announce_change after update on workspaces for each row
    when (old.revision is distinct from new.revision) execute function announce_workspace();
