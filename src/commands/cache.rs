//! `kairn cache`: what the store holds, and throwing away what is not needed.

use std::collections::BTreeMap;

use kairn_executor::cache::CacheIndex;
use kairn_executor::explain::{bytes, date};
use kairn_executor::store::{Budget, Item, Kind, Store, Usage, now_s};
use serde_json::{Value, json};

use crate::args::{Cache, CacheCommand, CachePrune, CacheView, Form};
use crate::failure::{Failure, chain};
use crate::{budget, caches, machine};

/// Runs the command.
pub fn run(args: &Cache) -> Result<(), Failure> {
    match &args.command {
        CacheCommand::Du(view) => du(view),
        CacheCommand::Ls(view) => ls(view),
        CacheCommand::Prune(prune) if prune.registry.is_empty() => prune_store(prune),
        CacheCommand::Prune(prune) => prune_shared(prune),
        CacheCommand::Verify(view) => verify(view),
    }
}

fn open(view: &CacheView) -> Result<Store, Failure> {
    machine::open_store(view.kairn_root.as_deref())
}

fn usage(store: &Store) -> Result<Usage, Failure> {
    store.usage().map_err(|e| machine::of_store(&e))
}

/// Sizes by something, the largest first.
fn sums<K: Ord>(items: &[Item], by: impl Fn(&Item) -> Vec<K>) -> Vec<(K, u64, usize)> {
    let mut sums: BTreeMap<K, (u64, usize)> = BTreeMap::new();
    for item in items {
        for key in by(item) {
            let (size, count) = sums.entry(key).or_default();
            *size += item.size_bytes;
            *count += 1;
        }
    }
    let mut sums: Vec<_> = sums.into_iter().map(|(key, (size, count))| (key, size, count)).collect();
    sums.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    sums
}

const AGES: [(&str, u64); 4] =
    [("today", 86_400), ("this week", 7 * 86_400), ("this month", 30 * 86_400), ("longer ago", u64::MAX)];

fn du(view: &CacheView) -> Result<(), Failure> {
    let store = open(view)?;
    let usage = usage(&store)?;
    let items = &usage.items;
    let now = now_s();
    let age = |item: &Item| {
        let age = now.saturating_sub(item.used_s);
        AGES.iter().find(|(_, most)| age <= *most).map_or("longer ago", |(name, _)| *name).to_owned()
    };
    let stage = |item: &Item| item.place.as_ref().map(|place| place.stage.clone()).into_iter().collect();
    let of_kind =
        |kind: Kind| items.iter().filter(move |item| item.kind == kind).cloned().collect::<Vec<_>>();
    let tables = [
        ("kind", sums(items, |item| vec![item.kind.name().to_owned()])),
        ("image", sums(items, |item| item.images.iter().cloned().collect())),
        ("stage", sums(items, stage)),
        ("mount", sums(&of_kind(Kind::Mount), |item| vec![item.name.clone()])),
        ("used", sums(items, |item| vec![age(item)])),
    ];
    if view.format == Form::Json {
        let mut object = serde_json::Map::new();
        object.insert("total_bytes".to_owned(), json!(usage.total_bytes()));
        object.insert("free_bytes".to_owned(), json!(store.free_bytes()));
        for (name, rows) in tables {
            let rows: Vec<Value> = rows
                .into_iter()
                .map(|(key, size, count)| json!({ name: key, "size_bytes": size, "items": count }))
                .collect();
            object.insert(format!("by_{name}"), json!(rows));
        }
        println!("{:#}", Value::Object(object));
        return Ok(());
    }
    for (name, rows) in tables.iter().filter(|(_, rows)| !rows.is_empty()) {
        println!("by {name}:");
        for (key, size, count) in rows {
            println!("  {:>9}  {count:>5}  {key}", bytes(*size));
        }
    }
    println!("total {}, free on the disk {}", bytes(usage.total_bytes()), bytes(store.free_bytes()));
    if items.iter().any(|item| item.images.len() > 1) {
        println!("layers of several images count for each of them");
    }
    Ok(())
}

fn ls(view: &CacheView) -> Result<(), Failure> {
    let mut items = usage(&open(view)?)?.items;
    items.sort_by(|a, b| a.used_s.cmp(&b.used_s).then_with(|| a.name.cmp(&b.name)));
    if view.format == Form::Json {
        println!("{:#}", Value::Array(items.iter().map(item_json).collect()));
        return Ok(());
    }
    for item in &items {
        println!("{}", item_line(item));
    }
    Ok(())
}

fn item_json(item: &Item) -> Value {
    json!({
        "kind": item.kind.name(),
        "name": item.name,
        "size_bytes": item.size_bytes,
        "used_s": item.used_s,
        "stage": item.place.as_ref().map(|place| &place.stage),
        "instruction": item.place.as_ref().map(|place| &place.text),
        "images": item.images,
    })
}

fn item_line(item: &Item) -> String {
    let when = i64::try_from(item.used_s).ok().and_then(date).unwrap_or_default();
    let what =
        item.place.as_ref().map_or_else(String::new, |place| format!("  [{}] {}", place.stage, place.text));
    let images: Vec<&str> = item.images.iter().map(String::as_str).collect();
    let images = if images.is_empty() { String::new() } else { format!("  ({})", images.join(", ")) };
    let name: String = item.name.chars().take(60).collect();
    format!("{when}  {:>9}  {:<8}  {name}{what}{images}", bytes(item.size_bytes), item.kind.name())
}

fn prune_store(args: &CachePrune) -> Result<(), Failure> {
    let store = open(&args.view)?;
    let given = Budget {
        age_s: args.age.as_deref().map(budget::age).transpose()?,
        size_bytes: args.size.as_deref().map(|text| budget::size(text, &store)).transpose()?,
        free_bytes: args.free.as_deref().map(|text| budget::size(text, &store)).transpose()?,
        reserve_bytes: 0,
    };
    let nothing = Budget { age_s: None, size_bytes: None, free_bytes: None, reserve_bytes: 0 };
    let budget = if args.all {
        Budget { age_s: Some(0), size_bytes: Some(0), ..nothing }
    } else if given == nothing {
        budget::parse(budget::DEFAULT, &store)?.unwrap_or(nothing)
    } else {
        given
    };
    let pruned = store.prune(&budget, args.dry_run).map_err(|e| machine::of_store(&e))?;
    if args.view.format == Form::Json {
        let items: Vec<Value> = pruned.items.iter().map(item_json).collect();
        println!("{:#}", json!({ "dry_run": args.dry_run, "size_bytes": pruned.bytes(), "items": items }));
        return Ok(());
    }
    for item in &pruned.items {
        println!("{}", item_line(item));
    }
    let verb = if args.dry_run { "would be thrown away" } else { "thrown away" };
    println!("{} things, {} {verb}", pruned.items.len(), bytes(pruned.bytes()));
    Ok(())
}

/// Takes entries out of shared caches, by their age.
fn prune_shared(args: &CachePrune) -> Result<(), Failure> {
    let age = match (&args.age, args.all) {
        (Some(age), _) => budget::age(age)?,
        (None, true) => 0,
        (None, false) => {
            return Err(Failure::user("`--registry` needs an age").with_help("give `--age 30d`, or `--all`"));
        }
    };
    let oldest = now_s().saturating_sub(age);
    for target in caches::exports(&args.registry, &args.registries, false)?.targets {
        let name = target.backend.name();
        let counts = std::sync::Mutex::new((0_usize, 0_usize));
        let rewrite = |documents: &[Vec<u8>]| {
            let mut index = CacheIndex::joined(documents);
            let before = index.entries.len() + index.mounts.len();
            index.entries.retain(|_, entry| entry.record.made_s > oldest);
            index.mounts.retain(|_, mount| mount.made_ms / 1000 > oldest);
            let after = index.entries.len() + index.mounts.len();
            *counts.lock().expect("no holder of this lock panics") = (before, after);
            index.to_document()
        };
        let removed = target.backend.rewrite(&rewrite).map_err(|e| Failure::environment(chain(&e)))?;
        let (before, after) = *counts.lock().expect("no holder of this lock panics");
        if args.view.format == Form::Json {
            println!(
                "{:#}",
                json!({
                    "cache": name, "entries_removed": before - after, "entries": after,
                    "documents_removed": removed.documents, "blobs_removed": removed.blobs,
                    "bytes_removed": removed.bytes,
                })
            );
        } else {
            println!(
                "{name}: {} of {before} entries taken out, {} documents and {} blobs ({}) removed",
                before - after,
                removed.documents,
                removed.blobs,
                bytes(removed.bytes)
            );
        }
    }
    Ok(())
}

fn verify(view: &CacheView) -> Result<(), Failure> {
    let store = open(view)?;
    let verified = store.verify().map_err(|e| machine::of_store(&e))?;
    if view.format == Form::Json {
        println!("{:#}", json!({ "checked": verified.checked, "bad": verified.bad }));
    } else {
        for bad in &verified.bad {
            println!("thrown away: {bad}");
        }
        println!("{} things checked, {} bad", verified.checked, verified.bad.len());
    }
    Ok(())
}
