//! The `Control` object's storage on memory. It fails when told to, and dies
//! at a point that is told: what is stored stays, and nothing answers any
//! more.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use edgeweir::error::{Dependency, PlatformError};
use edgeweir::platform::{BanKind, BanRow, ControlStore, Table, Write};
use edgeweir::time::Timestamp;

/// What the platform's storage takes in a row, in bytes.
const ROW_LIMIT: usize = 2_000_000;

/// What is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Disk {
    pub values: BTreeMap<String, String>,
    pub rows: BTreeMap<(Table, u64), String>,
    pub objects: BTreeMap<String, Vec<u8>>,
    pub alarm: Option<Timestamp>,
    pub bans: BTreeMap<String, BanRow>,
}

#[derive(Default)]
pub struct MemoryStore {
    pub disk: RefCell<Disk>,
    /// How many more points it passes before it dies.
    pub fuse: Cell<Option<u32>>,
    /// Whether it has died.
    pub dead: Cell<bool>,
    /// Whether every write fails, and nothing is stored.
    pub full: Cell<bool>,
    /// How many lists were stored.
    pub applied: Cell<u32>,
}

impl MemoryStore {
    /// Passes a point at which it may die.
    pub fn point(&self) -> Result<(), PlatformError> {
        match self.fuse.get() {
            Some(0) => {
                self.fuse.set(None);
                self.dead.set(true);
            }
            Some(left) => self.fuse.set(Some(left - 1)),
            None => {}
        }
        if self.dead.get() { Err(Self::error("dead")) } else { Ok(()) }
    }

    fn error(cause: &str) -> PlatformError {
        PlatformError::failed(Dependency::Control, cause)
    }
}

impl ControlStore for MemoryStore {
    fn value(&self, name: &str) -> Result<Option<String>, PlatformError> {
        self.point()?;
        Ok(self.disk.borrow().values.get(name).cloned())
    }

    fn row(&self, table: Table, number: u64) -> Result<Option<String>, PlatformError> {
        self.point()?;
        Ok(self.disk.borrow().rows.get(&(table, number)).cloned())
    }

    fn rows(&self, table: Table, before: Option<u64>, limit: usize) -> Result<Vec<String>, PlatformError> {
        self.point()?;
        let disk = self.disk.borrow();
        let range = (table, 0)..(table, before.unwrap_or(u64::MAX));
        Ok(disk.rows.range(range).rev().take(limit).map(|(_, row)| row.clone()).collect())
    }

    fn object(&self, hash: &str) -> Result<Option<Vec<u8>>, PlatformError> {
        self.point()?;
        Ok(self.disk.borrow().objects.get(hash).cloned())
    }

    fn ban(&self, key: &str) -> Result<Option<String>, PlatformError> {
        self.point()?;
        Ok(self.disk.borrow().bans.get(key).map(|row| row.text.clone()))
    }

    fn bans(&self, after: &str, now: Timestamp, limit: usize) -> Result<Vec<String>, PlatformError> {
        self.point()?;
        let disk = self.disk.borrow();
        let holds = |row: &&BanRow| row.kind != BanKind::Lifted && row.until > now && *row.key > *after;
        let line = |row: &BanRow| format!("{} {} {}", row.key, row.until.millis(), row.text);
        Ok(disk.bans.values().filter(holds).take(limit).map(line).collect())
    }

    fn ban_count(&self, kind: BanKind, now: Timestamp) -> Result<usize, PlatformError> {
        self.point()?;
        let disk = self.disk.borrow();
        Ok(disk.bans.values().filter(|row| row.kind == kind && row.until > now).count())
    }

    fn first_bans(&self, kind: BanKind, now: Timestamp, limit: usize) -> Result<Vec<String>, PlatformError> {
        self.point()?;
        let disk = self.disk.borrow();
        let mut rows: Vec<_> = disk.bans.values().filter(|row| row.kind == kind && row.until > now).collect();
        rows.sort_by_key(|row| (row.until, &row.key));
        Ok(rows.into_iter().take(limit).map(|row| format!("{} {}", row.key, row.until.millis())).collect())
    }

    fn all_bans(&self, now: Timestamp) -> Result<String, PlatformError> {
        self.point()?;
        let disk = self.disk.borrow();
        let rows = disk.bans.values().filter(|row| row.until > now);
        Ok(rows.map(|row| format!("{} {}", row.key, row.short)).collect::<Vec<_>>().join("\n"))
    }

    fn apply(&self, writes: Vec<Write>) -> Result<(), PlatformError> {
        self.point()?;
        if self.full.get() {
            return Err(Self::error("full"));
        }
        let mut disk = self.disk.borrow_mut();
        let taken = |write: &Write| match write {
            Write::Row(table, number, _) => disk.rows.contains_key(&(*table, *number)),
            _ => false,
        };
        let large = |write: &Write| matches!(write, Write::Value(_, text) if text.len() > ROW_LIMIT);
        if writes.iter().any(large) {
            return Err(Self::error("string or blob too big"));
        }
        if writes.iter().any(taken) {
            return Err(Self::error("a row of that number is there"));
        }
        for write in writes {
            match write {
                Write::Value(name, text) => {
                    disk.values.insert(name.to_owned(), text);
                }
                Write::Row(table, number, text) => {
                    disk.rows.insert((table, number), text);
                }
                Write::Object(hash, bytes) => {
                    disk.objects.entry(hash).or_insert(bytes);
                }
                Write::Forget(hash) => {
                    disk.objects.remove(&hash);
                }
                Write::Alarm(at) => disk.alarm = Some(at),
                Write::Ban(row) => {
                    disk.bans.insert(row.key.clone(), row);
                }
                Write::ForgetBan(key) => {
                    disk.bans.remove(&key);
                }
                Write::SweepBans(now) => disk.bans.retain(|_, row| row.until > now),
            }
        }
        drop(disk);
        self.applied.set(self.applied.get() + 1);
        // Stored, and dead before anybody hears of it.
        self.point()
    }
}
