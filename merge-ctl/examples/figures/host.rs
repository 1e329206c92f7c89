//! A host with many snapshots, and with merges that go on for minutes.

use anyhow::Result;
use merge_ctl::dm::Control;

use super::disk::Disk;
use super::made::Made;
use super::merging::{Device, merge_table};

/// Snapshots of one origin.
const A_FAMILY: usize = 10;
const ORIGIN_MIB: u64 = 8;
const COW_MIB: u64 = 1;
/// A merge of so many runs takes minutes on a disk of this latency.
const SLOW: Made = Made { chunk_kib: 4, run_chunks: 1, runs: 6_000 };
const SLOW_US: u64 = 8_000;
const SLOW_MIB: u64 = 50;

/// What has been made. It goes in the order in which it stands here: what lies above first.
pub(crate) struct LargeHost<'a> {
    merges: Vec<Device<'a>>,
    #[expect(dead_code, reason = "held until it is dropped")]
    above: Vec<Device<'a>>,
    #[expect(dead_code, reason = "held until it is dropped")]
    below: Vec<Device<'a>>,
    disks: Vec<Disk>,
}

impl<'a> LargeHost<'a> {
    pub(crate) fn new(control: &'a Control, snapshots: usize, merges: usize) -> Result<Self> {
        let families = snapshots.div_ceil(A_FAMILY) as u64;
        let mib = families * ORIGIN_MIB + snapshots as u64 * COW_MIB;
        let disk = Disk::new("many", mib.max(1), 0)?;
        let (mut below, mut above, mut next_mib) = (Vec::new(), Vec::new(), 0);
        let mut slice = |name: String, mib: u64| -> Result<String> {
            let table = format!("0 {} linear {} {}", mib * 2048, disk.name(), next_mib * 2048);
            next_mib += mib;
            below.push(Device::new(control, &name, &table)?);
            Ok(format!("/dev/mapper/{name}"))
        };
        let sectors = ORIGIN_MIB * 2048;
        for number in 0..snapshots {
            let family = number / A_FAMILY;
            let real = format!("/dev/mapper/many{family:02}-real");
            if number % A_FAMILY == 0 {
                slice(format!("many{family:02}-real"), ORIGIN_MIB)?;
                let table = format!("0 {sectors} snapshot-origin {real}");
                above.push(Device::new(control, &format!("many{family:02}"), &table)?);
            }
            let name = format!("many{family:02}-snap{}", number % A_FAMILY);
            let cow = slice(format!("{name}-cow"), COW_MIB)?;
            let table = format!("0 {sectors} snapshot {real} {cow} P 8");
            above.push(Device::new(control, &name, &table)?);
        }
        let mut host = Self { merges: Vec::new(), above, below, disks: vec![disk] };
        for number in 0..merges {
            host.begin_merge(control, number)?;
        }
        Ok(host)
    }

    fn begin_merge(&mut self, control: &'a Control, number: usize) -> Result<()> {
        let disk = |what| Disk::new(&format!("slow{number}-{what}"), SLOW_MIB, SLOW_US);
        let (real, cow) = (disk("real")?, disk("cow")?);
        SLOW.write(&cow)?;
        let table = merge_table(SLOW, &real, &cow);
        self.merges.push(Device::new(control, &format!("slow{number}"), &table)?);
        self.disks.extend([real, cow]);
        Ok(())
    }
}
