#!/bin/sh
# Build every ROM from its source with the GNU cross compilers (Debian: gcc-riscv64-linux-gnu, gcc-aarch64-linux-gnu).
#
#   build.sh            write elf/*/*.elf
#   build.sh --check    build into a temporary directory and compare with the committed files
#
# Each ELF carries the SHA-256 of the sources it was made from, so that a test without a compiler can tell a stale
# one. The files are reproducible for one compiler version; --check with another version than the recorded one
# verifies only that the sources build.
set -eu
cd "$(dirname "$0")"
common="-Os -std=gnu11 -Wall -Wextra -Werror
    -ffreestanding -fno-pic -fno-stack-protector -fno-tree-loop-distribute-patterns -fno-asynchronous-unwind-tables
    -fno-builtin -static -nostdlib -nostartfiles
    -Wl,--build-id=none -Wl,--no-warn-rwx-segments -Wl,-s"

check=no
into=elf
if [ "${1:-}" = --check ]; then
    check=yes
    into=$(mktemp -d)
    trap 'rm -rf "$into"' EXIT
fi

# build ARCH COMPILER FLAG...
build() {
    arch=$1 cc=$2
    shift 2
    out=$into/$arch
    mkdir -p "$out"
    for source in "$arch"/*.c; do
        name=$(basename "$source" .c)
        # The order is part of the hash: what all share, the runtime, each by name, then the ROM's own file.
        hash=$(LC_ALL=C; cat common/* "$arch"/rt/* "$source" | sha256sum | cut -d ' ' -f 1)
        # shellcheck disable=SC2086 # flags are words
        "$cc" $common "$@" -Wl,-T,"$arch/rt/rom.ld" -DSOURCE_HASH="\"$hash\"" -Icommon -I"$arch/rt" \
            "$arch/rt/start.S" "$arch/rt/rt.c" common/common.c "$source" -o "$out/$name.elf"
    done

    compiler=$("$cc" --version | head -n 1)
    if [ $check = no ]; then
        echo "$compiler" >"$out/COMPILER"
        return
    fi
    committed=$(cat "elf/$arch/COMPILER")
    if [ "$compiler" != "$committed" ]; then
        echo "test-roms: sources build with '$compiler'; the committed files are from '$committed', not compared"
        return
    fi
    for built in "$out"/*.elf; do
        if ! cmp "$built" "elf/$arch/$(basename "$built")"; then
            echo "test-roms: committed ELF differs from its source: run test-roms/build.sh" >&2
            exit 1
        fi
    done
    echo "test-roms: every committed ELF for $arch is what its source builds"
}

build riscv64 "${CC_RISCV64:-riscv64-linux-gnu-gcc}" \
    -march=rv64imac_zicsr_zifencei -mabi=lp64 -mcmodel=medany -ffixed-x4
build aarch64 "${CC_AARCH64:-aarch64-linux-gnu-gcc}" \
    -march=armv8-a -mgeneral-regs-only -mstrict-align -mno-outline-atomics -ffixed-x18 -Wl,-z,max-page-size=4096
