# Configures a new root: `sh setup.sh ROOT`. Runs outside the root, before its package lists are
# removed.
#
# Needs in the environment: BURROW_OUT (the directory for the kernel and the package list),
# BURROW_KERNEL (a metapackage), BURROW_LOCALE, BURROW_LOCALES, BURROW_USER, BURROW_UID, BURROW_GID,
# BURROW_SHELL, BURROW_GROUPS, and from mmdebstrap MMDEBSTRAP_APT_CONFIG. The builder has validated
# all values: none contains shell syntax.
set -eu
root=$1

inside() {
    chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"
}
packages() {
    APT_CONFIG=$MMDEBSTRAP_APT_CONFIG "$@"
}

# The kernel is unpacked, not installed. Installing it would add boot loader hooks and an initramfs
# that is never booted.
kernel=$(packages apt-cache depends --important "$BURROW_KERNEL" | sed -n 's/^ *Depends: *\(linux-image-[^ ]*\).*$/\1/p' | head -n 1)
if [ -z "$kernel" ]; then
    echo "E: the package $BURROW_KERNEL depends on no kernel" >&2
    exit 1
fi
mkdir "$root/tmp/kernel"
(cd "$root/tmp/kernel" && packages apt-get -o APT::Sandbox::User=root download "$kernel" && mv ./*.deb kernel.deb)
inside dpkg-deb -x /tmp/kernel/kernel.deb /tmp/kernel/tree
mkdir -p "$root/usr/lib/modules"
mv "$root"/tmp/kernel/tree/lib/modules/* "$root/usr/lib/modules/"
release=$(ls "$root/usr/lib/modules")
inside depmod "$release"
mv "$root/tmp/kernel/tree/boot/vmlinuz-$release" "$BURROW_OUT/vmlinuz"
echo "$release" >"$BURROW_OUT/release"
inside dpkg-query -W -f '${Package}\t${Version}\n' >"$BURROW_OUT/packages"
inside dpkg-deb -W --showformat '${Package}\t${Version}\n' /tmp/kernel/kernel.deb >>"$BURROW_OUT/packages"
rm -rf "$root/tmp/kernel"

for locale in $BURROW_LOCALES; do
    echo "$locale ${locale#*.}" >>"$root/etc/locale.gen"
done
if [ -n "$BURROW_LOCALES" ]; then
    inside locale-gen >/dev/null
fi
echo "LANG=$BURROW_LOCALE" >"$root/etc/default/locale"

inside groupadd --gid "$BURROW_GID" "$BURROW_USER"
inside useradd --uid "$BURROW_UID" --gid "$BURROW_GID" --shell "$BURROW_SHELL" --no-create-home "$BURROW_USER"
for group in $BURROW_GROUPS; do
    inside usermod --append --groups "$group" "$BURROW_USER"
done
# The mount point of the home. The home itself is the workspace's own disk.
inside install -d -m 0755 -o "$BURROW_UID" -g "$BURROW_GID" "/home/$BURROW_USER"
# The sandbox is the boundary, not the user: the user may become root in the guest.
echo "$BURROW_USER ALL=(ALL:ALL) NOPASSWD: ALL" >"$root/etc/sudoers.d/$BURROW_USER"
chmod 0440 "$root/etc/sudoers.d/$BURROW_USER"
inside visudo --check --quiet

# The guest's first process is the agent. It powers off on SIGUSR2.
cat >"$root/usr/sbin/poweroff" <<'EOF'
#!/bin/sh
# Stops this workspace. Its home is saved; start the workspace to continue.
exec kill -s USR2 1
EOF
chmod 0755 "$root/usr/sbin/poweroff"
for name in halt reboot shutdown; do
    ln -s poweroff "$root/usr/sbin/$name"
done
