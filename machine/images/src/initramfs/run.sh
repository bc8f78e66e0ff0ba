#!/bin/busybox sh
# Runs the command of `ferry.run=`, which /init has put in a file.

sh /run/ferry.run
echo "ferry.run: exit status $?"
sync
poweroff -f
