//! Where the items of each bucket begin, a bucket being what shares the upper
//! 16 bits of an address. Pages of 256 buckets, only where there is something:
//! 1 KiB for each, so that a dozen prefixes do not cost what a million does.

/// Marks a bucket, or a page that is not there.
const MARK: u32 = 1 << 31;

const PAGE: usize = 256;

/// A page's number, or where its items would stand.
enum Page {
    There(usize),
    Absent(usize),
}

/// Where buckets begin in a sorted list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Directory {
    /// For each value of the upper 8 bits its page, or with [`MARK`] how many
    /// items come before it. Empty where there is no page.
    slots: Vec<u32>,
    /// Of each page its 256 beginnings, and the end behind the last.
    starts: Vec<u32>,
}

impl Directory {
    /// From the upper 16 bits of each item, ascending.
    pub(super) fn new(tops: impl Iterator<Item = u16>) -> Self {
        let mut pages = Vec::new();
        let mut starts: Vec<u32> = Vec::new();
        let mut last = None;
        let mut count = 0_u32;
        for top in tops {
            if last != Some(top) {
                let page = top >> 8;
                let first_of = |pages: &Vec<u16>| pages.len().saturating_mul(PAGE);
                if pages.last() != Some(&page) {
                    starts.resize(first_of(&pages), count);
                    pages.push(page);
                }
                let place = first_of(&pages).saturating_sub(PAGE).saturating_add(usize::from(top & 0xff));
                starts.resize(place.saturating_add(1), count);
                last = Some(top);
            }
            count = count.saturating_add(1);
        }
        if !pages.is_empty() {
            starts.resize(pages.len().saturating_mul(PAGE), count);
        }
        Self::of(&pages, starts, count)
    }

    /// From what [`Self::pages`] and [`Self::starts`] gave.
    pub(super) fn of(pages: &[u16], mut starts: Vec<u32>, count: u32) -> Self {
        if pages.is_empty() {
            return Self::default();
        }
        for start in &mut starts {
            *start &= !MARK;
        }
        starts.push(count);
        let mut slots = vec![0; PAGE];
        let mut before = 0_u32;
        for (value, slot) in (0_u16..).zip(&mut slots) {
            let (number, is_there) = match pages.binary_search(&value) {
                Ok(number) => (number, true),
                Err(number) => (number, false),
            };
            *slot = if is_there {
                before = starts
                    .get(number.saturating_add(1).saturating_mul(PAGE))
                    .map_or(count, |start| start & !MARK);
                u32::try_from(number).unwrap_or_default()
            } else {
                before | MARK
            };
        }
        Self { slots, starts }
    }

    fn page(&self, value: usize) -> Page {
        match self.slots.get(value) {
            Some(slot) if slot & MARK == 0 => Page::There(*slot as usize),
            Some(slot) => Page::Absent((slot & !MARK) as usize),
            None => Page::Absent(0),
        }
    }

    /// Where the items of a bucket are, and whether it is marked; one without
    /// a page counts as marked.
    #[inline(always)]
    pub(super) fn range(&self, top: u16) -> (usize, usize, bool) {
        match self.page(usize::from(top >> 8)) {
            Page::There(page) => {
                let place = page << 8 | usize::from(top & 0xff);
                match self.starts.get(place..).and_then(<[u32]>::first_chunk) {
                    Some([from, to]) => ((from & !MARK) as usize, (to & !MARK) as usize, from & MARK != 0),
                    None => (0, 0, true),
                }
            }
            Page::Absent(before) => (before, before, true),
        }
    }

    /// Marks the buckets from one to another, both among them.
    pub(super) fn mark(&mut self, first: u16, last: u16) {
        for value in first >> 8..=last >> 8 {
            let Page::There(page) = self.page(usize::from(value)) else { continue };
            let from = if value == first >> 8 { first & 0xff } else { 0 };
            let to = if value == last >> 8 { last & 0xff } else { 0xff };
            let page = page.saturating_mul(PAGE);
            let place = |low: u16| page.saturating_add(usize::from(low));
            for start in self.starts.get_mut(place(from)..=place(to)).unwrap_or_default() {
                *start |= MARK;
            }
        }
    }

    /// The upper 8 bits of the buckets of each page.
    pub(super) fn pages(&self) -> Vec<u16> {
        (0_u16..).zip(&self.slots).filter(|(_, slot)| **slot & MARK == 0).map(|(value, _)| value).collect()
    }

    /// Where each bucket of each page begins.
    pub(super) fn starts(&self) -> impl Iterator<Item = u32> {
        let all = self.starts.split_last().map_or(&[][..], |(_, all)| all);
        all.iter().map(|start| start & !MARK)
    }

    /// The buckets that hold something: upper 16 bits, and where its items
    /// are.
    pub(super) fn buckets(&self) -> impl Iterator<Item = (u16, usize, usize)> {
        self.pages().into_iter().flat_map(|page| (0..=0xff).map(move |low| page << 8 | low)).filter_map(
            |top| {
                let (from, to, _) = self.range(top);
                (from < to).then_some((top, from, to))
            },
        )
    }

    /// Whether this is what [`Self::new`] makes of so many items: pages and
    /// beginnings ascend, and no page is there for nothing.
    pub(super) fn is_sound(&self, count: usize) -> bool {
        let starts = || self.starts.iter().map(|start| (start & !MARK) as usize);
        let ends = self.starts.split_last().map_or(0, |(last, _)| (last & !MARK) as usize);
        let used = |page: &[u32]| matches!(page, [first, .., last] if first & !MARK < last & !MARK);
        let pages = self.starts.len().saturating_sub(1).checked_div(PAGE).unwrap_or_default();
        let every_page = (0..pages).all(|page| {
            let from = page.saturating_mul(PAGE);
            self.starts.get(from..=from.saturating_add(PAGE)).is_some_and(used)
        });
        starts().next().unwrap_or_default() == 0
            && starts().is_sorted()
            && ends == count
            && every_page
            && pages.saturating_mul(PAGE).saturating_add(usize::from(pages > 0)) == self.starts.len()
            && self.pages().len() == pages
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(self.slots.as_slice()).saturating_add(size_of_val(self.starts.as_slice()))
    }
}
