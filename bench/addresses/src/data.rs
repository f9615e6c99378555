//! Prefixes and queries from a fixed seed.

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, most: u64) -> u64 {
        self.next() % most
    }

    fn wide(&mut self) -> u128 {
        u128::from(self.next()) << 64 | u128::from(self.next())
    }
}

const fn mask_v4(length: u8) -> u32 {
    if length == 0 { 0 } else { u32::MAX << (32 - length) }
}

const fn mask_v6(length: u8) -> u128 {
    if length == 0 { 0 } else { u128::MAX << (128 - length) }
}

/// Unicast: 1.0.0.0 to 223.255.255.255. Of a hundred, twenty are /16 to /23,
/// forty are /24, and forty are addresses.
pub fn v4(count: u32) -> Vec<(u32, u8)> {
    let mut random = Random(4);
    let mut seen = std::collections::HashSet::new();
    while seen.len() < count as usize {
        let length = match random.below(100) {
            0..20 => 16 + random.below(8) as u8,
            20..60 => 24,
            _ => 32,
        };
        let first = 0x0100_0000 + random.below(0xdf00_0000) as u32;
        seen.insert((first & mask_v4(length), length));
    }
    in_some_order(seen.into_iter().collect(), &mut random)
}

/// The lengths of announced prefixes and of block lists: of a hundred, 44 are
/// /48, 12 are /32, 10 are /44, 8 are /40, 6 are /46 or /47, 5 are /36, 5 are
/// /29, 5 are /56 or /64, and 5 are addresses; inside some 8,000 allocations
/// of the five regional registries.
pub fn v6(count: u32) -> Vec<(u128, u8)> {
    const BLOCKS: [u128; 6] = [0x2001, 0x2400, 0x2600, 0x2800, 0x2a00, 0x2c00];
    let mut random = Random(6);
    let mut allocations: Vec<u128> = Vec::new();
    for _ in 0..8_000 {
        let block = BLOCKS[random.below(6) as usize] << 112;
        let spread = if block >> 112 == 0x2001 { 16 } else { 12 };
        allocations.push(block | random.wide() >> spread & mask_v6(29) & (u128::MAX >> spread));
    }
    let mut seen = std::collections::HashSet::new();
    while seen.len() < count as usize {
        let length = match random.below(100) {
            0..44 => 48,
            44..56 => 32,
            56..66 => 44,
            66..74 => 40,
            74..80 => 46 + random.below(2) as u8,
            80..85 => 36,
            85..90 => 29,
            90..95 => 56 + 8 * random.below(2) as u8,
            _ => 128,
        };
        let allocation = allocations[random.below(8_000) as usize];
        // There are not so many different ones of the shortest.
        let within = if length <= 32 { 20 } else { 29 };
        let first = allocation & mask_v6(within) | random.wide() & !mask_v6(within);
        seen.insert((first & mask_v6(length), length));
    }
    in_some_order(seen.into_iter().collect(), &mut random)
}

/// Not in the order of a hash table, which is another in each run.
fn in_some_order<T: Ord>(mut list: Vec<T>, random: &mut Random) -> Vec<T> {
    list.sort_unstable();
    for last in (1..list.len()).rev() {
        list.swap(last, random.below(last as u64 + 1) as usize);
    }
    list
}

/// Half are any address, half lie in a prefix.
pub fn queries_v4(prefixes: &[(u32, u8)], count: u32) -> Vec<u32> {
    let mut random = Random(44);
    let count = if prefixes.is_empty() { 0 } else { count };
    (0..count)
        .map(|_| {
            let any = random.next() as u32;
            if random.below(2) == 0 {
                return any;
            }
            let (first, length) = prefixes[random.below(prefixes.len() as u64) as usize];
            first | any & !mask_v4(length)
        })
        .collect()
}

/// The same; any address is one of the registries' blocks.
pub fn queries_v6(prefixes: &[(u128, u8)], count: u32) -> Vec<u128> {
    let mut random = Random(66);
    let count = if prefixes.is_empty() { 0 } else { count };
    (0..count)
        .map(|_| {
            let any = random.wide();
            let (first, length) = prefixes[random.below(prefixes.len() as u64) as usize];
            let length = if random.below(2) == 0 { 16 } else { length };
            first & mask_v6(length) | any & !mask_v6(length)
        })
        .collect()
}

/// One cycle through so many places (Sattolo's algorithm).
pub fn cycle(count: u32) -> Vec<u32> {
    let mut random = Random(8);
    let mut places: Vec<u32> = (0..count).collect();
    for last in (1..count as usize).rev() {
        places.swap(last, random.below(last as u64) as usize);
    }
    places
}
