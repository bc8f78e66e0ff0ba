#!/bin/busybox sh
# Installs a system on /dev/vda. It runs in ferry's initramfs, in a machine of its own without a network; the
# medium, which also has this script, was put into memory at /mnt:
#
#   formatter, base, rest   lists of packages: what it takes to make a file system, what it takes to install
#                           packages, all others
#   packages/               the packages, complete and verified, their files not compressed
#   modules/                the kernel's modules
#   files.list, files/      files of ours: mode and path of each, and their content
#
# Lines that begin with `ferry.install:` say what is done, for who follows the installation.

set -eu
medium=/mnt
target=/newroot
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8
export DEBIAN_FRONTEND=noninteractive DEBCONF_NONINTERACTIVE_SEEN=true

step() {
    echo "ferry.install: $*"
}

# Puts the files of the packages whose list comes in into directory $1, as they are.
unpack() {
    while read -r package; do
        dpkg-deb -x "$medium/$package" "$1"
    done
}

# Runs a program of the system; without its path busybox would take one of its own.
in_target() {
    chroot "$target" "$@"
}

# Dependencies are not looked at one by one: all that is needed is here, and `--audit` looks at the end. There
# is nothing yet that a crash could damage, so nothing need wait for the disk.
run_dpkg() {
    in_target /usr/bin/dpkg --force-depends --force-unsafe-io "$@"
}

step 'Making the file system'
tools=/run/formatter
mkdir -p "$tools"
mount -t tmpfs formatter "$tools"
for dir in bin lib sbin; do
    mkdir -p "$tools/usr/$dir"
    ln -s "usr/$dir" "$tools/$dir"
done
unpack "$tools" < "$medium/formatter"
mkdir -p "$tools/dev"
mount --bind /dev "$tools/dev"
# The disk is new: what nobody has written reads as zeroes.
chroot "$tools" /usr/sbin/mke2fs -q -t ext4 -L root -E assume_storage_prezeroed=1 /dev/vda
umount "$tools/dev"
umount "$tools"
mount -t ext4 -o barrier=0,data=writeback,noauto_da_alloc /dev/vda "$target"

step 'Unpacking the base system'
# First the links from /bin and the like into /usr, which are in base-files.
first=packages/base-files.deb
{ echo "$first"; grep -vx "$first" "$medium/base"; } | unpack "$target"
# What packages' own scripts would do when they are configured, and need before that.
[ -e "$target/usr/bin/awk" ] || ln -s mawk "$target/usr/bin/awk"
database=$target/var/lib/dpkg
mkdir -p "$database/info" "$database/updates" "$database/triggers" "$target/var/log"
: > "$database/status"
for dir in dev mnt proc run sys; do
    mkdir -p "$target/$dir"
done
for dir in dev mnt proc sys; do
    mount --bind "/$dir" "$target/$dir"
done
mount -t tmpfs run "$target/run"
# No package may start a service here.
printf '#!/bin/sh\nexit 101\n' > "$target/usr/sbin/policy-rc.d"
chmod 755 "$target/usr/sbin/policy-rc.d"

# Users and groups come before all else, since the files of others belong to them.
run_dpkg --install /mnt/packages/base-passwd.deb
for list in base rest; do
    run_dpkg --unpack $(sed 's,^,/mnt/,' "$medium/$list")
    certificates=/usr/sbin/update-ca-certificates
    if [ "$list" = rest ]; then
        # It goes through all certificates each time that it is asked to, which is twice here.
        mount --bind "$target/usr/bin/true" "$target$certificates"
    fi
    run_dpkg --configure --pending
done
umount "$target$certificates"
step 'Configuring certificates'
in_target "$certificates"
problems=$(in_target /usr/bin/dpkg --audit)
if [ -n "$problems" ]; then
    echo "$problems"
    exit 1
fi

step 'Configuring the kernel'
modules=$target/usr/lib/modules
mkdir -p "$modules"
cp -r "$medium/modules/." "$modules/"
in_target /usr/sbin/depmod "$(uname -r)"

step 'Configuring the system'
rm "$target/usr/sbin/policy-rc.d"
while read -r mode path; do
    mkdir -p "$target/${path%/*}"
    case $path in
    */) ;;
    *) cp "$medium/files/$path" "$target/$path" ;;
    esac
    chmod "$mode" "$target/$path"
done < "$medium/files.list"
# Only the console takes it: ssh refuses empty passwords.
in_target /usr/bin/passwd -d root
in_target /usr/bin/systemctl enable systemd-networkd systemd-resolved

step 'Writing to the disk'
for dir in run sys proc mnt dev; do
    umount "$target/$dir"
done
umount "$target"
step 'Done'
