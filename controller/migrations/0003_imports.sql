-- Homes that are on their way from another installation.

create table imports (
    tenant_id uuid not null,
    import_id uuid not null,
    owner_id uuid not null,
    -- The workspace that it comes from, as it is called there: identifiers are nowhere the same.
    source uuid not null,
    name text not null,
    template text not null,
    home_mib integer not null check (home_mib > 0),
    replace boolean not null,
    -- What has arrived is its head: a home that no machine uses yet.
    volume_id uuid not null,
    -- How often something has arrived, and what came last: it may come twice.
    version bigint not null default 0 check (version >= 0),
    last_hash bytea check (length(last_hash) = 32),
    created_at timestamptz not null default now(),
    expires_at timestamptz not null,
    primary key (tenant_id, import_id),
    foreign key (tenant_id, owner_id) references users,
    foreign key (tenant_id, template) references templates,
    foreign key (tenant_id, volume_id) references volumes
);
create unique index imports_home on imports (tenant_id, owner_id, source, name);
create index imports_expired on imports (expires_at);

alter table imports enable row level security;
alter table imports force row level security;
create policy tenant on imports to burrow_app
    using (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid)
    with check (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid);
create policy system on imports to burrow_system using (true) with check (true);
grant select, insert, update, delete on imports to burrow_app;
grant select, delete on imports to burrow_system;

-- The workspace of another installation whose home came to be this one's: only that one may come again unasked.
alter table workspaces add column imported_from uuid;
