//! Device-mapper names and UUIDs of logical volumes. Pure.
//!
//! A name is `vg-lv` or `vg-lv-layer`, with the hyphens inside volume group and volume doubled; a
//! UUID is `LVM-`, 32 characters of the group, 32 of the volume, and `-layer` where there is one.
//! A layer is written with one hyphen.

use std::fmt;

const UUID_PREFIX: &str = "LVM-";
const ID_CHARS: usize = 32;

/// What a device is in the stack of its logical volume.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Layer {
    /// What users see.
    Top,
    /// `-real`: holds an origin's data.
    Real,
    /// `-cow`: holds a snapshot's exceptions.
    Cow,
    /// Any other, by its suffix.
    Other(String),
}

impl Layer {
    fn parse(suffix: Option<&str>) -> Self {
        match suffix {
            None => Self::Top,
            Some("real") => Self::Real,
            Some("cow") => Self::Cow,
            Some(other) => Self::Other(other.to_owned()),
        }
    }

    fn suffix(&self) -> Option<&str> {
        match self {
            Self::Top => None,
            Self::Real => Some("real"),
            Self::Cow => Some("cow"),
            Self::Other(suffix) => Some(suffix),
        }
    }
}

/// A device's name, taken apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct VolumeName {
    /// The volume group.
    pub vg: String,
    /// The logical volume.
    pub lv: String,
    /// Its layer.
    pub layer: Layer,
}

impl VolumeName {
    /// A volume as users name it.
    pub fn new(vg: impl Into<String>, lv: impl Into<String>) -> Self {
        Self { vg: vg.into(), lv: lv.into(), layer: Layer::Top }
    }

    /// From a device-mapper name; nothing where it cannot be one of LVM. That it can does not mean
    /// that it is: the UUID tells.
    pub fn from_dm(name: &str) -> Option<Self> {
        let parts = split_at_single_hyphens(name);
        let ([vg, lv] | [vg, lv, _]) = parts.as_slice() else { return None };
        if vg.is_empty() || lv.is_empty() || parts.get(2).is_some_and(String::is_empty) {
            return None;
        }
        let layer = Layer::parse(parts.get(2).map(String::as_str));
        Some(Self { vg: vg.clone(), lv: lv.clone(), layer })
    }

    /// The device-mapper name.
    pub fn to_dm(&self) -> String {
        let double = |part: &str| part.replace('-', "--");
        let top = format!("{}-{}", double(&self.vg), double(&self.lv));
        match self.layer.suffix() {
            None => top,
            Some(layer) => format!("{top}-{layer}"),
        }
    }
}

/// `vg/lv`, with the layer behind it where it is not what users see.
impl fmt::Display for VolumeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.vg, self.lv)?;
        self.layer.suffix().map_or(Ok(()), |layer| write!(f, "-{layer}"))
    }
}

/// Cuts at hyphens that stand alone, and halves the pairs.
fn split_at_single_hyphens(name: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut letters = name.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter == '-' && letters.next_if_eq(&'-').is_none() {
            parts.push(String::new());
        } else if let Some(part) = parts.last_mut() {
            part.push(letter);
        }
    }
    parts
}

/// The UUID of a device of LVM, taken apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct VolumeUuid {
    /// The volume group's identifier.
    pub vg: String,
    /// The logical volume's identifier.
    pub lv: String,
    /// Its layer.
    pub layer: Layer,
}

impl VolumeUuid {
    /// From a device's UUID; nothing where it is not one of a logical volume.
    pub fn parse(uuid: &str) -> Option<Self> {
        let rest = uuid.strip_prefix(UUID_PREFIX)?;
        let (vg, rest) = rest.split_at_checked(ID_CHARS)?;
        let (lv, rest) = rest.split_at_checked(ID_CHARS)?;
        let is_id = |id: &str| id.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let layer = match rest.split_at_checked(1) {
            None => Layer::Top,
            Some(("-", suffix)) if !suffix.is_empty() => Layer::parse(Some(suffix)),
            Some(_) => return None,
        };
        (is_id(vg) && is_id(lv)).then(|| Self { vg: vg.into(), lv: lv.into(), layer })
    }
}

impl fmt::Display for VolumeUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{UUID_PREFIX}{}{}", self.vg, self.lv)?;
        self.layer.suffix().map_or(Ok(()), |layer| write!(f, "-{layer}"))
    }
}

/// Whether a device is LVM's. Anything that claims to be counts, also what cannot be taken apart: a
/// device that may be LVM's is not changed behind its back.
pub fn is_lvm(uuid: &str) -> bool {
    uuid.starts_with(UUID_PREFIX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_of_lvm_are_taken_apart() {
        for (dm, shown) in [
            ("vg-data", "vg/data"),
            ("vg-data-real", "vg/data-real"),
            ("my--vg-a--b-cow", "my-vg/a-b-cow"),
            ("vg-data--real", "vg/data-real"),
        ] {
            let name = VolumeName::from_dm(dm).unwrap();
            assert_eq!((name.to_string().as_str(), name.to_dm().as_str()), (shown, dm));
        }
        assert_eq!(VolumeName::from_dm("vg-data--real").unwrap().layer, Layer::Top);
        for dm in ["", "data", "-data", "vg-", "a-b-c-d", "a--b"] {
            assert_eq!(VolumeName::from_dm(dm), None, "{dm}");
        }
    }

    #[test]
    fn uuids_tell_the_owner_and_the_layer() {
        let (vg, lv) = ("a".repeat(32), "B".repeat(32));
        let uuid = VolumeUuid::parse(&format!("LVM-{vg}{lv}-cow")).unwrap();
        assert_eq!((uuid.layer.clone(), uuid.lv.clone()), (Layer::Cow, lv.clone()));
        assert_eq!(uuid.to_string(), format!("LVM-{vg}{lv}-cow"));
        assert_eq!(VolumeUuid::parse(&format!("LVM-{vg}{lv}")).unwrap().layer, Layer::Top);
        for other in ["", "LVM-", "CRYPT-LUKS2-x", &format!("LVM-{vg}{lv}cow"), "LVM-é"] {
            assert_eq!(VolumeUuid::parse(other), None, "{other}");
        }
        assert!(is_lvm("LVM-broken") && !is_lvm("mpath-1"));
    }

    /// What lvm2 takes as a name: no hyphen in front; `_` and `.` and the like are as letters here.
    const NAME: &str = "[a-zA-Z0-9_+.][a-zA-Z0-9_+.-]{0,12}";

    proptest! {
        #[test]
        fn names_round_trip(vg in NAME, lv in NAME, layer in prop::sample::select(
            vec![Layer::Top, Layer::Real, Layer::Cow, Layer::Other("tpool".into())])
        ) {
            let name = VolumeName { vg, lv, layer };
            prop_assert_eq!(VolumeName::from_dm(&name.to_dm()), Some(name));
        }

        #[test]
        fn no_text_panics(text in ".{0,90}") {
            if let Some(name) = VolumeName::from_dm(&text) {
                prop_assert_eq!(name.to_dm(), text.clone());
            }
            if let Some(uuid) = VolumeUuid::parse(&text) {
                prop_assert_eq!(uuid.to_string(), text);
            }
        }
    }
}
