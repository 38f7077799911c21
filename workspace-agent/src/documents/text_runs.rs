//! Joins the letters of an encoded update that were typed one after the other. Pure.
//!
//! A client that types sends each letter in an update of its own, and the merge of such updates still has
//! a part for each letter. The one who applies it in one transaction pays: our CRDT library joins the parts
//! from the last to the first and keeps each step, so 20,000 letters take 200 MiB for a moment. Joined
//! before, they are one part, here and in each replica, and the update is a tenth as long.
//!
//! A part that follows the one before it in the same client's clock, was inserted behind its last unit and
//! has the same right neighbour, is what the library itself joins, so the joined update means the same.
//!
//! ```text
//! "a" at 7 after 6 ── "b" at 8 after 7 ── "c" at 9 after 8    →    "abc" at 7 after 6
//! ```

use yrs::encoding::{
    read::{Cursor, Read as _},
    write::Write as _,
};

/// What a part contains, as the lower bits of its first byte say.
mod kind {
    pub const GC: u8 = 0;
    pub const DELETED: u8 = 1;
    pub const BINARY: u8 = 3;
    pub const STRING: u8 = 4;
    pub const EMBED: u8 = 5;
    pub const FORMAT: u8 = 6;
    pub const SKIP: u8 = 10;
}

const KIND_BITS: u8 = 0b1111;
const HAS_ORIGIN: u8 = 0b1000_0000;
const HAS_RIGHT_ORIGIN: u8 = 0b0100_0000;
const HAS_PARENT_SUB: u8 = 0b0010_0000;

/// Identifies one unit of a text: its client, and the client's clock.
type UnitId = (u64, u32);

/// Joins what can be joined. `None` if that is nothing, or if the update contains anything that texts do
/// not: it must then be used as it is. (An update that does not decode is not ours to refuse.)
pub fn join_text_runs(update: &[u8]) -> Option<Vec<u8>> {
    let mut rest = Cursor::new(update);
    let mut joined = Vec::with_capacity(update.len());
    let clients: u32 = rest.read_var().ok()?;
    joined.write_var(clients);
    let mut is_changed = false;
    for _ in 0..clients {
        is_changed |= join_client(&mut rest, &mut joined)?;
    }
    // The deleted ranges follow.
    while rest.has_content() {
        joined.push(rest.read_u8().ok()?);
    }
    is_changed.then_some(joined)
}

/// Joins the parts of one client. Returns whether there was anything to join.
fn join_client(rest: &mut Cursor<'_>, joined: &mut Vec<u8>) -> Option<bool> {
    let count: u32 = rest.read_var().ok()?;
    let client: u64 = rest.read_var().ok()?;
    let first_clock: u32 = rest.read_var().ok()?;
    let (mut parts, mut written, mut clock) = (Vec::new(), 0_u32, first_clock);
    let mut last: Option<Part> = None;
    for _ in 0..count {
        let next = Part::read(rest)?;
        let end = clock.checked_add(next.units)?;
        match &mut last {
            Some(last) if last.is_continued_by(&next, (client, clock.wrapping_sub(1))) => {
                last.content.extend_from_slice(&next.content);
            }
            _ => {
                written += 1;
                if let Some(complete) = last.replace(next) {
                    complete.write(&mut parts);
                }
            }
        }
        clock = end;
    }
    if let Some(complete) = last {
        complete.write(&mut parts);
    }
    joined.write_var(written);
    joined.write_var(client);
    joined.write_var(first_clock);
    joined.extend_from_slice(&parts);
    Some(written < count)
}

/// A part of an update: a string, a deleted range and so on.
struct Part {
    info: u8,
    origin: Option<UnitId>,
    right_origin: Option<UnitId>,
    /// The encoded parent, if the part has no neighbours to know it from.
    parent: Vec<u8>,
    /// The text of a string, or the encoded content.
    content: Vec<u8>,
    /// By how much it advances the client's clock.
    units: u32,
}

impl Part {
    fn read(rest: &mut Cursor<'_>) -> Option<Self> {
        let info = rest.read_u8().ok()?;
        if info == kind::GC || info == kind::SKIP {
            let units: u32 = rest.read_var().ok()?;
            let mut content = Vec::new();
            content.write_var(units);
            let (origin, right_origin, parent) = (None, None, Vec::new());
            return Some(Self { info, origin, right_origin, parent, content, units });
        }
        let origin = if info & HAS_ORIGIN == 0 { None } else { Some(read_id(rest)?) };
        let right_origin = if info & HAS_RIGHT_ORIGIN == 0 { None } else { Some(read_id(rest)?) };
        let has_parent = origin.is_none() && right_origin.is_none();
        let parent = if has_parent { read_parent(rest, info)? } else { Vec::new() };
        let (content, units) = read_content(rest, info & KIND_BITS)?;
        Some(Self { info, origin, right_origin, parent, content, units })
    }

    /// Whether `next`, the part after this one, can be joined to it. `last_unit` is this part's last one.
    fn is_continued_by(&self, next: &Self, last_unit: UnitId) -> bool {
        let is_text = |part: &Self| {
            part.info & KIND_BITS == kind::STRING && part.info & HAS_PARENT_SUB == 0 && part.units > 0
        };
        is_text(self)
            && is_text(next)
            && next.origin == Some(last_unit)
            && next.right_origin == self.right_origin
    }

    fn write(&self, to: &mut Vec<u8>) {
        to.push(self.info);
        for (client, clock) in [self.origin, self.right_origin].into_iter().flatten() {
            to.write_var(client);
            to.write_var(clock);
        }
        to.extend_from_slice(&self.parent);
        if self.info & KIND_BITS == kind::STRING {
            to.write_var(self.content.len() as u32);
        }
        to.extend_from_slice(&self.content);
    }
}

fn read_id(rest: &mut Cursor<'_>) -> Option<UnitId> {
    Some((rest.read_var().ok()?, rest.read_var().ok()?))
}

/// Reads the parent of a part without neighbours: the name of a text, or the id of a part.
fn read_parent(rest: &mut Cursor<'_>, info: u8) -> Option<Vec<u8>> {
    let mut parent = Vec::new();
    let is_named: u32 = rest.read_var().ok()?;
    parent.write_var(is_named);
    if is_named == 1 {
        parent.write_buf(rest.read_buf().ok()?);
    } else {
        let (client, clock) = read_id(rest)?;
        parent.write_var(client);
        parent.write_var(clock);
    }
    if info & HAS_PARENT_SUB != 0 {
        parent.write_buf(rest.read_buf().ok()?);
    }
    Some(parent)
}

/// Reads the content of a part, and by how much it advances the clock.
fn read_content(rest: &mut Cursor<'_>, kind: u8) -> Option<(Vec<u8>, u32)> {
    let mut content = Vec::new();
    let units = match kind {
        kind::STRING => {
            let text = rest.read_string().ok()?;
            content.extend_from_slice(text.as_bytes());
            u32::try_from(text.encode_utf16().count()).ok()?
        }
        kind::DELETED => {
            let units: u32 = rest.read_var().ok()?;
            content.write_var(units);
            units
        }
        kind::BINARY | kind::EMBED => {
            content.write_buf(rest.read_buf().ok()?);
            1
        }
        kind::FORMAT => {
            content.write_buf(rest.read_buf().ok()?);
            content.write_buf(rest.read_buf().ok()?);
            1
        }
        _ => return None,
    };
    Some((content, units))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use yrs::{
        ClientID, Doc, GetString as _, OffsetKind, Options, ReadTxn as _, StateVector, Text as _,
        Transact as _, Update, merge_updates_v1, updates::decoder::Decode as _,
    };

    use super::*;

    fn doc(client: u64) -> Doc {
        let client_id = ClientID::new(client);
        Doc::with_options(Options { client_id, offset_kind: OffsetKind::Utf16, ..Options::default() })
    }

    fn edit(doc: &Doc, at: u32, delete: u32, insert: &str) -> Vec<u8> {
        let text = doc.get_or_insert_text("content");
        let mut transaction = doc.transact_mut();
        text.remove_range(&mut transaction, at, delete);
        text.insert(&mut transaction, at, insert);
        transaction.encode_update_v1()
    }

    fn apply(doc: &Doc, update: &[u8]) {
        let update = Update::decode_v1(update).expect("decodes");
        doc.transact_mut().apply_update(update).expect("applies");
    }

    fn text_of(doc: &Doc) -> String {
        doc.get_or_insert_text("content").get_string(&doc.transact())
    }

    #[test]
    fn typed_letters_become_one_part() {
        const LETTERS: u32 = 20_000;
        let writer = doc(1);
        let updates: Vec<Vec<u8>> = (0..LETTERS).map(|at| edit(&writer, at, 0, "é")).collect();
        // A merge of all at once takes time for the square of their number.
        let merged: Vec<Vec<u8>> =
            updates.chunks(200).map(|chunk| merge_updates_v1(chunk).expect("ours")).collect();
        let merged = merge_updates_v1(merged).expect("ours");
        let joined = join_text_runs(&merged).expect("there are runs");
        assert!(joined.len() < 2 * LETTERS as usize + 50, "{} bytes", joined.len());
        assert_eq!(join_text_runs(&joined), None, "nothing is left to join");
        let reader = doc(2);
        apply(&reader, &joined);
        assert_eq!(text_of(&reader), "é".repeat(LETTERS as usize));
    }

    #[test]
    fn neighbours_of_other_origin_stay_apart() {
        let writer = doc(1);
        let updates = [edit(&writer, 0, 0, "ac"), edit(&writer, 1, 0, "b"), edit(&writer, 0, 0, "z")];
        let merged = merge_updates_v1(updates).expect("ours");
        assert_eq!(join_text_runs(&merged), None);
    }

    #[test]
    fn damaged_update_is_left_alone() {
        let writer = doc(1);
        let updates: Vec<Vec<u8>> = (0..5).map(|at| edit(&writer, at, 0, "x")).collect();
        let merged = merge_updates_v1(updates).expect("ours");
        assert!(join_text_runs(&merged).is_some());
        for length in 0..merged.len() - 1 {
            join_text_runs(&merged[..length]);
        }
        assert_eq!(join_text_runs(&[1, 0xff, 0xff, 0xff, 0xff, 0x0f, 1, 0]), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        /// Two writers edit, and exchange what they have from time to time. A reader of joined updates has
        /// what a reader of the updates has, and can tell what is missing as well.
        #[test]
        fn joined_update_means_the_same(
            edits in prop::collection::vec((0_usize..2, 0_u32..12, 0_u32..3, "[aé😀\n]{0,3}", 0_u8..8), 1..60),
        ) {
            let writers = [doc(1), doc(2)];
            let (plain, joined) = (doc(3), doc(4));
            let mut waiting: Vec<Vec<u8>> = Vec::new();
            for (writer, at, delete, insert, exchange) in edits {
                let writer = &writers[writer];
                let text: Vec<u16> = text_of(writer).encode_utf16().collect();
                let boundary = |at: u32| {
                    let at = (at as usize).min(text.len());
                    let splits = text.get(at).is_some_and(|unit| (0xdc00..0xe000).contains(unit));
                    (at - usize::from(splits)) as u32
                };
                // Mostly at the end, as users type.
                let at = if at < 6 { text.len() as u32 } else { boundary(at) };
                let end = boundary(at + delete).max(at);
                waiting.push(edit(writer, at, end - at, &insert));
                if exchange == 0 {
                    let merged = merge_updates_v1(&waiting).expect("ours");
                    waiting.clear();
                    apply(&plain, &merged);
                    apply(&joined, &join_text_runs(&merged).unwrap_or(merged));
                    for writer in &writers {
                        apply(writer, &plain.transact().encode_diff_v1(&StateVector::default()));
                    }
                }
            }
            let merged = merge_updates_v1(&waiting).expect("ours");
            apply(&plain, &merged);
            apply(&joined, &join_text_runs(&merged).unwrap_or(merged));
            prop_assert_eq!(text_of(&joined), text_of(&plain));
            prop_assert_eq!(joined.transact().state_vector(), plain.transact().state_vector());
            let all = |doc: &Doc| doc.transact().encode_diff_v1(&StateVector::default());
            prop_assert_eq!(all(&joined).len(), all(&plain).len());
        }
    }
}
