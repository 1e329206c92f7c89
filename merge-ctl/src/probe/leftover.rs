//! Probes that the kernel keeps in tracefs, where aya puts them there.
//!
//! On kernels whose version aya cannot read (release candidates of Debian: `7.3~rc7-1~exp1`) it takes the way of
//! kernels before 4.17: each kprobe is first made known in tracefs, under a name with our process number in it,
//! and outlives us. aya removes the name while the probe is still in use, which the kernel refuses (`EBUSY`,
//! `unregister_trace_kprobe` of kernel/trace/trace_kprobe.c). Here it is removed afterwards.
//!
//! What always holds: names of other processes stay, and so do those that are still in use.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

/// Where the kernel keeps them, by what is mounted.
const LISTS: [&str; 2] =
    ["/sys/kernel/tracing/kprobe_events", "/sys/kernel/debug/tracing/kprobe_events"];

/// Dropped, it removes what this process has left there: to be dropped after the programs.
pub(super) struct Leftover;

impl Drop for Leftover {
    fn drop(&mut self) {
        let Some(list) = LISTS.map(Path::new).into_iter().find(|list| list.exists()) else {
            return;
        };
        // Whoever may not read it has made none.
        let Ok(events) = fs::read_to_string(list) else { return };
        for name in of_process(&events, std::process::id()) {
            // One by one: the first that is still in use would keep the others.
            let open = File::options().append(true).open(list);
            // What cannot be removed is disabled, as aya leaves it, and costs nothing.
            drop(open.and_then(|mut list| list.write_all(format!("-:{name}\n").as_bytes())));
        }
    }
}

/// The events that aya has named after a process.
fn of_process(events: &str, pid: u32) -> impl Iterator<Item = &str> {
    let prefix = format!("kprobes/aya_{pid}_");
    let names = events.lines().filter_map(|line| line.split_once(':')?.1.split(' ').next());
    names.filter(move |name| name.starts_with(&prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_are_named() {
        let events = "p:kprobes/aya_135_p_merge_callback_0x0_3 merge_callback\n\
                      r10:kprobes/aya_13_r_merge_callback_0x0_4 merge_callback\n\
                      p:mine/probe do_sys_open\n\nodd\n";
        let names: Vec<_> = of_process(events, 13).collect();
        assert_eq!(names, ["kprobes/aya_13_r_merge_callback_0x0_4"]);
        assert_eq!(of_process(events, 5).count(), 0);
    }
}
