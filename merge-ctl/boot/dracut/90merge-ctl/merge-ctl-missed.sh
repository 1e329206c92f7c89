#!/bin/sh
# Sourced before the root is mounted: says so where its disks were never seen together.

if [ ! -e /tmp/merge-ctl-boot.done ] && merge-ctl-boot asked; then
    merge-ctl-boot missed
fi
