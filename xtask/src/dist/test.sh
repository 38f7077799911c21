#!/bin/bash
# Runs as root in a fresh root file system: installs /tmp/package.deb, starts Burrow with the fake runtime, creates a
# workspace, runs a program in it, and removes the package.
set -euo pipefail
export HOME=/root DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8

printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
chmod +x /usr/sbin/policy-rc.d
named_burrow() {
    find / -xdev \( -path /proc -o -path /dev -o -path /tmp -o -path /sys \) -prune -o -iname '*burrow*' -print
}

echo "--- install"
apt-get update -qq
apt-get install -y -qq --no-install-recommends /tmp/package.deb >/tmp/install.log 2>&1 || { tail -30 /tmp/install.log; exit 1; }
burrow --version
test -s /usr/share/man/man1/burrow.1.gz
bash -n /usr/share/bash-completion/completions/burrow

echo "--- start"
burrow up --runtime fake --port 0 >/tmp/link 2>/tmp/up.log &
up=$!
for _ in $(seq 600); do
    [ -s /tmp/link ] && break
    kill -0 $up 2>/dev/null || break
    sleep 0.1
done
[ -s /tmp/link ] || { cat /tmp/up.log; exit 1; }
BURROW_URL=$(head -1 /tmp/link)
export BURROW_URL
link=$(burrow admin sign-in-link)
api=$BURROW_URL/api/v1
curl -sSf -c /tmp/cookies -H "origin: $BURROW_URL" --json "{\"token\":\"${link##*#}\"}" "$api/auth/link" >/dev/null
BURROW_TOKEN=$(curl -sSf -b /tmp/cookies -H "origin: $BURROW_URL" --json '{"name":"test","days":1}' "$api/tokens" | jq -r .token)
export BURROW_TOKEN

echo "--- create a workspace"
burrow create demo --timeout 2m
test "$(burrow exec demo -- echo works)" = works
burrow list
burrow stop demo

echo "--- stop"
kill -INT $up
wait $up
if pgrep -a 'burrow|postgres'; then
    echo "Processes are left"
    exit 1
fi

echo "--- remove"
apt-get purge -y -qq burrow >/dev/null
test -e /var/lib/burrow/master.key # homes are kept until someone deletes them
rm -r /var/lib/burrow
left=$(named_burrow)
if [ -n "$left" ]; then
    echo "Files are left: $left"
    exit 1
fi
echo "ok"
