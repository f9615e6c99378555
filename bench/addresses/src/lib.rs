//! Longest-prefix match in WebAssembly: the gateway's index beside public
//! crates. One instance holds one structure; `bench/addresses.mjs` times the
//! calls. Everything is made from a fixed seed.

mod data;
mod memory;
mod scenario;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::RefCell;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};

use edgeweir::addresses::format::{decode, encode, read};
use edgeweir::addresses::{Builder, Hit, SetId, StoredSet, StoredSets};
use edgeweir::feeds::{Format, HostBits, Limits, Parser};
use edgeweir::policy::manifest::PART_LIMIT;
use ip_network_table_deps_treebitmap::IpLookupTable;
use prefix_trie::PrefixMap;

/// Counts what is allocated, and the most there was at once.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        MOST.fetch_max(live, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

enum Table {
    Edgeweir(StoredSets),
    TreeBitmap(IpLookupTable<Ipv4Addr, u32>, IpLookupTable<Ipv6Addr, u32>),
    PrefixTrie(PrefixMap<(u32, u8), u32>, PrefixMap<(u128, u8), u32>),
}

struct Bench {
    v4: Vec<(u32, u8)>,
    v6: Vec<(u128, u8)>,
    queries_v4: Vec<u32>,
    queries_v6: Vec<u128>,
    table: Option<Table>,
    /// The stored form, in the parts that it is published in.
    parts: Vec<Vec<u8>>,
    text: String,
}

thread_local! {
    static BENCH: RefCell<Option<Bench>> = const { RefCell::new(None) };
}

fn with<T>(act: impl FnOnce(&mut Bench) -> T) -> T {
    BENCH.with(|bench| act(bench.borrow_mut().as_mut().expect("prepare comes first")))
}

/// Makes the prefixes and `queries` queries of each family.
#[unsafe(no_mangle)]
pub extern "C" fn prepare(v4: u32, v6: u32, queries: u32) {
    let v4 = data::v4(v4);
    let v6 = data::v6(v6);
    let queries_v4 = data::queries_v4(&v4, queries);
    let queries_v6 = data::queries_v6(&v6, queries);
    let (parts, text) = (Vec::new(), String::new());
    let bench = Bench { v4, v6, queries_v4, queries_v6, table: None, parts, text };
    BENCH.with(|place| *place.borrow_mut() = Some(bench));
}

/// Builds a table of both families: 0 ours, 1 treebitmap, 2
/// prefix-trie. Gives the bytes that it holds.
#[unsafe(no_mangle)]
pub extern "C" fn build(kind: u32) -> usize {
    with(|bench| {
        bench.table = None;
        let before = LIVE.load(Ordering::Relaxed);
        bench.table = Some(match kind {
            0 => Table::Edgeweir(ours(&bench.v4, &bench.v6)),
            1 => {
                let (mut four, mut six) = (IpLookupTable::new(), IpLookupTable::new());
                for (value, (bits, length)) in (0..).zip(&bench.v4) {
                    four.insert(Ipv4Addr::from_bits(*bits), (*length).into(), value);
                }
                for (value, (bits, length)) in (0..).zip(&bench.v6) {
                    six.insert(Ipv6Addr::from_bits(*bits), (*length).into(), value);
                }
                Table::TreeBitmap(four, six)
            }
            _ => {
                let four = bench.v4.iter().copied().zip(0..).collect();
                let six = bench.v6.iter().copied().zip(0..).collect();
                Table::PrefixTrie(four, six)
            }
        });
        LIVE.load(Ordering::Relaxed).saturating_sub(before)
    })
}

fn ours(v4: &[(u32, u8)], v6: &[(u128, u8)]) -> StoredSets {
    let mut builder = Builder::default();
    for (number, (bits, length)) in (0_u16..4).cycle().zip(v4) {
        builder.push_v4(*bits, *length, SetId(number));
    }
    for (number, (bits, length)) in (0_u16..4).cycle().zip(v6) {
        builder.push_v6(*bits, *length, SetId(number));
    }
    let set = |name: &str| StoredSet { name: name.to_owned(), since: 0, source: "import".to_owned() };
    StoredSets { generation: 1, sets: ["a", "b", "c", "d"].map(set).into(), index: builder.finish() }
}

/// As many queries as there are, the first 4,096 of them again and again.
const HOT: u32 = 1;

/// All queries, each made from the answer to the one before, as if it had come
/// with the next request.
const IN_TURN: u32 = 2;

/// Asks queries in a way: one of the above, or all of them as fast as the
/// processor can, which begins the next before the last has its answer. `add`
/// puts a number into a query, and `find` gives one of what it found. Gives
/// how many were found.
fn ask<T: Copy>(queries: &[T], way: u32, add: impl Fn(T, u32) -> T, find: impl Fn(T) -> Option<u32>) -> u32 {
    let mut found = 0;
    if way == IN_TURN {
        // No compiler knows that it is 0.
        let nothing = black_box(0);
        let mut last = 0;
        for query in queries {
            let answer = find(add(*query, last & nothing));
            found += u32::from(answer.is_some());
            last = answer.unwrap_or_default();
        }
    } else {
        let distinct = if way == HOT { 4_096 } else { queries.len() };
        let list = &queries[..distinct.min(queries.len())];
        for _ in 0..queries.len() / list.len().max(1) {
            found += list.iter().map(|query| u32::from(find(*query).is_some())).sum::<u32>();
        }
    }
    found
}

// Prefix, set and entry are all asked for.
fn all_of(hit: Option<Hit>) -> Option<u32> {
    black_box(hit).map(|hit| hit.entry)
}

/// Looks every IPv4 query up, for the longest prefix; gives how many were
/// found.
#[unsafe(no_mangle)]
pub extern "C" fn lookup_v4(way: u32) -> u32 {
    let add = |query, number| query ^ number;
    with(|bench| match bench.table.as_ref().expect("a table") {
        Table::Edgeweir(sets) => ask(&bench.queries_v4, way, add, |query| {
            all_of(sets.index.longest(IpAddr::V4(Ipv4Addr::from_bits(query))))
        }),
        Table::TreeBitmap(table, _) => ask(&bench.queries_v4, way, add, |query| {
            black_box(table.longest_match(Ipv4Addr::from_bits(query))).map(|(.., value)| *value)
        }),
        Table::PrefixTrie(table, _) => ask(&bench.queries_v4, way, add, |query| {
            black_box(table.get_lpm(&(query, 32))).map(|(_, value)| *value)
        }),
    })
}

/// The same for IPv6.
#[unsafe(no_mangle)]
pub extern "C" fn lookup_v6(way: u32) -> u32 {
    let add = |query, number| query ^ u128::from(number);
    with(|bench| match bench.table.as_ref().expect("a table") {
        Table::Edgeweir(sets) => ask(&bench.queries_v6, way, add, |query| {
            all_of(sets.index.longest(IpAddr::V6(Ipv6Addr::from_bits(query))))
        }),
        Table::TreeBitmap(_, table) => ask(&bench.queries_v6, way, add, |query| {
            black_box(table.longest_match(Ipv6Addr::from_bits(query))).map(|(.., value)| *value)
        }),
        Table::PrefixTrie(_, table) => ask(&bench.queries_v6, way, add, |query| {
            black_box(table.get_lpm(&(query, 128))).map(|(_, value)| *value)
        }),
    })
}

/// Looks for every prefix that contains a query, as a rule has to that names
/// some of the sets; in our table only.
#[unsafe(no_mangle)]
pub extern "C" fn every_v4(way: u32) -> u32 {
    with(|bench| {
        let Some(Table::Edgeweir(sets)) = &bench.table else { return 0 };
        ask(
            &bench.queries_v4,
            way,
            |query, number| query ^ number,
            |query| {
                let hits = sets.index.find(IpAddr::V4(Ipv4Addr::from_bits(query)));
                hits.map(|hit| black_box(hit).entry).last()
            },
        )
    })
}

/// The same for IPv6.
#[unsafe(no_mangle)]
pub extern "C" fn every_v6(way: u32) -> u32 {
    with(|bench| {
        let Some(Table::Edgeweir(sets)) = &bench.table else { return 0 };
        ask(
            &bench.queries_v6,
            way,
            |query, number| query ^ u128::from(number),
            |query| {
                let hits = sets.index.find(IpAddr::V6(Ipv6Addr::from_bits(query)));
                hits.map(|hit| black_box(hit).entry).last()
            },
        )
    })
}

/// The loop alone.
#[unsafe(no_mangle)]
pub extern "C" fn loop_v4(way: u32) -> u32 {
    with(|bench| ask(&bench.queries_v4, way, |query, number| query ^ number, |query| Some(black_box(query))))
}

/// The loop alone.
#[unsafe(no_mangle)]
pub extern "C" fn loop_v6(way: u32) -> u32 {
    let add = |query, number| query ^ u128::from(number);
    with(|bench| ask(&bench.queries_v6, way, add, |query| Some(black_box(query) as u32)))
}

/// Writes the stored form of our table; gives its length.
#[unsafe(no_mangle)]
pub extern "C" fn write() -> usize {
    with(|bench| {
        let Some(Table::Edgeweir(sets)) = &bench.table else { return 0 };
        bench.parts = encode(sets).chunks(PART_LIMIT).map(<[u8]>::to_vec).collect();
        bench.parts.iter().map(Vec::len).sum()
    })
}

/// How many parts the stored form has.
#[unsafe(no_mangle)]
pub extern "C" fn parts() -> usize {
    with(|bench| bench.parts.len())
}

/// Where a part begins.
#[unsafe(no_mangle)]
pub extern "C" fn part_at(number: usize) -> *const u8 {
    with(|bench| bench.parts[number].as_ptr())
}

/// How long a part is.
#[unsafe(no_mangle)]
pub extern "C" fn part_length(number: usize) -> usize {
    with(|bench| bench.parts[number].len())
}

/// Copy and checksum: what an isolate does with parts whose hashes are right.
/// Gives the entries.
#[unsafe(no_mangle)]
pub extern "C" fn copy_and_checksum() -> usize {
    with(|bench| read(bench.parts.iter().map(Vec::as_slice)).map_or(0, |sets| black_box(sets).index.len()))
}

/// The same with the walk over all entries, as the Worker does before it
/// changes a set.
#[unsafe(no_mangle)]
pub extern "C" fn load() -> usize {
    with(|bench| decode(bench.parts.iter().map(Vec::as_slice)).map_or(0, |sets| black_box(sets).index.len()))
}

/// The most bytes that are held while a loaded table takes the place of
/// another, the parts of the new one among them.
#[unsafe(no_mangle)]
pub extern "C" fn peak_of_swap() -> usize {
    with(|bench| {
        let own = [bench.v4.capacity() * 8, bench.v6.capacity() * 32, bench.queries_v4.capacity() * 4];
        let own: usize = own.iter().sum::<usize>() + bench.queries_v6.capacity() * 16;
        MOST.store(LIVE.load(Ordering::Relaxed), Ordering::Relaxed);
        let next = read(bench.parts.iter().map(Vec::as_slice)).ok();
        let most = MOST.load(Ordering::Relaxed);
        bench.table = next.map(Table::Edgeweir);
        most.saturating_sub(own)
    })
}

/// Writes the prefixes as a list with a line each; gives its length.
#[unsafe(no_mangle)]
pub extern "C" fn write_text() -> usize {
    use std::fmt::Write as _;
    with(|bench| {
        let mut text = String::new();
        for (bits, length) in &bench.v4 {
            let _ = writeln!(text, "{}/{length}", Ipv4Addr::from_bits(*bits));
        }
        for (bits, length) in &bench.v6 {
            let _ = writeln!(text, "{}/{length}", Ipv6Addr::from_bits(*bits));
        }
        bench.text = text;
        bench.text.len()
    })
}

/// Where the text begins that was written last.
#[unsafe(no_mangle)]
pub extern "C" fn text_at() -> *const u8 {
    with(|bench| bench.text.as_ptr())
}

/// From the list, as it arrives in pieces, to the stored form; gives its
/// length. A prefix inside another is dropped on the way, as from every list.
#[unsafe(no_mangle)]
pub extern "C" fn compile_text() -> usize {
    with(|bench| {
        let limits = Limits { bytes: u64::MAX, prefixes: usize::MAX };
        let mut parser = Parser::new(&Format::Netset, HostBits::Refuse, limits);
        for piece in bench.text.as_bytes().chunks(1 << 16) {
            if parser.push(piece).is_err() {
                return 0;
            }
        }
        let Ok(list) = parser.finish() else { return 0 };
        let mut builder = Builder::default();
        list.build(&mut builder, SetId(0));
        let set = StoredSet { name: "a".to_owned(), since: 0, source: "import".to_owned() };
        encode(&StoredSets { generation: 1, sets: vec![set], index: builder.finish() }).len()
    })
}

/// Reads words at random places of so many, each place told by the word
/// before: what one wait for memory costs here. Gives the last.
#[unsafe(no_mangle)]
pub extern "C" fn chase(words: u32, reads: u32) -> u32 {
    thread_local! {
        static CYCLE: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
    }
    CYCLE.with_borrow_mut(|cycle| {
        if cycle.len() != words as usize {
            *cycle = data::cycle(words);
        }
        (0..reads).fold(1, |at, _| cycle[at as usize]).max(1)
    })
}
