# Runs as `sh -c THIS sh PACKAGE...`, as root, on Debian or Ubuntu.
# Debian starts a service as soon as it is installed, and nobody who wants to see a demo wants a PBX on port 5060 of
# this host. /usr/sbin/policy-rc.d forbids that while it is there. If this shell is killed, it deletes itself when used.
set -eu
export DEBIAN_FRONTEND=noninteractive
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 130' HUP INT TERM
    cat >"$policy" <<POLICY
#!/bin/sh
# For the time in which 'cargo xtask' (process $$) installs packages: start no service.
[ -d /proc/$$ ] && exit 101
rm -f "\$0"
POLICY
    chmod 755 "$policy"
fi
# What goes wrong is on standard error. A fresh machine may be busy upgrading itself.
apt-get update -qq >/dev/null
apt-get install -qq -o DPkg::Lock::Timeout=300 --yes --no-install-recommends "$@" >/dev/null
