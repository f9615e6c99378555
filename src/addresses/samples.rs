//! Sorted numbers, and how many of them are at most another.
//!
//! Addresses are handed out in blocks: a few values of the upper 16 bits hold
//! all there are, and the bits behind those are spread well. So the upper 16
//! bits name a table, the next bits a slot of it, and there are about as many
//! slots as numbers: mostly a lookup compares a few that stand side by side,
//! and takes no branch that depends on them. Where the bits are not spread, it
//! is a search by halves.

/// How many numbers of a slot are compared without a search.
const FEW: usize = 4;

/// The bits behind those that name a table.
const BELOW: u32 = 48;

/// The most bits that name a slot.
const SLOT_BITS: u32 = 16;

/// The tables of one value of the upper 8 bits.
const PAGE: usize = 256;

/// Marks a page that is not there.
const ABSENT: u32 = 1 << 31;

/// A table: where its slots begin, and by how many bits a number is shifted to
/// give its slot. One for nothing begins where the next one does.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Table(u32);

impl Table {
    /// `first` is far below 2^26: slots are about as many as blocks of
    /// entries.
    fn new(first: usize, shift: u32) -> Self {
        Self(u32::try_from(first).unwrap_or_default() << 6 | shift & 63)
    }

    const fn slot(self, value: u64) -> usize {
        let within = (value & BELOW_MASK) >> (self.0 & 63);
        ((self.0 >> 6) as usize).wrapping_add(within as usize)
    }
}

const BELOW_MASK: u64 = (1 << BELOW) - 1;

/// Sorted numbers of 64 bits.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Samples {
    values: Vec<u64>,
    /// For each value of the upper 8 bits its page, or with [`ABSENT`] how
    /// many numbers come before it.
    pages: Vec<u32>,
    /// The tables of each page, see [`Table`].
    tables: Vec<u32>,
    /// How many numbers come before each slot, and twice how many there are.
    slots: Vec<u32>,
}

impl Samples {
    /// From numbers in ascending order; of others, no answer is right.
    pub(super) fn new(values: Vec<u64>) -> Self {
        if values.is_empty() {
            return Self::default();
        }
        let (mut pages, mut tables, mut slots) = (Vec::with_capacity(PAGE), Vec::new(), Vec::new());
        let mut rest = values.as_slice();
        for page in 0..PAGE as u64 {
            let before = values.len().saturating_sub(rest.len());
            if rest.first().is_none_or(|next| next >> 56 != page) {
                pages.push(number(before) | ABSENT);
                continue;
            }
            pages.push(number(tables.len() / PAGE));
            for top in page << 8..=page << 8 | 0xff {
                let many = rest.partition_point(|value| value >> BELOW <= top);
                let (own, behind) = rest.split_at_checked(many).unwrap_or_default();
                let before = values.len().saturating_sub(rest.len());
                tables.push(table(own, before, &mut slots).0);
                rest = behind;
            }
        }
        // The end of the last slot, and the slot of a table for nothing behind it.
        slots.extend([number(values.len()); 2]);
        Self { values, pages, tables, slots }
    }

    /// How many numbers there are.
    pub(super) const fn len(&self) -> usize {
        self.values.len()
    }

    /// How many of the numbers are at most this one.
    #[inline(always)]
    pub(super) fn rank(&self, value: u64) -> usize {
        let page = self.pages.get((value >> 56) as usize).copied().unwrap_or(ABSENT);
        if page & ABSENT != 0 {
            return (page & !ABSENT) as usize;
        }
        let place = (page << 8) as usize | (value >> BELOW & 0xff) as usize;
        let slot = self.tables.get(place).map_or(usize::MAX, |table| Table(*table).slot(value));
        let Some([from, to]) = self.slots.get(slot..).and_then(<[u32]>::first_chunk) else { return 0 };
        let (from, to) = (*from as usize, *to as usize);
        // Those behind the slot are greater.
        if to.wrapping_sub(from) <= FEW
            && let Some(few) = self.values.get(from..).and_then(<[u64]>::first_chunk::<FEW>)
        {
            return from.wrapping_add(at_most(few, value));
        }
        let many = self.values.get(from..to).unwrap_or_default();
        from.wrapping_add(many.partition_point(|other| *other <= value))
    }

    pub(super) fn bytes(&self) -> usize {
        [&self.pages, &self.tables, &self.slots]
            .iter()
            .map(|array| size_of_val(array.as_slice()))
            .fold(size_of_val(self.values.as_slice()), usize::saturating_add)
    }
}

/// How many of some numbers are at most this one, in any order. Compares all
/// of them: what cannot be foreseen costs more than a few comparisons.
#[inline(always)]
pub(super) fn at_most<const N: usize>(values: &[u64; N], value: u64) -> usize {
    values.iter().fold(0, |many, other| many.wrapping_add(usize::from(*other <= value)))
}

/// The table of numbers that share their upper 16 bits.
fn table(own: &[u64], before: usize, slots: &mut Vec<u32>) -> Table {
    let first = slots.len();
    if own.is_empty() {
        return Table::new(first, BELOW);
    }
    let bits = own.len().next_power_of_two().ilog2().min(SLOT_BITS);
    let shift = BELOW.saturating_sub(bits);
    let mut place = 0_usize;
    for slot in 0..1_u64 << bits {
        slots.push(number(before.saturating_add(place)));
        let rest = own.get(place..).unwrap_or_default();
        let here = rest.iter().take_while(|value| (*value & BELOW_MASK) >> shift <= slot).count();
        place = place.saturating_add(here);
    }
    Table::new(first, shift)
}

/// Counts of one index fit.
fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or_default()
}
