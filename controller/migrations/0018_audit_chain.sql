-- The audit log is a chain: each entry of a tenant has a number and the hash of the entry before it. Entries are only
-- added. Retention removes the oldest and leaves a checkpoint. `protocol::audit` computes the same hashes.

-- The newest number and hash of each tenant. Locking the row puts writers in an order.
create table audit_heads (
    tenant_id uuid primary key references tenants,
    seq bigint not null default 0 check (seq >= 0),
    hash bytea not null default decode(repeat('00', 32), 'hex') check (length(hash) = 32),
    -- Up to here entries were removed, and the hash of the last of them.
    pruned_seq bigint not null default 0 check (pruned_seq between 0 and seq),
    pruned_hash bytea not null default decode(repeat('00', 32), 'hex') check (length(pruned_hash) = 32),
    -- The newest entry whose hash is in the object store.
    anchored_seq bigint not null default 0 check (anchored_seq between 0 and seq)
);

alter table tenants add column audit_days integer not null default 365 check (audit_days between 30 and 3650);

alter table users drop constraint users_role_check;
alter table users add constraint users_role_check check (role in ('member', 'auditor', 'teacher', 'owner'));

alter table audit
    add column seq bigint,
    add column address text,
    add column outcome text not null default 'allowed' check (outcome in ('allowed', 'refused')),
    add column previous bytea check (length(previous) = 32),
    add column hash bytea check (length(hash) = 32);
drop index audit_outbox;
alter table audit drop column delivered_at;

create function audit_field(value text) returns text language sql immutable parallel safe as $$
    select coalesce(octet_length(convert_to(value, 'UTF8')) || ':' || value, '-')
$$;

-- The hash of an entry: of the hash before it and of all its fields, each with its length.
create function audit_hash(entry audit) returns bytea language sql stable parallel safe
set search_path from current as $$
    select sha256(entry.previous || convert_to(
        'burrow-audit-1'
        || audit_field(entry.tenant_id::text)
        || audit_field(entry.seq::text)
        || audit_field((extract(epoch from entry.at) * 1000000)::bigint::text)
        || audit_field(entry.actor::text)
        || audit_field(entry.session_id::text)
        || audit_field(entry.request_id)
        || audit_field(entry.address)
        || audit_field(entry.action)
        || audit_field(entry.subject)
        || audit_field(entry.outcome)
        || audit_field(entry.detail::text), 'UTF8'))
$$;

-- Entries of older versions become the beginning of the chain.
do $$
declare
    entry audit;
    head audit_heads;
begin
    insert into audit_heads (tenant_id) select tenant_id from tenants;
    for head in select * from audit_heads loop
        for entry in select * from audit where tenant_id = head.tenant_id order by audit_id loop
            entry.seq := head.seq + 1;
            entry.previous := head.hash;
            head.seq := entry.seq;
            head.hash := audit_hash(entry);
            update audit set seq = entry.seq, previous = entry.previous, hash = head.hash
                where tenant_id = entry.tenant_id and audit_id = entry.audit_id;
        end loop;
        update audit_heads set seq = head.seq, hash = head.hash where tenant_id = head.tenant_id;
    end loop;
end
$$;

alter table audit drop constraint audit_pkey;
alter table audit drop column audit_id;
alter table audit
    alter column seq set not null,
    alter column previous set not null,
    alter column hash set not null,
    add primary key (tenant_id, seq);
create index audit_at on audit (tenant_id, at);
create index audit_actor on audit (tenant_id, actor, seq);
create index audit_action on audit (tenant_id, action text_pattern_ops, seq);
create index audit_subject on audit (tenant_id, subject, seq);

-- Refused attempts that are counted, because there are too many to write an entry for each.
create table audit_refusals (
    tenant_id uuid not null references tenants,
    window_start timestamptz not null,
    -- The action, and who or what it was tried by or on.
    key text not null,
    actor uuid,
    action text not null,
    subject text not null,
    attempts bigint not null,
    addresses text[] not null,
    last_at timestamptz not null,
    primary key (tenant_id, window_start, key)
);
create index audit_refusals_window on audit_refusals (window_start);

-- Tenants are kept apart. The owner of the schema, whose functions write heads, may see all.
do $$
declare
    named text;
begin
    foreach named in array array['audit_heads', 'audit_refusals'] loop
        execute format('alter table %I enable row level security', named);
        execute format('alter table %I force row level security', named);
        execute format('create policy system on %I to burrow_system using (true) with check (true)', named);
    end loop;
    foreach named in array array['audit', 'audit_heads'] loop
        execute format('create policy owner on %I to %I using (true) with check (true)', named, current_user);
    end loop;
    create policy tenant on audit_heads to burrow_app
        using (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid);
end
$$;
grant select on audit to burrow_app;
grant select on audit_heads to burrow_app, burrow_system;
grant update (audit_days) on tenants to burrow_app;
grant select, insert, update, delete on audit_refusals to burrow_system;
revoke update on audit from burrow_system;

-- Gives a new entry its number, its time and its hash. The head stays locked until the transaction ends.
create function chain_audit() returns trigger language plpgsql security definer
set search_path from current as $$
declare
    head audit_heads;
begin
    select * into head from audit_heads where tenant_id = new.tenant_id for update;
    if not found then
        insert into audit_heads (tenant_id) values (new.tenant_id) on conflict do nothing;
        select * into head from audit_heads where tenant_id = new.tenant_id for update;
    end if;
    new.seq := head.seq + 1;
    new.at := clock_timestamp();
    new.previous := head.hash;
    new.hash := audit_hash(new);
    update audit_heads set seq = new.seq, hash = new.hash where tenant_id = new.tenant_id;
    return new;
end
$$;
create trigger chain before insert on audit for each row execute function chain_audit();

create function protect_audit() returns trigger language plpgsql security definer
set search_path from current as $$
begin
    if tg_op = 'DELETE' and old.seq <= (select pruned_seq from audit_heads where tenant_id = old.tenant_id) then
        return old;
    end if;
    raise exception 'entries of the audit log cannot be changed or removed';
end
$$;
create trigger protect before update or delete on audit for each row execute function protect_audit();
create trigger protect_all before truncate on audit for each statement execute function protect_audit();

-- A head only goes forward.
create function protect_audit_head() returns trigger language plpgsql as $$
begin
    if tg_op <> 'UPDATE' or new.tenant_id <> old.tenant_id or new.seq < old.seq or new.pruned_seq < old.pruned_seq
        or new.anchored_seq < old.anchored_seq
        or (new.seq = old.seq and new.hash <> old.hash)
        or (new.pruned_seq = old.pruned_seq and new.pruned_hash <> old.pruned_hash) then
        raise exception 'the head of the audit log cannot go back';
    end if;
    return new;
end
$$;
create trigger protect before update or delete on audit_heads for each row execute function protect_audit_head();
create trigger protect_all before truncate on audit_heads for each statement execute function protect_audit_head();

-- Records that the hash of an entry is in the object store.
create function mark_audit_anchored(tenant uuid, anchored bigint) returns void language sql security definer
set search_path from current as $$
    update audit_heads set anchored_seq = anchored where tenant_id = tenant and anchored_seq < anchored
$$;

-- Removes the oldest entries up to this number, but none that is not anchored, and leaves a checkpoint. Returns how
-- many it has removed.
create function prune_audit(tenant uuid, up_to bigint) returns bigint language plpgsql security definer
set search_path from current as $$
declare
    last audit;
    removed bigint;
begin
    perform from audit_heads where tenant_id = tenant for update;
    select a.* into last from audit a join audit_heads h using (tenant_id)
        where a.tenant_id = tenant and a.seq <= least(up_to, h.anchored_seq) order by a.seq desc limit 1;
    if not found then
        return 0;
    end if;
    update audit_heads set pruned_seq = last.seq, pruned_hash = last.hash where tenant_id = tenant;
    delete from audit where tenant_id = tenant and seq <= last.seq;
    get diagnostics removed = row_count;
    return removed;
end
$$;
do $$
begin
    execute 'revoke execute on function mark_audit_anchored(uuid, bigint), prune_audit(uuid, bigint) from public';
    execute 'grant execute on function mark_audit_anchored(uuid, bigint), prune_audit(uuid, bigint) to burrow_system';
end
$$;
