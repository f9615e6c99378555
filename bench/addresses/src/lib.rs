//! Longest-prefix match in WebAssembly: the gateway's index beside public
//! crates. One instance holds one structure; `bench/addresses.mjs` times the
//! calls. Everything is made from a fixed seed.

mod data;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::RefCell;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};

use edgeweir::addresses::format::{decode, encode, read};
use edgeweir::addresses::{Builder, SetId, StoredSet, StoredSets};
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
    binary: Vec<u8>,
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
    let bench =
        Bench { v4, v6, queries_v4, queries_v6, table: None, binary: Vec::new(), text: String::new() };
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

/// Looks every IPv4 query up; gives how many were found.
#[unsafe(no_mangle)]
pub extern "C" fn lookup_v4() -> u32 {
    with(|bench| match bench.table.as_ref().expect("a table") {
        // Prefix, set and entry are all asked for.
        Table::Edgeweir(sets) => count(&bench.queries_v4, |query| {
            black_box(sets.index.longest(IpAddr::V4(Ipv4Addr::from_bits(query)))).is_some()
        }),
        Table::TreeBitmap(table, _) => count(&bench.queries_v4, |query| {
            black_box(table.longest_match(Ipv4Addr::from_bits(query))).is_some()
        }),
        Table::PrefixTrie(table, _) => {
            count(&bench.queries_v4, |query| black_box(table.get_lpm(&(query, 32))).is_some())
        }
    })
}

/// The same for IPv6.
#[unsafe(no_mangle)]
pub extern "C" fn lookup_v6() -> u32 {
    with(|bench| match bench.table.as_ref().expect("a table") {
        Table::Edgeweir(sets) => count(&bench.queries_v6, |query| {
            black_box(sets.index.longest(IpAddr::V6(Ipv6Addr::from_bits(query)))).is_some()
        }),
        Table::TreeBitmap(_, table) => count(&bench.queries_v6, |query| {
            black_box(table.longest_match(Ipv6Addr::from_bits(query))).is_some()
        }),
        Table::PrefixTrie(_, table) => {
            count(&bench.queries_v6, |query| black_box(table.get_lpm(&(query, 128))).is_some())
        }
    })
}

fn count<T: Copy>(queries: &[T], mut found: impl FnMut(T) -> bool) -> u32 {
    queries.iter().map(|query| u32::from(found(*query))).sum()
}

/// The loop alone.
#[unsafe(no_mangle)]
pub extern "C" fn loop_v4() -> u32 {
    with(|bench| count(&bench.queries_v4, |query| black_box(query) != 0))
}

/// The loop alone.
#[unsafe(no_mangle)]
pub extern "C" fn loop_v6() -> u32 {
    with(|bench| count(&bench.queries_v6, |query| black_box(query) != 0))
}

/// Writes the stored form of our table; gives its length.
#[unsafe(no_mangle)]
pub extern "C" fn write() -> usize {
    with(|bench| {
        let Some(Table::Edgeweir(sets)) = &bench.table else { return 0 };
        bench.binary = encode(sets);
        bench.binary.len()
    })
}

/// Copy and checksum, from parts of 1 MiB; gives the entries.
#[unsafe(no_mangle)]
pub extern "C" fn copy_and_checksum() -> usize {
    with(|bench| read(bench.binary.chunks(1 << 20)).map_or(0, |sets| black_box(sets).index.len()))
}

/// The same with the walk over all entries.
#[unsafe(no_mangle)]
pub extern "C" fn load() -> usize {
    with(|bench| decode(bench.binary.chunks(1 << 20)).map_or(0, |sets| black_box(sets).index.len()))
}

/// The most bytes that are held while a loaded table takes the place of
/// another, the binary of the new one among them.
#[unsafe(no_mangle)]
pub extern "C" fn peak_of_swap() -> usize {
    with(|bench| {
        let own = [bench.v4.capacity() * 8, bench.v6.capacity() * 32, bench.queries_v4.capacity() * 4];
        let own: usize = own.iter().sum::<usize>() + bench.queries_v6.capacity() * 16;
        MOST.store(0, Ordering::Relaxed);
        let next = decode(bench.binary.chunks(1 << 20)).ok();
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

/// From the list to the stored form; gives its length.
#[unsafe(no_mangle)]
pub extern "C" fn compile_text() -> usize {
    with(|bench| {
        let mut builder = Builder::default();
        for line in bench.text.lines() {
            match line.parse() {
                Ok(prefix) => builder.push(prefix, SetId(0)),
                Err(_) => return 0,
            }
        }
        let set = StoredSet { name: "a".to_owned(), since: 0, source: "import".to_owned() };
        encode(&StoredSets { generation: 1, sets: vec![set], index: builder.finish() }).len()
    })
}

/// Reads words at random places of 8 MiB, each place told by the word before:
/// what one wait for memory costs here. Gives the last.
#[unsafe(no_mangle)]
pub extern "C" fn chase(reads: u32) -> u32 {
    thread_local! {
        static CYCLE: Vec<u32> = data::cycle(1 << 21);
    }
    CYCLE.with(|cycle| (0..reads).fold(1, |at, _| cycle[at as usize]).max(1))
}
