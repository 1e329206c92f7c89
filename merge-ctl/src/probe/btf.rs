//! Just enough of BTF, the kernel's description of its own types, to find where a field lies.
//!
//! The bytes come from the running kernel (`/sys/kernel/btf`), but nothing here trusts them: every
//! read is checked against the end, every walk through types has a limit. Split BTF (a module's) is
//! read together with its base (the kernel's). Format: the kernel's `Documentation/bpf/btf.rst`.

use std::fs;
use std::io;
use std::ops::Range;
use std::path::Path;

use thiserror::Error;

const MAGIC: u16 = 0xeb9f;
const TYPE_BYTES: usize = 12;
const MEMBER_BYTES: usize = 12;
/// How many types a walk goes through at most: no real chain of modifiers comes near.
const MAX_STEPS: usize = 32;

/// `BTF_KIND_*`, those that matter here.
mod kind {
    pub(super) const PTR: u32 = 2;
    pub(super) const STRUCT: u32 = 4;
    pub(super) const UNION: u32 = 5;
    pub(super) const TYPEDEF: u32 = 8;
    pub(super) const VOLATILE: u32 = 9;
    pub(super) const CONST: u32 = 10;
    pub(super) const RESTRICT: u32 = 11;
    pub(super) const FUNC_PROTO: u32 = 13;
    pub(super) const TYPE_TAG: u32 = 18;
}

/// Why BTF could not be read.
#[derive(Debug, Error)]
pub(super) enum BtfError {
    /// The file could not be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Which file.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// The bytes are not BTF of this machine, or end too early.
    #[error("damaged type information at byte {at}")]
    Damaged {
        /// Where.
        at: usize,
    },
    /// A kind of type that did not exist when this was written; its length is not known.
    #[error("unknown kind of type {kind}")]
    UnknownKind {
        /// Its number.
        kind: u32,
    },
}

/// The types of a kernel, or of a module on top of its kernel's.
pub(super) struct Btf<'base> {
    bytes: Vec<u8>,
    strings: Range<usize>,
    /// Where each type begins, by its number less `first_id`.
    types: Vec<usize>,
    first_id: usize,
    base: Option<&'base Btf<'base>>,
}

/// One type's fixed part.
#[derive(Clone, Copy)]
struct Head {
    name: u32,
    kind: u32,
    /// How many members, parameters and so on follow.
    count: usize,
    /// Whether the members' offsets carry the size of a bit field.
    bit_fields: bool,
    /// The type referred to, for those that refer to one.
    target: usize,
}

impl<'base> Btf<'base> {
    /// Reads a file of `/sys/kernel/btf`; `base` is the kernel's own where the file is a module's.
    ///
    /// # Errors
    /// The file cannot be read, or is not whole.
    pub(super) fn read(path: &Path, base: Option<&'base Btf<'base>>) -> Result<Self, BtfError> {
        let bytes = fs::read(path)
            .map_err(|source| BtfError::Read { path: path.display().to_string(), source })?;
        Self::parse(bytes, base)
    }

    /// Reads BTF.
    ///
    /// # Errors
    /// The bytes are not BTF in this machine's byte order, or not whole.
    pub(super) fn parse(bytes: Vec<u8>, base: Option<&'base Btf<'base>>) -> Result<Self, BtfError> {
        if u16_at(&bytes, 0)? != MAGIC {
            return Err(BtfError::Damaged { at: 0 });
        }
        let header = u32_at(&bytes, 4)? as usize;
        let types = section(&bytes, header, 8)?;
        let strings = section(&bytes, header, 16)?;
        let types = index(&bytes[..types.end], types.start)?;
        // Type 0 is `void`, in no file.
        let first_id = base.map_or(1, Btf::end_id);
        Ok(Self { bytes, strings, types, first_id, base })
    }

    /// How many bytes from its start a struct's member lies; `member` may go through structs inside
    /// (`bi_iter.bi_sector`) and finds members of structs and unions without a name.
    ///
    /// Nothing where there is no such struct or member, or where it is a bit field.
    pub(super) fn offset(&self, structure: &str, member: &str) -> Option<u64> {
        let mut id = self.find(kind::STRUCT, structure)?;
        let mut bits = 0;
        for name in member.split('.') {
            let (more, target) = self.member(id, name, MAX_STEPS)?;
            bits += more;
            id = self.resolve(target);
        }
        (bits % 8 == 0).then_some(bits / 8)
    }

    /// How many arguments a tracepoint hands out: `btf_trace_<name>` is a pointer to a function that
    /// takes them after one of its own.
    pub(super) fn tracepoint_arguments(&self, name: &str) -> Option<usize> {
        let id = self.find(kind::TYPEDEF, &format!("btf_trace_{name}"))?;
        let pointer = self.head(self.resolve(id))?;
        let function = self.head(self.resolve(pointer.target))?;
        (pointer.kind == kind::PTR && function.kind == kind::FUNC_PROTO)
            .then(|| function.count.saturating_sub(1))
    }

    /// The number of a named type; the module's own before its base's.
    fn find(&self, kind: u32, name: &str) -> Option<usize> {
        let own = (self.first_id..self.end_id()).find(|id| {
            self.head(*id).is_some_and(|head| head.kind == kind && self.is_named(head.name, name))
        });
        own.or_else(|| self.base?.find(kind, name))
    }

    /// A member's offset in bits, and its type.
    fn member(&self, id: usize, name: &str, steps: usize) -> Option<(u64, usize)> {
        let head = self.head(id)?;
        if steps == 0 || !matches!(head.kind, kind::STRUCT | kind::UNION) {
            return None;
        }
        (0..head.count).find_map(|index| {
            let (own_name, target, bits) = self.raw_member(id, index, head.bit_fields)?;
            if self.is_named(own_name, name) {
                return Some((bits, target));
            }
            if !self.is_named(own_name, "") {
                return None;
            }
            let (inner, target) = self.member(self.resolve(target), name, steps - 1)?;
            Some((bits + inner, target))
        })
    }

    /// A member's name, type and offset in bits.
    fn raw_member(&self, id: usize, index: usize, bit_fields: bool) -> Option<(u32, usize, u64)> {
        let (file, at) = self.place(id)?;
        let at = at + TYPE_BYTES + index * MEMBER_BYTES;
        let offset = u32_at(&file.bytes, at + 8).ok()?;
        let bits = if bit_fields { offset & 0xff_ffff } else { offset };
        Some((
            u32_at(&file.bytes, at).ok()?,
            u32_at(&file.bytes, at + 4).ok()? as usize,
            u64::from(bits),
        ))
    }

    /// The type behind names and qualifiers.
    fn resolve(&self, mut id: usize) -> usize {
        for _ in 0..MAX_STEPS {
            match self.head(id) {
                Some(head) if is_modifier(head.kind) => id = head.target,
                _ => break,
            }
        }
        id
    }

    fn head(&self, id: usize) -> Option<Head> {
        let (file, at) = self.place(id)?;
        Head::at(&file.bytes, at).ok()
    }

    /// The file that a type is in, and where.
    fn place(&self, id: usize) -> Option<(&Btf<'base>, usize)> {
        match id.checked_sub(self.first_id) {
            Some(index) => Some((self, *self.types.get(index)?)),
            None => self.base?.place(id),
        }
    }

    /// Whether the string at `place` is `name`. A module's strings follow those of its base.
    fn is_named(&self, place: u32, name: &str) -> bool {
        let place = place as usize;
        let Some(place) = place.checked_sub(self.base_strings()) else {
            return self.base.is_some_and(|base| base.is_named(place as u32, name));
        };
        let strings = &self.bytes[self.strings.clone()];
        strings
            .get(place..)
            .and_then(|rest| rest.strip_prefix(name.as_bytes()))
            .is_some_and(|rest| rest.first() == Some(&0))
    }

    fn base_strings(&self) -> usize {
        self.base.map_or(0, |base| base.base_strings() + base.strings.len())
    }

    fn end_id(&self) -> usize {
        self.first_id + self.types.len()
    }
}

impl Head {
    fn at(bytes: &[u8], at: usize) -> Result<Self, BtfError> {
        let info = u32_at(bytes, at + 4)?;
        Ok(Self {
            name: u32_at(bytes, at)?,
            kind: info >> 24 & 0x1f,
            count: (info & 0xffff) as usize,
            bit_fields: info >> 31 != 0,
            target: u32_at(bytes, at + 8)? as usize,
        })
    }

    /// How many bytes follow the fixed part.
    fn more_bytes(self) -> Result<usize, BtfError> {
        match self.kind {
            // Pointer, forward, typedef, volatile, const, restrict, function, float, type tag.
            2 | 7..=12 | 16 | 18 => Ok(0),
            // Integer, variable, declaration tag.
            1 | 14 | 17 => Ok(4),
            // Array.
            3 => Ok(12),
            // Enum, function prototype.
            6 | 13 => Ok(8 * self.count),
            // Struct, union, section, 64-bit enum.
            4 | 5 | 15 | 19 => Ok(12 * self.count),
            kind => Err(BtfError::UnknownKind { kind }),
        }
    }
}

fn is_modifier(kind: u32) -> bool {
    matches!(kind, kind::TYPEDEF | kind::VOLATILE | kind::CONST | kind::RESTRICT | kind::TYPE_TAG)
}

/// Where each type begins, from `at` to the end of `bytes`.
fn index(bytes: &[u8], mut at: usize) -> Result<Vec<usize>, BtfError> {
    let mut types = Vec::new();
    while at < bytes.len() {
        types.push(at);
        at += TYPE_BYTES + Head::at(bytes, at)?.more_bytes()?;
    }
    if at == bytes.len() { Ok(types) } else { Err(BtfError::Damaged { at }) }
}

/// A section, from its offset (counted from the header's end) and length at `at` in the header.
fn section(bytes: &[u8], header: usize, at: usize) -> Result<Range<usize>, BtfError> {
    let start = header + u32_at(bytes, at)? as usize;
    let end = start + u32_at(bytes, at + 4)? as usize;
    if end <= bytes.len() { Ok(start..end) } else { Err(BtfError::Damaged { at }) }
}

fn u16_at(bytes: &[u8], at: usize) -> Result<u16, BtfError> {
    let two = bytes.get(at..at + 2).and_then(|two| two.try_into().ok());
    two.map(u16::from_ne_bytes).ok_or(BtfError::Damaged { at })
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32, BtfError> {
    let four = bytes.get(at..at + 4).and_then(|four| four.try_into().ok());
    four.map(u32::from_ne_bytes).ok_or(BtfError::Damaged { at })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    /// BTF as it is put together in a test.
    #[derive(Default)]
    struct Builder {
        types: Vec<u8>,
        strings: Vec<u8>,
        names: HashMap<String, u32>,
        strings_before: u32,
    }

    impl Builder {
        fn new() -> Self {
            Self { strings: vec![0], ..Self::default() }
        }

        fn on_top_of(base: &Btf<'_>) -> Self {
            Self { strings_before: base.strings.len() as u32, ..Self::default() }
        }

        fn name(&mut self, name: &str) -> u32 {
            if name.is_empty() {
                return 0;
            }
            let place = self.strings_before + self.strings.len() as u32;
            *self.names.entry(name.to_owned()).or_insert_with(|| {
                self.strings.extend(name.as_bytes());
                self.strings.push(0);
                place
            })
        }

        fn words(mut self, words: &[u32]) -> Self {
            self.types.extend(words.iter().flat_map(|word| word.to_ne_bytes()));
            self
        }

        /// A type without members: its kind, and the type that it refers to.
        fn plain(mut self, kind: u32, name: &str, target: u32) -> Self {
            let name = self.name(name);
            self.words(&[name, kind << 24, target])
        }

        /// A struct or union; members are a name, a type and an offset in bits.
        fn composite(mut self, kind: u32, name: &str, members: &[(&str, u32, u32)]) -> Self {
            let name = self.name(name);
            self = self.words(&[name, kind << 24 | members.len() as u32, 0]);
            for (member, target, bits) in members {
                let member = self.name(member);
                self = self.words(&[member, *target, *bits]);
            }
            self
        }

        fn bytes(self) -> Vec<u8> {
            let mut bytes = Vec::new();
            bytes.extend(MAGIC.to_ne_bytes());
            bytes.extend([1, 0]);
            let (types, strings) = (self.types.len() as u32, self.strings.len() as u32);
            for word in [24, 0, types, types, strings] {
                bytes.extend(u32::to_ne_bytes(word));
            }
            bytes.extend(self.types);
            bytes.extend(self.strings);
            bytes
        }
    }

    /// 1: an integer; 2: bvec_iter; 3: const bvec_iter; 4: a union without a name; 5: bio;
    /// 6: a tracepoint's function; 7: a pointer to it; 8: its typedef.
    fn vmlinux() -> Vec<u8> {
        Builder::new()
            .plain(1, "sector_t", 8)
            .words(&[64])
            .composite(kind::STRUCT, "bvec_iter", &[("bi_sector", 1, 0), ("bi_size", 1, 64)])
            .plain(kind::CONST, "", 2)
            .composite(kind::UNION, "", &[("bi_next", 1, 0), ("bi_bdev", 1, 0)])
            .composite(kind::STRUCT, "bio", &[("opf", 1, 0), ("", 4, 64), ("bi_iter", 3, 256)])
            .words(&[0, kind::FUNC_PROTO << 24 | 2, 0, 0, 1, 0, 5])
            .plain(kind::PTR, "", 6)
            .plain(kind::TYPEDEF, "btf_trace_block_bio_queue", 7)
            .bytes()
    }

    #[test]
    fn members_are_found_through_structs_unions_and_qualifiers() {
        let btf = Btf::parse(vmlinux(), None).unwrap();
        assert_eq!(btf.offset("bio", "opf"), Some(0));
        assert_eq!(btf.offset("bio", "bi_bdev"), Some(8));
        assert_eq!(btf.offset("bio", "bi_iter.bi_size"), Some(40));
        assert_eq!(btf.offset("bio", "bi_iter.bi_bdev"), None);
        assert_eq!(btf.offset("bio", "bi"), None);
        assert_eq!(btf.offset("bi", "opf"), None);
    }

    #[test]
    fn a_tracepoint_tells_how_many_arguments_it_has() {
        let btf = Btf::parse(vmlinux(), None).unwrap();
        assert_eq!(btf.tracepoint_arguments("block_bio_queue"), Some(1));
        assert_eq!(btf.tracepoint_arguments("block_bio_complete"), None);
    }

    #[test]
    fn a_module_has_its_own_types_and_its_kernels() {
        let base = Btf::parse(vmlinux(), None).unwrap();
        let module = Builder::on_top_of(&base)
            .composite(kind::STRUCT, "dm_snapshot", &[("cow", 5, 128), ("inner", 5, 192)])
            .bytes();
        let module = Btf::parse(module, Some(&base)).unwrap();
        assert_eq!(module.offset("dm_snapshot", "cow"), Some(16));
        assert_eq!(module.offset("dm_snapshot", "inner.bi_iter.bi_sector"), Some(24 + 32));
        assert_eq!(module.offset("bio", "bi_bdev"), Some(8));
        assert_eq!(base.offset("dm_snapshot", "cow"), None);
    }

    #[test]
    fn a_bit_field_has_no_offset() {
        let bytes = Builder::new()
            .plain(1, "int", 4)
            .words(&[32])
            .composite(kind::STRUCT, "flags", &[("first", 1, 0), ("second", 1, 3)])
            .bytes();
        let btf = Btf::parse(bytes, None).unwrap();
        assert_eq!(btf.offset("flags", "second"), None);
    }

    #[test]
    fn a_struct_inside_itself_ends() {
        let bytes = Builder::new().composite(kind::STRUCT, "self", &[("", 1, 0)]).bytes();
        assert_eq!(Btf::parse(bytes, None).unwrap().offset("self", "x"), None);
        let bytes = Builder::new().plain(kind::TYPEDEF, "loop", 1).bytes();
        assert_eq!(Btf::parse(bytes, None).unwrap().tracepoint_arguments("loop"), None);
    }

    #[test]
    fn damage_is_an_error_or_an_absence_never_a_panic() {
        let whole = vmlinux();
        for length in 0..whole.len() {
            assert!(Btf::parse(whole[..length].to_vec(), None).is_err(), "cut at {length}");
        }
        for at in 0..whole.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] = value;
                if let Ok(btf) = Btf::parse(bytes, None) {
                    _ = btf.offset("bio", "bi_iter.bi_size");
                    _ = btf.tracepoint_arguments("block_bio_queue");
                }
            }
        }
    }

    #[test]
    fn the_running_kernel_describes_its_bio() {
        let path = Path::new("/sys/kernel/btf/vmlinux");
        if !path.exists() {
            return;
        }
        let btf = Btf::read(path, None).unwrap();
        assert_eq!(btf.offset("list_head", "prev"), Some(8));
        let sector = btf.offset("bio", "bi_iter.bi_sector").unwrap();
        assert_eq!(btf.offset("bio", "bi_iter.bi_size"), Some(sector + 8));
        assert_eq!(btf.tracepoint_arguments("block_bio_complete"), Some(2));
    }
}
