//! A bio-based block device of our own, as fast as memory, for as long as a bench lasts: zram, or
//! brd where there is no zram. A device that was there before is never touched.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::run::Command;

const ZRAM_CONTROL: &str = "/sys/class/zram-control";
const BYTES: u64 = 256 * 1024 * 1024;

/// The device. Dropping it takes it away.
pub(super) struct RamDevice {
    kind: Kind,
    name: String,
}

#[derive(Clone, Copy)]
enum Kind {
    Zram,
    Brd,
}

/// A device number.
#[derive(Clone, Copy)]
pub(super) struct Number {
    pub(super) major: u32,
    pub(super) minor: u32,
}

impl Number {
    /// As the kernel's tracepoints tell it.
    pub(super) fn of_tracepoints(self) -> u32 {
        self.major << 20 | self.minor
    }

    /// A device of the same driver that nobody uses: most likely there is none of that number.
    pub(super) fn neighbour(self) -> Self {
        Self { minor: self.minor + 1, ..self }
    }
}

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

impl RamDevice {
    /// Makes one.
    pub(super) fn new() -> Result<Self> {
        // Where it is built in, there is no module; where it is neither, brd remains.
        let zram = Path::new(ZRAM_CONTROL).is_dir()
            || Command::new("modprobe").arg("zram").quietly().is_ok();
        if zram { Self::zram() } else { Self::brd() }
    }

    fn zram() -> Result<Self> {
        // Reading this file makes a device.
        let number = fs::read_to_string(format!("{ZRAM_CONTROL}/hot_add"))
            .context("the kernel makes no zram device")?;
        let device = Self { kind: Kind::Zram, name: format!("zram{}", number.trim()) };
        device.set("disksize", &BYTES.to_string())?;
        Ok(device)
    }

    fn brd() -> Result<Self> {
        if Path::new("/sys/block/ram0").exists() {
            bail!("there is no zram, and the RAM disks of brd may be in use: unload brd first");
        }
        let size = format!("rd_size={}", BYTES / 1024);
        Command::new("modprobe")
            .args(["brd", "rd_nr=1", &size])
            .quietly()
            .context("the kernel has neither zram nor brd")?;
        Ok(Self { kind: Kind::Brd, name: "ram0".to_owned() })
    }

    /// What it is, for readers.
    pub(super) fn kind(&self) -> &'static str {
        match self.kind {
            Kind::Zram => "zram, pages of zeros",
            Kind::Brd => "brd",
        }
    }

    /// Its node.
    pub(super) fn path(&self) -> PathBuf {
        Path::new("/dev").join(&self.name)
    }

    /// Its number.
    pub(super) fn number(&self) -> Result<Number> {
        let text = fs::read_to_string(self.sysfs("dev"))?;
        let (major, minor) = text.trim().split_once(':').context("no device number")?;
        Ok(Number { major: major.parse()?, minor: minor.parse()? })
    }

    fn sysfs(&self, file: &str) -> PathBuf {
        Path::new("/sys/block").join(&self.name).join(file)
    }

    fn set(&self, file: &str, value: &str) -> Result<()> {
        let file = self.sysfs(file);
        fs::write(&file, value).with_context(|| format!("cannot write {}", file.display()))
    }

    fn remove(&self) -> Result<()> {
        match self.kind {
            Kind::Zram => {
                self.set("reset", "1")?;
                let number = self.name.trim_start_matches("zram");
                fs::write(format!("{ZRAM_CONTROL}/hot_remove"), number)
                    .context("the kernel keeps the device")
            }
            Kind::Brd => Command::new("modprobe").args(["-r", "brd"]).quietly(),
        }
    }
}

impl Drop for RamDevice {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            eprintln!("warning: {} is still there: {error:#}", self.path().display());
        }
    }
}
