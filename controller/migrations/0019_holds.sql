-- When an idle workspace stops, what keeps it awake, and until when a user holds it.
alter table workspaces
    add column idle_stops_at timestamptz,
    add column awake jsonb not null default '[]',
    add column held_until timestamptz;

-- The time of the stop moves with every use. Users see it with the next change, or with the next heartbeat.
drop trigger grow on workspaces;
create trigger grow before update on workspaces for each row
    when ((to_jsonb(old) - array['lease_until', 'dirty_bytes', 'unreplicated_ms', 'home_safe_at', 'home_used_bytes',
                                 'idle_stops_at'])
            is distinct from
          (to_jsonb(new) - array['lease_until', 'dirty_bytes', 'unreplicated_ms', 'home_safe_at', 'home_used_bytes',
                                 'idle_stops_at'])
        or home_mark(old.unreplicated_ms, old.home_used_bytes, old.home_mib)
            <> home_mark(new.unreplicated_ms, new.home_used_bytes, new.home_mib))
    execute function grow_revision();
