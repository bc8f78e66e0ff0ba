#!/bin/sh
# Run ROMs on QEMU 11 or newer, the machine that they are checked against: on-qemu.sh [ARCH/NAME...], all by default.
# QEMU is taken from $QEMU_SYSTEM_RISCV64 and $QEMU_SYSTEM_AARCH64, or the path. Exit code 0 if every run passed.
set -u
cd "$(dirname "$0")" || exit 1
riscv=${QEMU_SYSTEM_RISCV64:-qemu-system-riscv64}
arm=${QEMU_SYSTEM_AARCH64:-qemu-system-aarch64}
# What ferry's `max` has, no more.
riscv_cpu="rv64,h=false,zfh=on,zfa=on,zacas=on,zabha=on,zicond=on,zawrs=on,zicbom=on,zicboz=on,zicbop=on,smepmp=on"
riscv_cpu="$riscv_cpu,svnapot=on,svpbmt=on,svinval=on,svadu=on,sscofpmf=on,sstc=on,num-pmp-regions=64,pmu-mask=0xfffffff8"
failed=0

# riscv ROM HARTS BOOTARGS OPTION...
riscv() {
    rom=$1 harts=$2 append=$3
    shift 3
    echo "$rom, $harts harts, $*:"
    timeout 120 "$riscv" "$@" -cpu "$riscv_cpu" -smp "$harts" -m 128M -nographic -bios none \
        -kernel "elf/riscv64/$rom.elf" -append "peer=qemu pmp=64 $append" </dev/null || failed=1
}

# arm ROM CPUS MACHINE: at EL3 nobody switches the machine off, so what is printed decides.
arm() {
    echo "$1, $2 CPUs, $3:"
    text=$(timeout "${4:-60}" "$arm" -M "virt,$3" -cpu max,pauth-impdef=on -smp "$2" -m 128M -nographic -monitor none \
        -kernel "elf/aarch64/$1.elf" -append "peer=qemu" </dev/null 2>/dev/null)
    echo "$text"
    case $text in *"checks passed"*) ;; *) failed=1 ;; esac
}

[ $# -gt 0 ] || set -- $(cd elf && ls -- */*.elf | sed 's/\.elf$//')
for name in "$@"; do
    rom=${name#*/}
    for count in 1 4; do
        case $name in
            riscv64/*)
                riscv "$rom" $count "" -M virt
                riscv "$rom" $count "" -M virt,aclint=on
                ;;
            aarch64/*)
                for gic in 2 3; do
                    arm "$rom" $count "gic-version=$gic"
                    arm "$rom" $count "gic-version=$gic,virtualization=on"
                    arm "$rom" $count "gic-version=$gic,virtualization=on,secure=on" 10
                done
                ;;
        esac
    done
    # Only so does QEMU count instructions exactly.
    [ "$name" != riscv64/counters ] || riscv counters 1 icount=1 -M virt -icount shift=0
done
exit $failed
