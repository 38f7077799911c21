-- What a user prefers in the workbench: for all workspaces, and for one of them.
alter table users add column settings jsonb not null default '{}' check (jsonb_typeof(settings) = 'object');
alter table workspaces add column settings jsonb not null default '{}' check (jsonb_typeof(settings) = 'object');
