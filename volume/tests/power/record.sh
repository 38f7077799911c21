#!/bin/sh
# Records what a guest writes to its home, for `src/volume/tests/power.rs`. Runs a real kernel under
# QEMU, whose blklogwrites driver records every write and flush in the order in which they ended.
# Run it again when init.c changes:
#
#   volume/tests/power/record.sh target/images/base-…   (built by `cargo xtask test` or `bench`)
set -eu
image=$(realpath "$1") here=$(dirname "$(realpath "$0")") work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/root/dev" "$work/root/home" "$work/root/modules"
gcc -static -O2 -w -o "$work/root/init" "$here/init.c"
cp "$image"/modules/*.ko "$work/root/modules/"
mknod "$work/root/dev/console" c 5 1
(cd "$work/root" && find . | cpio --quiet -o -H newc | lz4 -q -l -9 > "$work/initramfs")
truncate -s 33M "$work/home"
mkfs.ext4 -q -F -b 4096 -U 01234567-89ab-cdef-0123-456789abcdef -E lazy_itable_init=0,lazy_journal_init=0 "$work/home" 32M
cp "$work/home" "$work/before"
truncate -s 256M "$work/log"
khz=$(awk '/cpu MHz/ { printf "%d", $4 * 1000; exit }' /proc/cpuinfo)
qemu-system-x86_64 -no-user-config -nodefaults -no-reboot -display none -smp 1 -m 512M -accel tcg -cpu max \
    -machine microvm,acpi=on,rtc=on,pit=on,pic=on,isa-serial=on -serial "file:$work/said" \
    -kernel "$image/vmlinux" -initrd "$work/initramfs" -append "console=ttyS0 panic=-1 reboot=t quiet tsc_early_khz=$khz no_timer_check" \
    -blockdev "driver=file,node-name=home-file,filename=$work/home" -blockdev driver=raw,node-name=home-raw,file=home-file \
    -blockdev "driver=file,node-name=log,filename=$work/log" \
    -blockdev driver=blklogwrites,node-name=home,file=home-raw,log=log,log-sector-size=512 \
    -device virtio-blk-device,drive=home &
qemu=$!
until grep -q recorded "$work/said" 2>/dev/null; do kill -0 "$qemu"; sleep 0.2; done
kill "$qemu"
wait "$qemu" || true
cat "$work/said"
cp "$work/log" "$here/log.raw"
cp "$work/before" "$here/before.raw"
rm -f "$here/before.zst" "$here/log.zst"
zstd -q -19 --rm "$here/before.raw" -o "$here/before.zst"
zstd -q -19 --rm "$here/log.raw" -o "$here/log.zst"
ls -l "$here"
