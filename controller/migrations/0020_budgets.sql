-- Budgets that differ from the defaults: of a tenant, a class or a user. What is used is not stored: it is counted
-- from the rows of workspaces, starts and snapshots under the lock that a decision takes.
create table budgets (
    tenant_id uuid not null references tenants,
    -- Neither: the budget of the tenant.
    class_id uuid,
    user_id uuid,
    resource text not null check
        (resource in ('running', 'vcpus', 'memory', 'scratch', 'starts', 'workspaces', 'homes', 'history')),
    -- Null: no limit.
    max_amount bigint check (max_amount >= 0),
    check (num_nonnulls(class_id, user_id) <= 1),
    foreign key (tenant_id, class_id) references classes on delete cascade,
    foreign key (tenant_id, user_id) references users on delete cascade
);
create unique index budgets_subject on budgets (tenant_id, coalesce(class_id, user_id, tenant_id), resource);

-- Starts that were admitted, to limit how many there are in a minute. Kept for an hour.
create table starts (
    tenant_id uuid not null references tenants,
    start_id bigint not null generated always as identity,
    workspace_id uuid not null,
    user_id uuid not null,
    class_id uuid,
    started_at timestamptz not null,
    primary key (tenant_id, start_id)
);
create index starts_at on starts (tenant_id, started_at);
create index starts_age on starts (started_at);
create index workspaces_desired on workspaces (tenant_id) where desired_state = 'running' and deleted_at is null;

do $$
declare
    named text;
begin
    foreach named in array array['budgets', 'starts'] loop
        execute format('alter table %I enable row level security', named);
        execute format('alter table %I force row level security', named);
        execute format('create policy system on %I to burrow_system using (true) with check (true)', named);
        execute format(
            'create policy tenant on %I for select to burrow_app'
            ' using (tenant_id = nullif(current_setting(''app.tenant_id'', true), '''')::uuid)', named);
    end loop;
end
$$;
-- A tenant cannot change its own budget, whatever the API does: only those of its classes and users.
create policy add on budgets for insert to burrow_app
    with check (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid
        and num_nonnulls(class_id, user_id) = 1);
create policy remove on budgets for delete to burrow_app
    using (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid
        and num_nonnulls(class_id, user_id) = 1);
create policy add on starts for insert to burrow_app
    with check (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid);

grant select, insert, delete on budgets to burrow_app, burrow_system;
grant select, insert on starts to burrow_app;
grant select, delete on starts to burrow_system;
