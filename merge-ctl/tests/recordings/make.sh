#!/bin/sh
# Makes a small recording of a real merge, in a VM: an archive on standard output with the recording and what was
# printed live.
#
#   cargo xtask vm --kernel 6.1 --copy merge-ctl/tests/recordings/make.sh -- busybox sh make.sh > merge.tar
#
# Two sorts of runs, writes of an application beside the merge, and for a moment a device that stands still.
set -e
exec 3>&1 1>&2
modprobe brd rd_nr=2 rd_size=65536
for module in dm-snapshot dm-delay; do modprobe $module; done
sectors=32768
dmsetup create data-real --table "0 $sectors linear /dev/ram0 0"
dmsetup create data-cow --table "0 $sectors linear /dev/ram1 0"
dmsetup create data-snap --table "0 $sectors snapshot /dev/mapper/data-real /dev/mapper/data-cow P 8"
dmsetup create data --table "0 $sectors snapshot-origin /dev/mapper/data-real"
fio --name=w --filename=/dev/mapper/data-snap --direct=1 --bs=4k --rw=write --size=2m --thread --minimal >/dev/null
fio --name=w --filename=/dev/mapper/data-snap --direct=1 --bs=4k --rw=randwrite --offset=4m --size=8m --io_size=900k \
    --randseed=7 --thread --minimal >/dev/null
for device in real cow; do
  disk=0; [ $device = real ] || disk=1
  dmsetup load data-$device --table "0 $sectors delay /dev/ram$disk 0 6"
  dmsetup suspend --noflush --nolockfs data-$device; dmsetup resume data-$device
done
merge-ctl start --yes --output json --stall-after 1s --record merge.mrec data-snap >live.jsonl &
merge=$!
# Preflight refuses what is suspended: the merge has to go on first.
until grep -q '"type":"run"' live.jsonl; do sleep 1; done
fio --name=app --filename=/dev/mapper/data --direct=1 --bs=4k --rw=randwrite --ioengine=libaio --iodepth=4 --rate_iops=60 \
    --time_based --runtime=5 --size=16m --randseed=9 --thread --minimal >/dev/null &
sleep 3
dmsetup suspend --noflush --nolockfs data-cow; sleep 3; dmsetup resume data-cow
wait $merge
sleep 1
tar cf - merge.mrec live.jsonl >&3
