#!/bin/busybox sh
# Init process of the virtual machine: runs the steps in /steps. Each line is a name and a command.
export PATH=/usr/sbin:/usr/bin:/bin HOME=/tmp CI=true SIPNAT_BIN=/usr/bin/sipnat SIPNAT_BENCH_OBJECT=/usr/lib/bench.bpf.o
# Fewer random cases and flood packets: emulation is slow, and the tests on the host run all of them.
export PROPTEST_CASES=500 SIPNAT_FLOOD=300000
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t bpf bpf /sys/fs/bpf
ip link set lo up
mkdir -p /etc /run
echo 'nogroup:x:65534:' >/etc/group
echo "vm: kernel $(uname -r), up after $(cut -d' ' -f1 /proc/uptime) s"
while read -r module; do
    insmod "/modules/$module" || echo "vm: failed $module"
done </modules/order
while read -r name command; do
    if $command </dev/null; then
        echo "vm: passed $name"
    else
        echo "vm: failed $name"
    fi
    echo "vm: $name done after $(cut -d' ' -f1 /proc/uptime) s"
done </steps
echo "vm: all done"
poweroff -f
