//! Reads the facts: the only place here that asks anybody anything. Nothing is changed. No module is
//! loaded: device-mapper's control device is opened only where the kernel has device-mapper already, as
//! opening it would load it. Probes are attached one by one and taken off again; a ring is made and
//! dropped. lvm2 is found and not run.

use std::env;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, IsTerminal, Read};
use std::path::Path;

use flate2::read::GzDecoder;
use rustix::fs::{Access, AtFlags, CWD};
use rustix::io::Errno;
use rustix::system::uname;

use super::facts::{DeviceMapper, Facts, Rights, Systemd, Terminal, Throttle, Udev};
use crate::dm::{Control, DmErrorKind, kernel_log, nodes, throttle};
use crate::harmless;
use crate::lvm::lvm2::Lvm;
use crate::merge::preflight::facts::MergeTarget;
use crate::merge::preflight::gather as preflight;
use crate::merge::preflight::gather::privilege::{Capabilities, is_confidential};
use crate::offline;
use crate::probe::survey::survey;
use crate::state_dir;
use crate::throttle::lease::Place;
use crate::view;

/// Where the kernel lists its devices without a driver of their own, device-mapper's control among
/// them (`drivers/char/misc.c`).
const MISC: &str = "/proc/misc";
/// The options that matter. Where one is not set, one of the other checks says what is missing.
const OPTIONS: [&str; 9] = [
    "CONFIG_BLK_DEV_DM",
    "CONFIG_DM_SNAPSHOT",
    "CONFIG_BPF_SYSCALL",
    "CONFIG_BPF_EVENTS",
    "CONFIG_KPROBE_EVENTS",
    "CONFIG_KALLSYMS",
    "CONFIG_DEBUG_INFO_BTF",
    "CONFIG_DEBUG_INFO_BTF_MODULES",
    "CONFIG_IO_URING",
];

/// All facts of this host, this process and its standard output.
pub fn all(systemd: Systemd) -> Facts {
    let rights = rights();
    let (device_mapper, merge_target) = device_mapper();
    Facts {
        kernel: Some(release()),
        options_not_set: options_not_set(&release()).ok(),
        modules: preflight::modules_directory().map(|it| (harmless::path(&it), it.is_dir())),
        rights,
        device_mapper,
        merge_target,
        lvm2: Lvm::find().ok().map(|lvm| harmless::path(lvm.program())),
        lasting: Some(preflight::state_directory(&state_dir::lasting())),
        of_this_boot: Some(preflight::state_directory(&state_dir::of_this_boot())),
        confidential: is_confidential(),
        probes: Some(survey(rights.is_some_and(|it| it.may_load))),
        kernel_log: Some(kernel_log::last_failure().map(drop).map_err(|error| error.to_string())),
        throttle: Some(throttle()),
        io_uring: Some(offline::try_uring().map_err(|error| error.to_string())),
        io_uring_disabled: number_in("/proc/sys/kernel/io_uring_disabled"),
        udev: Some(Udev { runs: nodes::udev_runs(), told_off: is_set("DM_DISABLE_UDEV") }),
        systemd: Some(systemd),
        terminal: terminal(),
    }
}

fn release() -> String {
    uname().release().to_string_lossy().into_owned()
}

fn number_in(path: &str) -> Option<u32> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn is_set(variable: &str) -> bool {
    env::var_os(variable).is_some_and(|value| !value.is_empty())
}

/// # Errors
/// The kernel keeps no configuration that can be read.
fn options_not_set(release: &str) -> io::Result<Vec<&'static str>> {
    let set = match File::open("/proc/config.gz") {
        Ok(packed) => set_in(GzDecoder::new(packed))?,
        Err(_) => set_in(File::open(Path::new("/boot").join(format!("config-{release}")))?)?,
    };
    Ok(OPTIONS.into_iter().filter(|option| !set.contains(option)).collect())
}

/// Those of the options that a configuration sets, as a module or built in.
fn set_in(text: impl Read) -> io::Result<Vec<&'static str>> {
    let mut set = Vec::new();
    for line in BufReader::new(text).lines() {
        let line = line?;
        let Some((name, "y" | "m")) = line.split_once('=') else { continue };
        set.extend(OPTIONS.into_iter().find(|option| *option == name));
    }
    Ok(set)
}

fn rights() -> Option<Rights> {
    let capabilities = Capabilities::of_this_process().ok()?;
    Some(Rights {
        privilege: capabilities.privilege(),
        may_load: capabilities.may_load(),
        may_see_addresses: capabilities.may_see_addresses(),
    })
}

fn device_mapper() -> (Option<DeviceMapper>, Option<MergeTarget>) {
    match is_registered() {
        None => (None, None),
        Some(false) => {
            let there = preflight::is_module_there;
            let target =
                if there("dm-snapshot") { MergeTarget::ToBeLoaded } else { MergeTarget::Missing };
            (Some(DeviceMapper::NotLoaded { can_be: there("dm-mod") }), Some(target))
        }
        Some(true) => ask_device_mapper(),
    }
}

/// Whether the kernel has device-mapper at this moment; none where it does not say.
fn is_registered() -> Option<bool> {
    let list = fs::read_to_string(MISC).ok()?;
    Some(list.lines().any(|line| line.split_ascii_whitespace().nth(1) == Some("device-mapper")))
}

fn ask_device_mapper() -> (Option<DeviceMapper>, Option<MergeTarget>) {
    match Control::open() {
        Ok(control) => {
            let target = preflight::merge_target(&control, &mut Vec::new());
            (Some(DeviceMapper::Answers(control.version())), target)
        }
        Err(error) if error.kind == DmErrorKind::Privilege => {
            (Some(DeviceMapper::NotPermitted), None)
        }
        Err(error) if error.errno == Some(Errno::NOENT) => (Some(DeviceMapper::NoNode), None),
        Err(error) => (Some(DeviceMapper::Fails(error.to_string())), None),
    }
}

fn throttle() -> Throttle {
    let place = Place::of_this_host();
    let holder = place.read().ok().flatten().filter(|lease| lease.holder.is_alive());
    let access = rustix::fs::accessat(CWD, place.knob().path(), Access::WRITE_OK, AtFlags::EACCESS);
    Throttle {
        percent: throttle::read().map_err(|error| error.to_string()),
        writable: access.is_ok(),
        holder: holder.map(|lease| (lease.holder.pid, harmless::printable(&lease.origin))),
    }
}

fn terminal() -> Option<Terminal> {
    if !io::stdout().is_terminal() {
        return None;
    }
    let size = crossterm::terminal::size().ok().filter(|(columns, rows)| *columns > 0 && *rows > 0);
    let kind = env::var_os("TERM").unwrap_or_default();
    Some(Terminal {
        size,
        has_room: size.is_some_and(|(columns, rows)| view::has_room(columns, rows)),
        dumb: kind.is_empty() || kind == "dumb",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_is_read_for_what_matters() {
        let text = "# CONFIG_BPF_EVENTS is not set\nCONFIG_BLK_DEV_DM=m\nCONFIG_DM_SNAPSHOT=m\n\
                    CONFIG_IO_URING=y\nCONFIG_BPF=y\nCONFIG_KPROBE_EVENTS=\"n\"\n";
        let set = set_in(text.as_bytes()).unwrap();
        assert_eq!(set, ["CONFIG_BLK_DEV_DM", "CONFIG_DM_SNAPSHOT", "CONFIG_IO_URING"]);
    }

    #[test]
    fn gathering_loads_no_module() {
        let loaded = || {
            let modules = fs::read_to_string("/proc/modules").unwrap_or_default();
            modules.lines().filter(|line| line.starts_with("dm_")).count()
        };
        let before = loaded();
        let facts = all(Systemd { runs: false, run: false });
        assert_eq!(loaded(), before);
        assert!(facts.kernel.is_some());
    }
}
