-- A workspace that nobody uses stops within minutes.
alter table workspaces drop constraint workspaces_home_notice_check;
alter table workspaces add constraint workspaces_home_notice_check check (home_notice in (
    'store_unavailable', 'throttled', 'host_disk_full', 'uploads_paced', 'home_full', 'home_out_of_inodes',
    'out_of_memory', 'process_limit', 'idle_stop'
));
