#!/bin/sh
# Sourced whenever udev has nothing to do, before lvm_scan activates what there is. Does its work once: as
# soon as all disks of the volume are there.

if [ ! -e /tmp/merge-ctl-boot.done ]; then
    if ! merge-ctl-boot asked; then
        : >/tmp/merge-ctl-boot.done
    elif ! merge-ctl-boot volume >/dev/null || merge-ctl-boot ready; then
        : >/tmp/merge-ctl-boot.done
        merge-ctl-boot merge || :
    fi
fi
