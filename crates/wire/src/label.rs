//! The label header, which keeps clusters apart that share a network: reading, checking, writing. The label is also
//! authentication data; that part is the business of [`encrypt`](crate::encrypt) and its callers.
//!
//! Format: gossip.md §1.3.

use alloc::vec::Vec;

use crate::error::Malformed;
use crate::swim::Kind;

/// The longest label, in bytes. A longer one cannot be expressed; refuse to start with it.
pub const MAX_LABEL: usize = 255;

/// How many bytes the header for `label` takes: none for an empty label.
pub fn label_overhead(label: &[u8]) -> usize {
    if label.is_empty() { 0 } else { 2 + label.len() }
}

/// Appends the header for `label`; an empty label has none.
pub(crate) fn put_label(out: &mut Vec<u8>, label: &[u8]) {
    if label.is_empty() {
        return;
    }
    let length = u8::try_from(label.len()).expect("labels have 255 bytes at most");
    out.extend_from_slice(&[Kind::HasLabel as u8, length]);
    out.extend_from_slice(label);
}

/// Splits a label header off `bytes`; without a header the label is empty.
///
/// # Errors
/// [`Malformed::LabelTruncated`], [`Malformed::LabelEmpty`].
pub fn split_label(bytes: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    match bytes {
        [head, 0, ..] if *head == Kind::HasLabel as u8 => Err(Malformed::LabelEmpty),
        [head, length, rest @ ..] if *head == Kind::HasLabel as u8 => {
            rest.split_at_checked(usize::from(*length)).ok_or(Malformed::LabelTruncated)
        }
        [head] if *head == Kind::HasLabel as u8 => Err(Malformed::LabelTruncated),
        _ => Ok((&[], bytes)),
    }
}

/// Checks a received label (empty if there was no header) against our own.
///
/// With `skip` an outer layer has taken the header off already: then none may be left, and our own label counts as
/// received.
pub(crate) fn check_label(received: &[u8], own: &[u8], skip: bool) -> Result<(), Malformed> {
    match (skip, received.is_empty()) {
        (true, true) => Ok(()),
        (true, false) => Err(Malformed::LabelDouble),
        (false, _) if received == own => Ok(()),
        (false, _) => Err(Malformed::LabelMismatch),
    }
}
