#!/bin/bash
# Puts merge-ctl into an initramfs of dracut's, for merges before the root is activated (docs/offline.md,
# "At boot").

_merge_ctl_find() {
    local file
    for file in "$@"; do
        if [[ -x ${dracutsysrootdir-}$file ]]; then
            echo "$file"
            return 0
        fi
    done
    return 1
}

_merge_ctl_program() {
    _merge_ctl_find /usr/local/sbin/merge-ctl /usr/local/bin/merge-ctl /usr/sbin/merge-ctl /usr/bin/merge-ctl
}

_merge_ctl_script() {
    _merge_ctl_find /usr/local/lib/merge-ctl/merge-ctl-boot /usr/lib/merge-ctl/merge-ctl-boot
}

# called by dracut
check() {
    _merge_ctl_program >/dev/null && _merge_ctl_script >/dev/null && require_binaries lvm
}

# called by dracut
depends() {
    echo lvm
}

# called by dracut
installkernel() {
    hostonly='' instmods dm_mod dm_snapshot
}

# called by dracut
install() {
    inst_simple "$(_merge_ctl_program)" /usr/bin/merge-ctl
    inst_simple "$(_merge_ctl_script)" /usr/bin/merge-ctl-boot
    inst_multiple lvm mkdir mv sleep modprobe
    # lvm_scan, which activates, is put beside it by udev's rules, and comes after it in the alphabet.
    # shellcheck disable=SC2154
    inst_hook initqueue/settled 01 "$moddir/merge-ctl-settled.sh"
    inst_hook pre-mount 01 "$moddir/merge-ctl-missed.sh"
}
