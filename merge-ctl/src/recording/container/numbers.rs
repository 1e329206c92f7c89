//! Numbers of any size in few bytes, and columns of them.
//!
//! A column holds one field of many rows: alike stands beside alike, which packs well.

/// Why bytes are no numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the numbers end too early, or are too large")]
pub struct NotNumbers;

/// Adds a number: seven bits a byte, the lowest first.
pub fn put(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Adds the difference of two numbers, which may be negative and wraps.
pub fn put_change(bytes: &mut Vec<u8>, from: u64, to: u64) {
    let change = to.wrapping_sub(from).cast_signed();
    put(bytes, ((change << 1) ^ (change >> 63)).cast_unsigned());
}

/// Takes a number from the front.
///
/// # Errors
/// Where there is none.
pub fn take(bytes: &mut &[u8]) -> Result<u64, NotNumbers> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or(NotNumbers)?;
        *bytes = rest;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return Err(NotNumbers);
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(NotNumbers)
}

/// Takes a difference, and gives what it leads to.
///
/// # Errors
/// Where there is none.
pub fn take_change(bytes: &mut &[u8], from: u64) -> Result<u64, NotNumbers> {
    Ok(changed(from, take(bytes)?))
}

/// What a difference, as [`take`] gives it, leads to.
pub const fn changed(from: u64, change: u64) -> u64 {
    from.wrapping_add((change >> 1) ^ (change & 1).wrapping_neg())
}

/// Takes a number that counts what stands behind it, each of `least` bytes at least.
///
/// # Errors
/// Where so many cannot stand there.
pub fn take_count(bytes: &mut &[u8], least: usize) -> Result<usize, NotNumbers> {
    let count = usize::try_from(take(bytes)?).map_err(|_| NotNumbers)?;
    let needed = count.checked_mul(least.max(1)).ok_or(NotNumbers)?;
    if needed > bytes.len() { Err(NotNumbers) } else { Ok(count) }
}

/// Takes so many bytes.
///
/// # Errors
/// Where there are fewer.
pub fn take_bytes<'a>(bytes: &mut &'a [u8], count: u64) -> Result<&'a [u8], NotNumbers> {
    let count = usize::try_from(count).map_err(|_| NotNumbers)?;
    let (taken, rest) = bytes.split_at_checked(count).ok_or(NotNumbers)?;
    *bytes = rest;
    Ok(taken)
}
