-- The program that the guest's kernel has ended for lack of memory, while `home_notice` says so.
alter table workspaces add column killed_program text check (char_length(killed_program) between 1 and 64);
