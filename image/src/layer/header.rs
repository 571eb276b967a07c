//! The 512-byte header block: numbers and checksum.
//!
//! Spec: POSIX pax, ustar interchange format; GNU tar manual, "Extensions to the tar archive format" (base 256).

use tar::Header;

pub(super) const BLOCK_BYTES: usize = 512;

/// Says whether a block is a header: not all zero, and with the checksum it states.
pub(crate) fn is_header(block: &[u8; BLOCK_BYTES]) -> bool {
    block.iter().any(|b| *b != 0) && checksum_is_right(Header::from_byte_slice(block))
}

/// Compares the checksum, summed over unsigned bytes or, as some old programs did, over signed ones.
pub(super) fn checksum_is_right(header: &Header) -> bool {
    let field = 148..156;
    let Some(stated) = number(&header.as_bytes()[field.clone()]) else { return false };
    let bytes = header.as_bytes().iter().enumerate().map(|(i, b)| if field.contains(&i) { b' ' } else { *b });
    let unsigned: i64 = bytes.clone().map(i64::from).sum();
    let signed: i64 = bytes.map(|b| i64::from(b.cast_signed())).sum();
    stated == unsigned || stated == signed
}

/// Reads a number: octal digits between blanks, or GNU's signed base 256. An empty field is 0.
pub(super) fn number(field: &[u8]) -> Option<i64> {
    let first = *field.first()?;
    if first & 0x80 != 0 {
        let negative = first & 0x40 != 0;
        let start = i128::from(first & 0x3f) - if negative { 0x40 } else { 0 };
        let value =
            field[1..].iter().try_fold(start, |n, b| n.checked_mul(256)?.checked_add(i128::from(*b)))?;
        return i64::try_from(value).ok();
    }
    let end = field.iter().position(|b| *b == 0).unwrap_or(field.len());
    let digits = field[..end].trim_ascii();
    digits.iter().try_fold(0_i64, |n, b| match b {
        b'0'..=b'7' => n.checked_mul(8)?.checked_add(i64::from(b - b'0')),
        _ => None,
    })
}

/// Cuts a text field at its first NUL.
pub(super) fn text(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|b| *b == 0).unwrap_or(field.len());
    &field[..end]
}
