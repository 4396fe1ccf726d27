# Runs as a service of a fresh Debian: installs, runs, upgrades, removes and purges the package.
set -eu
package=/check/sipnat.deb
files() {
    find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /check -o -path /var/lib/dpkg \
        -o -path /var/log -o -path /var/cache \) -prune -o -print | sort
}
fails() {
    if "$@"; then
        echo "succeeds, but must fail: $*"
        exit 1
    fi
}
pid() { systemctl show --property=MainPID --value sipnat; }
log() { journalctl --unit=sipnat --no-pager --output=cat; }
# What the unit said, if a step fails.
trap 'test $? = 0 || { journalctl --unit=sipnat --no-pager --lines=20; echo failed; }' EXIT
set -x

files >/run/before
dpkg --install "$package"
sipnat --version
test -s /usr/share/doc/sipnat/copyright
systemd-analyze verify sipnat.service
# 30 is 3.0.
systemd-analyze security --no-pager --threshold=30 sipnat.service | tail -1
for page in /usr/share/man/man8/sipnat*.8; do
    man --warnings --local-file "$page" >/dev/null 2>/run/warnings
    cat /run/warnings
    test ! -s /run/warnings
done
bash -n /usr/share/bash-completion/completions/sipnat

# Nothing runs before an interface is named.
fails systemctl is-enabled sipnat
fails systemctl start sipnat
log | grep 'no interface is named'
systemctl reset-failed sipnat

ip link add eth0 type veth peer name phone
ip link set eth0 up
ip link set phone up
ip address add 203.0.113.10/24 dev eth0
echo 'iface = ["eth0"]' >>/etc/sipnat/sipnat.toml

# What an agent of root leaves, the user of the unit takes over.
sipnat run >/run/by-root 2>&1 &
by_root=$!
until grep 'ready on eth0' /run/by-root; do
    kill -0 "$by_root"
    sleep 1
done
sipnat policy set 198.51.100.0/25 off
kill "$by_root"
wait "$by_root"
systemctl enable --now sipnat
sipnat policy list | grep 198.51.100.0/25
log | grep 'with the tables of the earlier agent'
sipnat policy remove 198.51.100.0/25
sipnat status
test "$(stat --format=%U "/proc/$(pid)")" = sipnat
# CAP_NET_ADMIN and CAP_BPF: the start needed CAP_PERFMON, too.
grep 'CapEff:.*0000008000001000' "/proc/$(pid)/status"
grep 'CapPrm:.*0000008000001000' "/proc/$(pid)/status"
grep 'Seccomp:.*2' "/proc/$(pid)/status"
test "$(stat --format=%a:%U:%G /run/sipnat)" = 750:sipnat:sipnat
test "$(stat --format=%a /run/sipnat/lock)" = 600

# A member of the group reads, and changes nothing. Others do neither.
useradd --system --groups sipnat colleague
useradd --system stranger
as() { runuser --user "$@"; }
as colleague -- sipnat status | grep 'on         eth0'
as colleague -- sipnat bindings list
fails as colleague -- sipnat policy set default off
fails as colleague -- sipnat detach
fails as stranger -- sipnat status
fails as stranger -- sipnat bindings list

# Metrics, within what the unit allows.
echo 'metrics = "127.0.0.1:9060"' >>/etc/sipnat/sipnat.toml
systemctl restart sipnat
bash -c 'exec 3<>/dev/tcp/127.0.0.1/9060; printf "GET /metrics HTTP/1.0\r\n\r\n" >&3; cat <&3' | grep 'sipnat_attached{interface="eth0"} 1'

# A reload, and one of a wrong file.
echo 'shadow = true' >>/etc/sipnat/sipnat.toml
systemctl reload sipnat
sipnat status | grep 'shadow: nothing is redirected'
echo 'prot = 5060' >>/etc/sipnat/sipnat.toml
fails systemctl reload sipnat
log | grep 'not reloaded.*there is no key prot; did you mean port?'
# The journal has its messages with priority and fields.
journalctl --unit=sipnat --no-pager --output=cat --priority=warning | grep 'not reloaded'
journalctl --no-pager --output=json SYSLOG_IDENTIFIER=sipnat | grep '"PRIORITY":"4".*not reloaded\|not reloaded.*"PRIORITY":"4"'
systemctl is-active sipnat
sed -i '/^prot/d' /etc/sipnat/sipnat.toml

# A restart and an upgrade keep the tables, and a stop the programs.
sipnat policy set 198.51.100.0/24 off
before=$(pid)
systemctl restart sipnat
sipnat policy list | grep 198.51.100.0/24
dpkg --install "$package"
systemctl is-active sipnat
test "$(pid)" != "$before"
sipnat policy list | grep 198.51.100.0/24
systemctl stop sipnat
ip link show eth0 | grep prog/xdp

# The watchdog ends an agent that hangs, and the next one takes over.
mkdir /etc/systemd/system/sipnat.service.d
printf '[Service]\nWatchdogSec=3\nRestartSec=1\nEnvironment=RUST_LOG=debug\n' >/etc/systemd/system/sipnat.service.d/check.conf
systemctl daemon-reload
systemctl start sipnat
before=$(pid)
sleep 5
test "$(pid)" = "$before"
log | grep 'taking over what an earlier agent left'
journalctl --no-pager --output=json SYSLOG_IDENTIFIER=sipnat | grep '"SIPNAT_PATH":"/sys/fs/bpf/sipnat/'
kill -STOP "$before"
sleep 8
systemctl is-active sipnat
test "$(pid)" != "$before"
sipnat policy list | grep 198.51.100.0/24
rm -r /etc/systemd/system/sipnat.service.d

dpkg --remove sipnat
fails sh -c 'ip link show eth0 | grep prog/xdp'
test -f /etc/sipnat/sipnat.toml
fails test -e /sys/fs/bpf/sipnat
dpkg --purge sipnat
fails test -e /run/sipnat
fails getent passwd sipnat
fails getent group sipnat
files >/run/after
diff /run/before /run/after
trap - EXIT
echo passed
