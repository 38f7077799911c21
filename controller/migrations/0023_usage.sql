-- What was used: one row for each day, workspace, owner and class. Rows have no reference to users, classes or
-- workspaces, so they stay when those are deleted.

-- What of a placement's counters is in the rows of days. A runner reports sums since its start, so a report that
-- comes twice adds nothing.
alter table runs
    add column counted_ms bigint not null default 0 check (counted_ms >= 0),
    add column counted_sent_bytes bigint not null default 0 check (counted_sent_bytes >= 0),
    add column counted_received_bytes bigint not null default 0 check (counted_received_bytes >= 0);
grant update (counted_ms, counted_sent_bytes, counted_received_bytes) on runs to burrow_system;
create index runs_age on runs (ended_at) where ended_at is not null;

create table usage_days (
    tenant_id uuid not null references tenants,
    -- In UTC.
    day date not null,
    workspace_id uuid not null,
    user_id uuid not null,
    class_id uuid,
    machine_ms bigint not null default 0 check (machine_ms >= 0),
    -- Time of machines, times their virtual CPUs.
    vcpu_ms bigint not null default 0 check (vcpu_ms >= 0),
    sent_bytes bigint not null default 0 check (sent_bytes >= 0),
    received_bytes bigint not null default 0 check (received_bytes >= 0),
    -- Sizes of homes, and what they take in the object store, added up at each full hour.
    home_byte_hours bigint not null default 0 check (home_byte_hours >= 0),
    stored_byte_hours bigint not null default 0 check (stored_byte_hours >= 0),
    -- One bit for each hour of the day that was added: none is added twice, even if a clock goes back.
    hours integer not null default 0 check (hours between 0 and 16777215)
);
create unique index usage_days_key
    on usage_days (tenant_id, day, workspace_id, user_id, coalesce(class_id, tenant_id));
create index usage_days_user on usage_days (tenant_id, user_id, day);
create index usage_days_age on usage_days (day);

-- The last full hour for which homes were added.
create table usage_hours (
    is_only_row boolean primary key default true check (is_only_row),
    counted_until timestamptz not null
);
insert into usage_hours (counted_until) values (date_trunc('hour', now(), 'UTC'));

-- Usage only grows, and goes when it is too old.
create function protect_usage() returns trigger language plpgsql as $$
begin
    if (new.tenant_id, new.day, new.workspace_id, new.user_id) is distinct from
            (old.tenant_id, old.day, old.workspace_id, old.user_id)
        or new.class_id is distinct from old.class_id
        or new.machine_ms < old.machine_ms or new.vcpu_ms < old.vcpu_ms
        or new.sent_bytes < old.sent_bytes or new.received_bytes < old.received_bytes
        or new.home_byte_hours < old.home_byte_hours or new.stored_byte_hours < old.stored_byte_hours
        or new.hours & old.hours <> old.hours then
        raise exception 'usage cannot become less';
    end if;
    return new;
end
$$;
create trigger protect before update on usage_days for each row execute function protect_usage();

do $$
declare
    named text;
begin
    foreach named in array array['usage_days', 'usage_hours'] loop
        execute format('alter table %I enable row level security', named);
        execute format('alter table %I force row level security', named);
    end loop;
end
$$;
create policy tenant on usage_days for select to burrow_app
    using (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid);
create policy system_select on usage_days for select to burrow_system using (true);
create policy system_add on usage_days for insert to burrow_system with check (true);
create policy system_grow on usage_days for update to burrow_system using (true) with check (true);
create policy system_remove on usage_days for delete to burrow_system using (day < current_date - 401);
create policy system on usage_hours to burrow_system using (true) with check (true);
grant select on usage_days to burrow_app;
grant select, insert, update, delete on usage_days to burrow_system;
grant select, update on usage_hours to burrow_system;

-- The bytes that workspaces send in a month have a budget.
alter table budgets drop constraint budgets_resource_check;
alter table budgets add constraint budgets_resource_check check
    (resource in ('running', 'vcpus', 'memory', 'scratch', 'starts', 'workspaces', 'homes', 'history', 'egress'));
