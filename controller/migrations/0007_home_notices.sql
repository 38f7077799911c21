-- Automatic snapshots of a home that changes very much are less frequent.
alter table workspaces drop constraint workspaces_home_notice_check;
alter table workspaces add constraint workspaces_home_notice_check
    check (home_notice in ('store_unavailable', 'throttled', 'host_disk_full', 'uploads_paced'));
