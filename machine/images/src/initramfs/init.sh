#!/bin/busybox sh
# The first process of a guest that ferry boots from a kernel and busybox alone.
#
# It mounts the kernel's file systems, loads the modules in /etc/modules, asks for an address on eth0 if there
# is one, and then gives a shell on the console, a new one whenever it ends. Words it honours on the kernel's
# command line:
#
#   ferry.root=DEV      mounts DEV and goes on with /sbin/init there
#   ro                  mounts it read-only, as systems want it that check it first
#   ferry.run=COMMAND   runs the rest of the line instead of a shell, prints `ferry.run: exit status N`, and
#                       powers off; it must come last

export PATH=/usr/sbin:/usr/bin:/sbin:/bin

/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs devtmpfs /dev
/bin/busybox --install -s
mkdir -p /dev/pts /dev/shm
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /run
hostname ferry

while read -r module; do
    modprobe "$module"
done < /etc/modules

root= mode=rw run=
line=$(cat /proc/cmdline)
case " $line" in
*" ferry.run="*) run=${line#*ferry.run=} line=${line%%ferry.run=*} ;;
esac
for word in $line; do
    case $word in
    ferry.root=*) root=${word#ferry.root=} ;;
    ro | rw) mode=$word ;;
    esac
done

if [ -n "$root" ]; then
    tries=50 # 5 s: disks appear some time after their driver
    while [ ! -b "$root" ] && [ "$tries" -gt 0 ]; do
        tries=$((tries - 1))
        sleep 0.1
    done
    modprobe -q ext4
    if mount -o "$mode" "$root" /newroot && [ -x /newroot/sbin/init ]; then
        for dir in dev proc run sys; do
            [ -d "/newroot/$dir" ] || mkdir "/newroot/$dir"
            mount --move "/$dir" "/newroot/$dir"
        done
        exec switch_root /newroot /sbin/init
    fi
    echo "ferry: $root cannot be mounted or has no /sbin/init: staying here" >&2
fi

ip link set lo up
address=
if [ -e /sys/class/net/eth0 ]; then
    ip link set eth0 up
    # Stays in the background to renew the lease.
    udhcpc -i eth0 -s /etc/udhcpc.sh -t 4 -T 1 -A 5 -b > /dev/null 2>&1
    address=$(ip -4 -o addr show dev eth0 | sed -n 's/.* inet \([0-9.]*\).*/\1/p')
fi

# busybox init goes on from here: it keeps the shell or the command running, and ends the machine when asked.
if [ -n "$run" ]; then
    printf '%s\n' "$run" > /run/ferry.run
    echo '::once:/etc/run.sh' > /etc/inittab
else
    cat << END

This is $(cat /etc/system) with Linux $(uname -r) on $(uname -m), started by ferry.
Network: ${address:-none}. All is in memory; \`poweroff\` ends the machine.

END
    echo '::respawn:cttyhack sh -l' > /etc/inittab
fi
exec init
