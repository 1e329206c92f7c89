//! A writer of newc archives, the form in which the kernel takes its first root file system.
//!
//! Archives may be put one after the other: each is padded to a whole number of blocks. The
//! format: Documentation/driver-api/early-userspace/buffer-format.rst in the kernel's sources.

use std::collections::BTreeSet;
use std::path::{Component, Path};

/// Archives are padded to this many bytes, so that the next one starts aligned.
const BLOCK_BYTES: usize = 512;

const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

/// An archive in the making. Parent directories come by themselves; what is added twice counts
/// once.
#[derive(Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    names: BTreeSet<String>,
}

impl Archive {
    /// Adds a file with the permission bits of `mode`.
    pub(crate) fn file(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.add(name, REGULAR | (mode & 0o7777), (0, 0), content);
    }

    /// Adds a directory.
    pub(crate) fn directory(&mut self, name: &str) {
        self.add(name, DIRECTORY | 0o755, (0, 0), &[]);
    }

    /// Adds a symbolic link.
    pub(crate) fn symlink(&mut self, name: &str, to: &str) {
        self.add(name, SYMLINK | 0o777, (0, 0), to.as_bytes());
    }

    /// Adds a character device.
    pub(crate) fn character_device(&mut self, name: &str, major: u32, minor: u32) {
        self.add(name, CHARACTER_DEVICE | 0o600, (major, minor), &[]);
    }

    /// Whether `name` was added.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.names.contains(name.trim_start_matches('/'))
    }

    /// Ends the archive.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes.resize(self.bytes.len().next_multiple_of(BLOCK_BYTES), 0);
        self.bytes
    }

    fn add(&mut self, name: &str, mode: u32, device: (u32, u32), content: &[u8]) {
        let name = name.trim_start_matches('/');
        if !self.names.insert(name.to_owned()) {
            return;
        }
        for parent in parents(name) {
            self.directory(&parent);
        }
        self.entry(name, mode, device, content);
    }

    fn entry(&mut self, name: &str, mode: u32, (major, minor): (u32, u32), content: &[u8]) {
        let size = u32::try_from(content.len()).unwrap_or(u32::MAX);
        let name_size = u32::try_from(name.len() + 1).unwrap_or(u32::MAX);
        // Inode 0 for all: the kernel looks at it only where there is more than one link.
        let fields = [0, mode, 0, 0, 1, 0, size, 0, 0, major, minor, name_size, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend_from_slice(content);
        self.align();
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// The directories above `name`, outermost first.
fn parents(name: &str) -> Vec<String> {
    let mut path = String::new();
    let mut parents = Vec::new();
    let parent = Path::new(name).parent().unwrap_or(Path::new(""));
    for part in parent.components() {
        if let Component::Normal(part) = part {
            if !path.is_empty() {
                path.push('/');
            }
            path.push_str(&part.to_string_lossy());
            parents.push(path.clone());
        }
    }
    parents
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_come_before_the_file_and_only_once() {
        let mut archive = Archive::default();
        archive.file("/etc/lvm/lvm.conf", 0o644, b"x");
        archive.file("etc/hosts", 0o644, b"yy");
        let bytes = archive.finish();
        let text = String::from_utf8_lossy(&bytes);
        let order: Vec<_> = ["etc\0", "etc/lvm\0", "etc/lvm/lvm.conf\0", "etc/hosts\0"]
            .into_iter()
            .map(|name| text.find(name))
            .collect();
        assert!(order.iter().all(Option::is_some), "{order:?}");
        assert!(order.is_sorted(), "{order:?}");
        assert_eq!(text.matches("070701").count(), 5);
    }

    #[test]
    fn archives_can_follow_one_another() {
        let mut archive = Archive::default();
        archive.file("odd", 0o755, b"12345");
        assert_eq!(archive.finish().len() % BLOCK_BYTES, 0);
    }

    #[test]
    fn the_header_says_mode_and_size() {
        let mut archive = Archive::default();
        archive.file("a", 0o100_750, b"12345");
        let bytes = archive.finish();
        assert_eq!(&bytes[14..22], b"000081e8");
        assert_eq!(&bytes[54..62], b"00000005");
    }
}
