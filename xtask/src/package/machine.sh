# Runs as root, as `unshare --mount sh THIS ROOT SCRATCH`. Boots the systemd of the Debian in ROOT in namespaces of its own, and has it run
# SCRATCH/check.sh. ROOT stays as it is: an overlay in memory takes what is written.
set -eu
root=$1 scratch=$2
if [ "${3-}" = boot ]; then
    machine=$scratch/mount/root
    mount -t proc proc "$machine/proc"
    mount -t sysfs sysfs "$machine/sys"
    mount -t bpf -o mode=700 bpf "$machine/sys/fs/bpf"
    mount -t cgroup2 cgroup2 "$machine/sys/fs/cgroup"
    mount -t tmpfs tmpfs "$machine/run"
    mount -t tmpfs tmpfs "$machine/tmp"
    mount -t tmpfs -o mode=755 dev "$machine/dev"
    for device in null zero full random urandom tty; do
        touch "$machine/dev/$device"
        mount --bind "/dev/$device" "$machine/dev/$device"
    done
    mkdir "$machine/dev/pts" "$machine/dev/shm" "$machine/check" "$machine/old"
    # systemd copies these for PrivateDevices=.
    mount -t devpts -o newinstance,ptmxmode=666 devpts "$machine/dev/pts"
    ln -s pts/ptmx "$machine/dev/ptmx"
    ln -s /proc/self/fd "$machine/dev/fd"
    mount --bind "$scratch" "$machine/check"
    cat >"$machine/etc/systemd/system/check.service" <<UNIT
[Unit]
After=basic.target
SuccessAction=exit
FailureAction=exit
[Service]
Type=oneshot
TimeoutStartSec=infinity
ExecStart=/bin/sh /check/check.sh
StandardOutput=append:/check/log
StandardError=append:/check/log
UNIT
    printf '[Unit]\nRequires=basic.target check.service\n' >"$machine/etc/systemd/system/check.target"
    # A chroot is not enough: systemd makes mount namespaces for units, from the root of this one.
    cd "$machine"
    pivot_root . old
    umount --lazy /old
    rmdir /old
    exec env -i container=lxc PATH=/usr/sbin:/usr/bin:/sbin:/bin \
        /lib/systemd/systemd --unit=check.target --show-status=0
fi

mkdir -p "$scratch/mount"
mount -t tmpfs tmpfs "$scratch/mount"
cd "$scratch/mount"
mkdir upper work root cgroup
mount -t overlay -o "lowerdir=$root,upperdir=upper,workdir=work" overlay root
# A control group of its own, which systemd takes for the whole tree.
mount -t cgroup2 cgroup2 cgroup
group=cgroup/sipnat-package-$$
mkdir "$group"
echo 0 >"$group/cgroup.procs"
# systemd ignores SIGTERM as process 1; its namespace ends with it.
timeout --signal=KILL 300 unshare --mount --pid --net --uts --ipc --cgroup --fork --kill-child \
    sh "$0" "$root" "$scratch" boot </dev/null >"$scratch/systemd.log" 2>&1 || true
echo 0 >cgroup/cgroup.procs
find "$group" -depth -type d -exec rmdir {} +
