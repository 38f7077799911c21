-- A class has a network policy too. It holds together with the tenant's and with the template's or what was granted
-- instead: neither widens another.
alter table classes add column network_policy jsonb not null default '{"mode": "open"}';
-- The class whose policy holds for a fork of a workspace of that class. A copy gets no other network than its origin.
alter table workspaces
    add column network_class_id uuid,
    add foreign key (tenant_id, network_class_id) references classes;
