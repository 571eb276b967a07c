//! How many writers share a place that cannot compare and swap.
//!
//! Every writer has a document of its own, which nobody else writes. A common document has what those held that have
//! ended; whoever ends writes it anew, and may so undo what another wrote at the same moment. Nothing is lost by that:
//! readers read the writers' own documents too, and such a document is removed only where the common one has it and it
//! is an hour old, when nobody is still writing a common document without it.
//!
//! The order of reading matters: the writers' documents, then, again, the common one. What was removed before the list of
//! writers was read is in the common document that is read after it.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use crate::backend::parallel::in_parallel;
use crate::backend::{BackendError, Document, Merge, Moment, Removed};
use crate::{Descriptor, Digest};

/// Age from which a writer's document may be removed.
const STALE: Duration = Duration::from_hours(1);
/// Most writers' documents that one writer looks at, to remove them.
const REMOVED_AT_ONCE: usize = 32;
/// Times that the common document is written when others write it too.
const ROUNDS: usize = 3;
/// Digits of a writer's id.
const ID_DIGITS: usize = 16;

/// One of the documents of a place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Shard {
    /// The one of all.
    Common,
    /// One writer's, by its id.
    Writer(String),
}

/// What is known of a document without reading it.
#[derive(Clone, Debug, Default)]
pub(super) struct Mark {
    /// Differs for each time it is written.
    pub version: String,
    /// When it was written.
    pub written: Option<SystemTime>,
    /// Whether its writer will not write it again.
    pub ended: bool,
    /// Of the common document: the writers that have ended and whose documents are in it.
    pub contains: BTreeSet<String>,
}

/// A document that is there.
#[derive(Debug)]
pub(super) struct Stored {
    pub mark: Mark,
    pub document: Document,
}

/// A place for documents.
pub(super) trait Shards: Sync {
    /// Lists the ids of writers; none where the place does not list.
    fn list(&self) -> Result<Vec<String>, BackendError>;
    /// Looks at a document; `None` where there is none that can be read.
    fn look(&self, shard: &Shard) -> Result<Option<Mark>, BackendError>;
    /// Reads a document; `None` where there is none that can be read.
    fn read(&self, shard: &Shard) -> Result<Option<Stored>, BackendError>;
    /// Writes a document and returns its version.
    fn write(&self, shard: &Shard, document: &Document, mark: &Mark) -> Result<String, BackendError>;
    /// Removes that version of a document; says whether the place lets it.
    fn remove(&self, shard: &Shard, version: &str) -> Result<bool, BackendError>;
}

/// A writer. Its id lasts until it ends; what it writes after that is another writer's.
#[derive(Debug)]
pub(super) struct Writer(Mutex<Own>);

#[derive(Debug)]
struct Own {
    id: String,
    ended: bool,
    /// What was written midway last.
    written: Option<Digest>,
}

impl Own {
    fn new() -> Self {
        // The standard library's hasher is the source of random numbers that is at hand.
        let id = RandomState::new().build_hasher().finish();
        Self { id: format!("{id:016x}"), ended: false, written: None }
    }
}

/// Says whether a text can be a writer's id.
pub(super) fn is_id(text: &str) -> bool {
    text.len() == ID_DIGITS && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

impl Writer {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Own::new()))
    }

    /// Reads all documents.
    pub(super) fn load(&self, place: &impl Shards) -> Result<Vec<Vec<u8>>, BackendError> {
        let id = self.0.lock().unwrap_or_else(PoisonError::into_inner).id.clone();
        Ok(All::glance(place, &id)?.into_documents())
    }

    /// Writes the writer's document; at the end, the common one as well.
    pub(super) fn publish(
        &self,
        place: &impl Shards,
        merge: Merge<'_>,
        moment: Moment,
    ) -> Result<(), BackendError> {
        let mut own = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if own.ended {
            *own = Own::new();
        }
        let document = merge(&[]);
        let digest = Digest::of(&document.bytes);
        own.ended = moment == Moment::End;
        if own.ended || own.written != Some(digest) {
            let mark = Mark { ended: own.ended, ..Mark::default() };
            place.write(&Shard::Writer(own.id.clone()), &document, &mark)?;
            own.written = Some(digest);
        }
        match moment {
            Moment::Midway => Ok(()),
            Moment::End => {
                if let Some(all) = write_common(place, &own.id, merge)? {
                    all.remove_stale(place, &own.id)?;
                }
                Ok(())
            }
        }
    }

    /// Replaces the documents by one.
    pub(super) fn rewrite(&self, place: &impl Shards, rewrite: Merge<'_>) -> Result<Removed, BackendError> {
        let mut own = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if own.ended {
            *own = Own::new();
        }
        if All::read(place, &own.id)?.stored().next().is_none() {
            return Ok(Removed::default());
        }
        let Some(before) = write_common(place, &own.id, rewrite)? else {
            return Ok(Removed::default());
        };
        let mut removed = Removed { documents: before.remove_stale(place, &own.id)?, ..Removed::default() };
        if let Some(common) = &before.common
            && place.remove(&Shard::Common, &common.mark.version)?
        {
            removed.documents += 1;
        }
        // What a document still names that came while this one was written is not counted, nor removed.
        let after = All::read(place, &own.id)?;
        let kept: BTreeSet<_> = after.blobs().map(|blob| blob.digest).collect();
        let gone: BTreeMap<_, _> =
            before.blobs().filter(|b| !kept.contains(&b.digest)).map(|b| (b.digest, b.size)).collect();
        removed.blobs = gone.len() as u64;
        removed.bytes = gone.values().sum();
        Ok(removed)
    }
}

/// Writes the common document until it is there as written; `None` where others were faster each time.
fn write_common(place: &impl Shards, id: &str, merge: Merge<'_>) -> Result<Option<All>, BackendError> {
    for _ in 0..ROUNDS {
        let all = All::read(place, id)?;
        let merged = merge(&all.documents());
        let version = place.write(&Shard::Common, &merged, &all.mark())?;
        if place.look(&Shard::Common)?.is_some_and(|mark| mark.version == version) {
            return Ok(Some(all));
        }
    }
    Ok(None)
}

/// All documents of a place.
struct All {
    common: Option<Stored>,
    writers: BTreeMap<String, Stored>,
    /// Writers that have a document, whether it was read or is part of the common one.
    listed: BTreeSet<String>,
}

impl All {
    /// Reads what is there at about this moment: enough for those who do not write.
    fn glance(place: &impl Shards, own: &str) -> Result<Self, BackendError> {
        let (common, listed) = std::thread::scope(|scope| {
            let listed = scope.spawn(|| place.list());
            (place.read(&Shard::Common), listed.join().expect("listing does not panic"))
        });
        let mut all = Self { common: common?, writers: BTreeMap::new(), listed: BTreeSet::new() };
        all.listed = listed?.into_iter().chain([own.to_owned()]).collect();
        let contained = all.common.as_ref().map_or_else(BTreeSet::new, |common| common.mark.contains.clone());
        all.read_writers(place, &contained)?;
        Ok(all)
    }

    /// Reads all that a new common document must have.
    fn read(place: &impl Shards, own: &str) -> Result<Self, BackendError> {
        let mut all =
            Self { common: place.read(&Shard::Common)?, writers: BTreeMap::new(), listed: BTreeSet::new() };
        let mut read = BTreeSet::new();
        for round in 1..=ROUNDS {
            all.listed = place.list()?.into_iter().chain([own.to_owned()]).collect();
            let mut not_wanted = read.clone();
            if round < ROUNDS {
                not_wanted.extend(all.common.iter().flat_map(|common| common.mark.contains.clone()));
            }
            all.read_writers(place, &not_wanted)?;
            read.extend(all.listed.difference(&not_wanted).cloned());
            let version = place.look(&Shard::Common)?.map(|mark| mark.version);
            if version == all.common.as_ref().map(|common| common.mark.version.clone()) {
                break;
            }
            all.common = place.read(&Shard::Common)?;
        }
        Ok(all)
    }

    fn read_writers(
        &mut self,
        place: &impl Shards,
        not_wanted: &BTreeSet<String>,
    ) -> Result<(), BackendError> {
        let wanted: Vec<_> = self.listed.difference(not_wanted).cloned().collect();
        let found = in_parallel(&wanted, |id| place.read(&Shard::Writer(id.clone())));
        for (id, stored) in wanted.into_iter().zip(found) {
            self.writers.extend(stored?.map(|stored| (id, stored)));
        }
        Ok(())
    }

    fn stored(&self) -> impl Iterator<Item = &Stored> {
        self.common.iter().chain(self.writers.values())
    }

    fn documents(&self) -> Vec<Vec<u8>> {
        self.stored().map(|stored| stored.document.bytes.clone()).collect()
    }

    fn into_documents(self) -> Vec<Vec<u8>> {
        self.common
            .into_iter()
            .chain(self.writers.into_values())
            .map(|stored| stored.document.bytes)
            .collect()
    }

    fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        self.stored().flat_map(|stored| &stored.document.blobs)
    }

    /// Returns the mark of a common document that is made of all.
    fn mark(&self) -> Mark {
        let old = self.common.iter().flat_map(|common| &common.mark.contains);
        let old = old.filter(|id| self.listed.contains(*id));
        let new = self.writers.iter().filter(|(_, stored)| stored.mark.ended).map(|(id, _)| id);
        Mark { contains: old.chain(new).cloned().collect(), ..Mark::default() }
    }

    /// Removes the writers' documents that are in the common one and old enough; says how many.
    ///
    /// Each writer begins behind its own id, so that together they come to all.
    fn remove_stale(&self, place: &impl Shards, own: &str) -> Result<u64, BackendError> {
        let (before, behind): (Vec<_>, Vec<_>) = self.listed.iter().partition(|id| id.as_str() < own);
        let ids: Vec<_> = behind.into_iter().chain(before).take(REMOVED_AT_ONCE).collect();
        let marks = in_parallel(&ids, |id| match self.writers.get(*id) {
            Some(stored) => Ok(Some(stored.mark.clone())),
            None => place.look(&Shard::Writer((*id).clone())),
        });
        let now = SystemTime::now();
        let mut removed = 0;
        for (id, mark) in ids.into_iter().zip(marks) {
            let Some(mark) = mark? else { continue };
            let age = mark.written.and_then(|written| now.duration_since(written).ok());
            if age.is_none_or(|age| age < STALE) {
                continue;
            }
            if !place.remove(&Shard::Writer(id.clone()), &mark.version)? {
                break;
            }
            removed += 1;
        }
        Ok(removed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A place in memory, with one line for each writer's entry.
    #[derive(Default)]
    struct Memory {
        there: Mutex<BTreeMap<Shard, (Mark, Vec<u8>)>>,
        writes: Mutex<u32>,
        /// Documents of writers that were read.
        reads: Mutex<u32>,
        /// Writes the common document once more, as it was, behind the back of whoever writes it.
        undoes: bool,
        lists: bool,
        removes: bool,
    }

    impl Memory {
        fn new() -> Self {
            Self { lists: true, removes: true, ..Self::default() }
        }

        fn age(&self) {
            for (mark, _) in self.there.lock().unwrap().values_mut() {
                mark.written = mark.written.map(|written| written - STALE);
            }
        }

        fn writers(&self) -> usize {
            self.there.lock().unwrap().keys().filter(|shard| **shard != Shard::Common).count()
        }

        fn lines(&self) -> BTreeSet<String> {
            lines(&Writer::new().load(self).unwrap())
        }
    }

    impl Shards for Memory {
        fn list(&self) -> Result<Vec<String>, BackendError> {
            let there = self.there.lock().unwrap();
            let ids = there.keys().filter(|_| self.lists).filter_map(|shard| match shard {
                Shard::Common => None,
                Shard::Writer(id) => Some(id.clone()),
            });
            Ok(ids.collect())
        }

        fn look(&self, shard: &Shard) -> Result<Option<Mark>, BackendError> {
            Ok(self.there.lock().unwrap().get(shard).map(|(mark, _)| mark.clone()))
        }

        fn read(&self, shard: &Shard) -> Result<Option<Stored>, BackendError> {
            *self.reads.lock().unwrap() += u32::from(*shard != Shard::Common);
            let there = self.there.lock().unwrap();
            Ok(there.get(shard).map(|(mark, bytes)| Stored {
                mark: mark.clone(),
                document: Document { bytes: bytes.clone(), blobs: Vec::new() },
            }))
        }

        fn write(&self, shard: &Shard, document: &Document, mark: &Mark) -> Result<String, BackendError> {
            let mut writes = self.writes.lock().unwrap();
            *writes += 1;
            let (version, written) = (writes.to_string(), Some(SystemTime::now()));
            let mark = Mark { version: version.clone(), written, ..mark.clone() };
            let mut there = self.there.lock().unwrap();
            let old = there.insert(shard.clone(), (mark, document.bytes.clone()));
            if self.undoes && *shard == Shard::Common {
                match old {
                    Some(old) => there.insert(Shard::Common, old),
                    None => there.remove(&Shard::Common),
                };
            }
            Ok(version)
        }

        fn remove(&self, shard: &Shard, version: &str) -> Result<bool, BackendError> {
            let mut there = self.there.lock().unwrap();
            if self.removes && there.get(shard).is_some_and(|(mark, _)| mark.version == version) {
                there.remove(shard);
            }
            Ok(self.removes)
        }
    }

    fn lines(documents: &[Vec<u8>]) -> BTreeSet<String> {
        documents
            .iter()
            .flat_map(|d| String::from_utf8_lossy(d).lines().map(str::to_owned).collect::<Vec<_>>())
            .collect()
    }

    fn publish(place: &Memory, writer: &Writer, line: &str, moment: Moment) {
        let merge = |found: &[Vec<u8>]| {
            let mut all = lines(found);
            all.insert(line.to_owned());
            Document { bytes: all.into_iter().collect::<Vec<_>>().join("\n").into_bytes(), blobs: Vec::new() }
        };
        writer.publish(place, &merge, moment).unwrap();
    }

    #[test]
    fn what_is_undone_is_still_there_and_later_joined() {
        let mut place = Memory { undoes: true, ..Memory::new() };
        for line in ["a", "b", "c"] {
            publish(&place, &Writer::new(), line, Moment::End);
            place.age();
        }
        assert_eq!(place.lines().len(), 3);
        assert_eq!(place.writers(), 3, "none is removed that is nowhere else");
        place.undoes = false;
        publish(&place, &Writer::new(), "d", Moment::End);
        assert_eq!(place.writers(), 1, "all are in the common document, and old but for the last");
        assert_eq!(place.lines().len(), 4);
    }

    #[test]
    fn a_place_that_neither_lists_nor_removes_will_do() {
        let place = Memory { lists: false, removes: false, ..Memory::new() };
        for line in ["a", "b", "c"] {
            publish(&place, &Writer::new(), line, Moment::End);
        }
        assert_eq!(place.lines().len(), 3);
    }

    #[test]
    fn documents_that_cannot_be_removed_are_read_once() {
        let place = Memory { removes: false, ..Memory::new() };
        for n in 0..20 {
            publish(&place, &Writer::new(), &n.to_string(), Moment::End);
            place.age();
        }
        assert_eq!(place.writers(), 20);
        *place.reads.lock().unwrap() = 0;
        assert_eq!(place.lines().len(), 20);
        // The reader's own, which is not there.
        assert_eq!(*place.reads.lock().unwrap(), 1);
    }

    #[test]
    fn a_writer_that_goes_on_after_its_end_is_another() {
        let place = Memory::new();
        let writer = Writer::new();
        for (line, moment, writers) in [
            ("a", Moment::Midway, 1),
            ("a", Moment::Midway, 1),
            ("a", Moment::End, 1),
            ("b", Moment::Midway, 2),
            ("b", Moment::End, 2),
        ] {
            publish(&place, &writer, line, moment);
            assert_eq!(place.writers(), writers);
        }
        assert_eq!(*place.writes.lock().unwrap(), 6, "what did not change midway is not written");
        assert_eq!(place.lines().len(), 2);
    }
}
