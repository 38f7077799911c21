-- A template names its tier, and a workspace keeps the one that it was created with.
alter table templates
    add column tier text not null default 'microvm' check (tier in ('microvm', 'container'));
alter table workspaces
    add column tier text not null default 'microvm' check (tier in ('microvm', 'container'));

-- The tiers that a tenant may use. The operator decides, because a container shares the host's kernel.
alter table tenants
    add column tiers text[] not null default '{microvm}' check (tiers <@ '{microvm,container}'::text[]);

-- The tier whose sandboxes have written a home. Null: none yet. Of a home of unknown origin the worst is
-- assumed: that a virtual machine has prepared its file system to attack the kernel that mounts it.
alter table volumes
    add column written_by text default 'microvm' check (written_by in ('microvm', 'container'));

insert into templates (tenant_id, name, title, description, image, vcpus, memory_mib, home_mib, scratch_mib,
    pids, tier)
select tenant_id, 'container', 'Container',
    'As Base, on the host''s kernel and without root: starts faster. For trusted, educational use.', 'base',
    2, 1024, 4096, 4096, 2048, 'container'
from tenants on conflict do nothing;
