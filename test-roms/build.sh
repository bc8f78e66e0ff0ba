#!/bin/sh
# Build every ROM from its source with the GNU cross compiler (Debian: gcc-riscv64-linux-gnu).
#
#   build.sh            write elf/riscv64/*.elf
#   build.sh --check    build into a temporary directory and compare with the committed files
#
# Each ELF carries the SHA-256 of the sources it was made from, so that a test without a compiler can tell a stale
# one. The files are reproducible for one compiler version; --check with another version than the recorded one
# verifies only that the sources build.
set -eu
cd "$(dirname "$0")"
cc=${CC_RISCV64:-riscv64-linux-gnu-gcc}
out=elf/riscv64
compiler=$($cc --version | head -n 1)

flags="-march=rv64imac_zicsr_zifencei -mabi=lp64 -mcmodel=medany -Os -std=gnu11 -Wall -Wextra -Werror
    -ffreestanding -fno-pic -fno-stack-protector -fno-tree-loop-distribute-patterns -fno-asynchronous-unwind-tables
    -fno-builtin -ffixed-x4 -static -nostdlib -nostartfiles
    -Wl,--build-id=none -Wl,-T,riscv64/rt/rom.ld -Wl,--no-warn-rwx-segments -Wl,-s"

check=no
if [ "${1:-}" = --check ]; then
    check=yes
    out=$(mktemp -d)
    trap 'rm -rf "$out"' EXIT
fi
mkdir -p "$out"

for source in riscv64/*.c; do
    name=$(basename "$source" .c)
    # The order is part of the hash: the runtime by name, then the ROM's own file.
    hash=$(LC_ALL=C; cat riscv64/rt/* "$source" | sha256sum | cut -d ' ' -f 1)
    # shellcheck disable=SC2086 # flags are words
    $cc $flags -DSOURCE_HASH="\"$hash\"" -Iriscv64/rt riscv64/rt/start.S riscv64/rt/rt.c "$source" \
        -o "$out/$name.elf"
done

if [ $check = no ]; then
    echo "$compiler" >elf/COMPILER
    exit 0
fi
if [ "$compiler" != "$(cat elf/COMPILER)" ]; then
    echo "test-roms: sources build with '$compiler'; the committed files are from '$(cat elf/COMPILER)', not compared"
    exit 0
fi
for built in "$out"/*.elf; do
    if ! cmp "$built" "elf/riscv64/$(basename "$built")"; then
        echo "test-roms: committed ELF differs from its source: run test-roms/build.sh" >&2
        exit 1
    fi
done
echo "test-roms: every committed ELF is what its source builds"
