//! Whole, cut, damaged and invented files.

use proptest::prelude::*;

use super::frame::preamble_of;
use super::*;

/// Records that hardly pack, of a frame.
fn records(seed: u64, length: usize) -> Vec<u8> {
    let mut word = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = |_| {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        word as u8
    };
    (0..length).map(next).collect()
}

/// A file of groups of four frames, the places where frames begin, and what they hold.
fn file(frames: u64) -> (Vec<u8>, Vec<usize>, Vec<Vec<u8>>) {
    let (mut packer, mut bytes) = (Packer::default(), preamble().to_vec());
    let (mut places, mut held) = (Vec::new(), Vec::new());
    for i in 0..frames {
        let records = records(i / 2, 300 + 10 * i as usize);
        places.push(bytes.len());
        bytes.extend(packer.frame(i % 4 == 0, i, &records).unwrap());
        held.push(records);
    }
    places.push(bytes.len());
    (bytes, places, held)
}

fn read(bytes: &[u8]) -> Vec<Block> {
    let mut reader = Reader::open(bytes).unwrap();
    std::iter::from_fn(|| reader.next_block().unwrap()).collect()
}

fn times(blocks: &[Block]) -> Vec<u64> {
    let time = |block: &Block| match block {
        Block::Records { at_ns, .. } => Some(*at_ns),
        Block::Fault(_) => None,
    };
    blocks.iter().filter_map(time).collect()
}

fn faults(blocks: &[Block]) -> Vec<Fault> {
    let fault = |block: &Block| match block {
        Block::Fault(fault) => Some(fault.clone()),
        Block::Records { .. } => None,
    };
    blocks.iter().filter_map(fault).collect()
}

#[test]
fn what_was_written_is_read() {
    let (bytes, places, held) = file(10);
    let blocks = read(&bytes);
    assert_eq!(blocks.len(), 10);
    for (i, block) in blocks.into_iter().enumerate() {
        let Block::Records { from, until, key, at_ns, bytes } = block else { panic!("{block:?}") };
        assert_eq!((from as usize, until as usize), (places[i], places[i + 1]));
        assert_eq!((key, at_ns, &bytes), (i % 4 == 0, i as u64, &held[i]));
    }
}

#[test]
fn what_comes_again_within_a_group_costs_little() {
    let records = records(1, 9_000);
    let mut packer = Packer::default();
    let first = packer.frame(true, 0, &records).unwrap().len();
    let again = packer.frame(false, 1, &records).unwrap().len();
    assert!(first > 9_000 && again < 300, "{first} and then {again}");
    assert!(packer.frame(true, 2, &records).unwrap().len() > 9_000);
}

#[test]
fn a_file_that_is_cut_anywhere_is_read_up_to_the_last_whole_frame() {
    let (bytes, places, _) = file(9);
    for length in PREAMBLE_BYTES..bytes.len() {
        let blocks = read(&bytes[..length]);
        let whole = places.iter().filter(|&&place| place <= length).count() as u64 - 1;
        assert_eq!(times(&blocks), (0..whole).collect::<Vec<_>>(), "{length}");
        let faults = faults(&blocks);
        let cut = !places.contains(&length);
        assert_eq!(faults.len(), usize::from(cut), "{length}: {faults:?}");
        if let Some(fault) = faults.first() {
            assert_eq!(fault.from as usize, places[whole as usize]);
            assert_eq!((fault.until as usize, &fault.kind), (length, &FaultKind::CutOff));
        }
    }
}

#[test]
fn a_damaged_byte_costs_no_more_than_the_rest_of_its_group() {
    let (bytes, places, _) = file(12);
    for at in PREAMBLE_BYTES..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x55;
        let blocks = read(&damaged);
        let hit = places.iter().filter(|&&place| place <= at).count() as u64 - 1;
        let expected: Vec<u64> =
            (0..12).filter(|&frame| frame < hit || frame / 4 > hit / 4).collect();
        assert_eq!(times(&blocks), expected, "byte {at}");
        let faults = faults(&blocks);
        assert_eq!(faults[0].from as usize, places[hit as usize], "byte {at}: {faults:?}");
        let after = faults.get(1).map(|fault| fault.kind.clone());
        let last = hit % 4 == 3;
        assert_eq!(after, (!last).then_some(FaultKind::BuildsOnLost), "byte {at}: {faults:?}");
    }
}

#[test]
fn a_beginning_that_is_damaged_does_not_hide_the_rest() {
    let (bytes, ..) = file(5);
    for at in 0..PREAMBLE_BYTES {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x20;
        let blocks = read(&damaged);
        assert_eq!(times(&blocks), [0, 1, 2, 3, 4], "byte {at}");
        assert_eq!(faults(&blocks)[0].kind, FaultKind::Preamble);
    }
}

#[test]
fn what_is_no_recording_or_a_newer_one_is_refused() {
    let error = |bytes: &[u8]| Reader::open(bytes).err().unwrap();
    assert!(matches!(error(b""), OpenError::NoRecording));
    assert!(matches!(error(&[0; 4096]), OpenError::NoRecording));
    assert!(matches!(error(b"mctldump and much more of it"), OpenError::NoRecording));
    let newer = error(&preamble_of(VERSION + 1));
    assert!(matches!(newer, OpenError::TooNew { version: 2 }), "{newer}");
    assert!(newer.to_string().contains("use a newer merge-ctl"), "{newer}");
}

#[test]
fn frames_of_an_unknown_kind_are_left_out_and_harm_nothing() {
    let (mut odd, places, _) = file(3);
    // A frame is made an unknown one, with its checksum put right.
    odd[places[2] + 4] = 77;
    let sum = frame::checksum(&odd[places[2]..places[2] + 32]);
    odd[places[2] + 32..places[2] + 36].copy_from_slice(&sum.to_le_bytes());
    let blocks = read(&odd);
    assert_eq!((times(&blocks), faults(&blocks).len()), (vec![0, 1], 0));
}

#[test]
fn a_few_bytes_do_not_unpack_to_more_than_a_frame_may_hold() {
    let mut packer = Packer::default();
    assert!(packer.frame(true, 0, &vec![0; MAX_UNPACKED_BYTES + 1]).is_err());
    let frame = packer.frame(true, 0, &vec![0; MAX_UNPACKED_BYTES]).unwrap();
    let mut bytes = [&preamble()[..], &frame].concat();
    assert_eq!(times(&read(&bytes)), [0]);
    // It says that it holds less than it does.
    bytes[16 + 12..16 + 16].copy_from_slice(&1000_u32.to_le_bytes());
    let sum = frame::checksum(&bytes[16..48]);
    bytes[48..52].copy_from_slice(&sum.to_le_bytes());
    assert!(matches!(faults(&read(&bytes))[0].kind, FaultKind::Meaningless(_)));
}

proptest! {
    #[test]
    fn numbers_come_back(all in prop::collection::vec((any::<u64>(), any::<u64>()), 0..50)) {
        let mut bytes = Vec::new();
        for (a, b) in &all {
            numbers::put(&mut bytes, *a);
            numbers::put_change(&mut bytes, *a, *b);
        }
        let mut rest = &bytes[..];
        for (a, b) in all {
            prop_assert_eq!(numbers::take(&mut rest), Ok(a));
            prop_assert_eq!(numbers::take_change(&mut rest, a), Ok(b));
        }
        prop_assert!(rest.is_empty());
    }

    #[test]
    fn any_list_comes_of_any_other(
        before in prop::collection::vec(0_u8..12, 0..40),
        after in prop::collection::vec(0_u8..12, 0..40),
    ) {
        let mut bytes = Vec::new();
        let new: Vec<u8> = delta::put(&mut bytes, &before, &after).into_iter().copied().collect();
        let mut new = new.into_iter();
        let places = delta::take(&mut &bytes[..], before.len(), after.len()).unwrap();
        let told: Vec<u8> = places
            .into_iter()
            .map(|place| place.map_or_else(|| new.next().unwrap(), |place| before[place]))
            .collect();
        prop_assert_eq!(told, after);
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), known: bool) {
        let (whole, ..) = file(1);
        let bytes = if known { [&whole[..], &bytes].concat() } else { bytes };
        if let Ok(mut reader) = Reader::open(&bytes[..]) {
            while reader.next_block().unwrap().is_some() {}
        }
        let mut rest = &bytes[..];
        while numbers::take(&mut rest).is_ok() {}
        let _ = delta::take(&mut &bytes[..], 10, 20);
    }

    #[test]
    fn no_damage_panics(
        changes in prop::collection::vec((any::<u16>(), any::<u8>()), 1..20),
        cut in any::<u16>(),
    ) {
        let (mut bytes, ..) = file(6);
        for (at, value) in changes {
            let at = usize::from(at) % bytes.len();
            bytes[at] = value;
        }
        bytes.truncate(usize::from(cut).max(PREAMBLE_BYTES));
        if let Ok(mut reader) = Reader::open(&bytes[..]) {
            while reader.next_block().unwrap().is_some() {}
        }
    }
}
