# Runs as `sh -c THIS sh PACKAGE...`, as root, on Debian or Ubuntu.
# Debian starts each service that it installs, but a demo must not leave a PBX on port 5060 of this host.
# So /usr/sbin/policy-rc.d forbids starts while this shell runs. After a kill of this shell, it deletes itself at its next use.
set -eu
export DEBIAN_FRONTEND=noninteractive
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 130' HUP INT TERM
    cat >"$policy" <<POLICY
#!/bin/sh
# Starts no service while 'cargo xtask' (process $$) installs packages.
[ -d /proc/$$ ] && exit 101
rm -f "\$0"
POLICY
    chmod 755 "$policy"
fi
# Errors go to standard error. The lock timeout is for a fresh machine that upgrades itself.
apt-get update -qq >/dev/null
apt-get install -qq -o DPkg::Lock::Timeout=300 --yes --no-install-recommends "$@" >/dev/null
