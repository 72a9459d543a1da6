//! Finds a message's field by its JSON name: an open-addressed table over a hash of a few of the name's bytes.

use super::Field;

/// Positions of a message's fields by name.
#[derive(Debug)]
pub(super) struct NameIndex {
    /// The hash's bits that choose a slot.
    mask: u32,
    /// Position of a field plus one; 0 is an empty slot. At least half are empty.
    slots: Box<[u16]>,
}

impl NameIndex {
    pub(super) fn new(fields: &[Field]) -> NameIndex {
        let size = (fields.len() * 2).next_power_of_two();
        let mask = u32::try_from(size - 1).expect("a message has few fields");
        let mut slots = vec![0; size].into_boxed_slice();
        for (position, field) in fields.iter().enumerate() {
            let mut slot = hash(field.name.as_bytes()) & mask;
            while slots[slot as usize] != 0 {
                slot = (slot + 1) & mask;
            }
            slots[slot as usize] = u16::try_from(position + 1).expect("a message has few fields");
        }
        NameIndex { mask, slots }
    }

    pub(super) fn find(&self, fields: &[Field], name: &[u8]) -> Option<usize> {
        let mut slot = hash(name) & self.mask;
        loop {
            let position = usize::from(self.slots[slot as usize]).checked_sub(1)?;
            if fields[position].name.as_bytes() == name {
                return Some(position);
            }
            slot = (slot + 1) & self.mask;
        }
    }
}

/// Length, first, middle and last byte: enough to spread the names of one message.
fn hash(name: &[u8]) -> u32 {
    let [first, .., last] = name else { return name.len() as u32 };
    let bytes = [*first, name[name.len() / 2], *last, name.len() as u8];
    let mixed = u32::from_le_bytes(bytes).wrapping_mul(0x9e37_79b1);
    mixed ^ (mixed >> 15)
}
