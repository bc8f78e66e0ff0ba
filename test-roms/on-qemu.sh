#!/bin/sh
# Run ROMs on QEMU 11 or newer, the machine that they are checked against: on-qemu.sh [NAME...], all by default.
# QEMU is taken from $QEMU_RISCV64 or the path. Exit code 0 if every run passed.
set -u
cd "$(dirname "$0")" || exit 1
qemu=${QEMU_RISCV64:-qemu-system-riscv64}
# What ferry's `max` has, no more.
cpu="rv64,h=false,zfh=on,zfa=on,zacas=on,zabha=on,zicond=on,zawrs=on,zicbom=on,zicboz=on,zicbop=on,smepmp=on"
cpu="$cpu,svnapot=on,svpbmt=on,svinval=on,svadu=on,sscofpmf=on,sstc=on,num-pmp-regions=64,pmu-mask=0xfffffff8"
failed=0

# run ROM HARTS BOOTARGS OPTION...
run() {
    rom=$1 harts=$2 append=$3
    shift 3
    echo "$rom, $harts harts, $*:"
    timeout 120 "$qemu" "$@" -cpu "$cpu" -smp "$harts" -m 128M -nographic -bios none \
        -kernel "elf/riscv64/$rom.elf" -append "peer=qemu pmp=64 $append" </dev/null || failed=1
}

[ $# -gt 0 ] || set -- $(cd elf/riscv64 && ls -- *.elf | sed 's/\.elf$//')
for name in "$@"; do
    for count in 1 4; do
        run "$name" $count "" -M virt
        run "$name" $count "" -M virt,aclint=on
    done
    # Only so does QEMU count instructions exactly.
    [ "$name" != counters ] || run counters 1 icount=1 -M virt -icount shift=0
done
exit $failed
