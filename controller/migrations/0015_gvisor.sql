-- The tier `gvisor`. Homes move freely between it and `container`: the host's kernel mounts both.
alter table templates
    drop constraint templates_tier_check,
    add constraint templates_tier_check check (tier in ('microvm', 'gvisor', 'container'));
alter table workspaces
    drop constraint workspaces_tier_check,
    add constraint workspaces_tier_check check (tier in ('microvm', 'gvisor', 'container'));
alter table tenants
    drop constraint tenants_tiers_check,
    add constraint tenants_tiers_check check (tiers <@ '{microvm,gvisor,container}'::text[]);
alter table volumes
    drop constraint volumes_written_by_check,
    add constraint volumes_written_by_check check (written_by in ('microvm', 'gvisor', 'container'));

insert into templates (tenant_id, name, title, description, image, vcpus, memory_mib, home_mib, scratch_mib,
    pids, tier)
select tenant_id, 'gvisor', 'gVisor', 'As Base, on gVisor''s kernel and without root: starts faster.', 'base',
    2, 1024, 4096, 4096, 2048, 'gvisor'
from tenants on conflict do nothing;
