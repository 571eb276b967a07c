//! The key of a COPY says what its layer holds: no more, no less.
//!
//! Trees and copies are made up; one thing is changed; then either the layer and the key are both what they were, or
//! both are others.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use kairn_compiler::graph::{Archives, CopyOp, CopySource, Input, Op, Ownership, Parents};
use kairn_compiler::key::key_parts;
use kairn_compiler::mode::ModeChange;
use kairn_executor::copy::View;
use kairn_executor::copy::plan::{From, Planner};
use kairn_executor::copy::select::{self, Top};
use kairn_executor::snapshot::read::open_root;
use kairn_executor::tree::{LayerTree, Node, NodeKind, StackedTree, parent};
use kairn_executor::users::Owner;
use kairn_image::Digest;
use kairn_image::layer::Timestamp;
use proptest::prelude::*;

/// Names as they may stand in a tree: a few, so that copies and changes often meet.
const NAMES: [&str; 9] = ["a", "b", "d", "d/a", "d/b", "d/e", "d/e/f", "g", "g/a"];

#[derive(Clone, Debug)]
enum Change {
    Content(usize, u8),
    Mode(usize, u32),
    Owner(usize, u32),
    Time(usize, i64),
    Attribute(usize),
    Rename(usize, usize),
    Remove(usize),
    Add(usize, Node),
    Dest(String),
    Chmod(Option<String>),
    Chown(Option<u32>),
    Exclude(Vec<String>),
}

fn node() -> impl Strategy<Value = Node> {
    let kind = prop_oneof![
        4 => (0_u8..3).prop_map(file),
        2 => Just(NodeKind::Directory),
        1 => prop_oneof![Just("a"), Just("b")].prop_map(|to| NodeKind::Symlink { target: to.into() }),
    ];
    (kind, mode(), 0_u32..2).prop_map(|(kind, mode, uid)| Node {
        mode: if matches!(kind, NodeKind::Symlink { .. }) { 0o777 } else { mode },
        kind,
        uid,
        ..Node::directory(0, 0, 0, Timestamp::default())
    })
}

fn file(content: u8) -> NodeKind {
    NodeKind::File { size_bytes: 1, content: [content + 1; 32] }
}

fn mode() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0o644), Just(0o755), Just(0o600)]
}

fn tree() -> impl Strategy<Value = BTreeMap<String, Node>> {
    prop::collection::vec(prop::option::of(node()), NAMES.len()).prop_map(|nodes| {
        let named = NAMES.iter().zip(nodes);
        mended(named.filter_map(|(name, node)| Some(((*name).to_owned(), node?))).collect())
    })
}

/// Makes everything that has something below it a directory.
fn mended(mut tree: BTreeMap<String, Node>) -> BTreeMap<String, Node> {
    for name in tree.keys().cloned().collect::<Vec<_>>() {
        let mut above = parent(name.as_bytes());
        while let Some(path) = above.filter(|path| !path.is_empty()) {
            let path = String::from_utf8_lossy(path).into_owned();
            let directory = Node { mode: 0o755, ..Node::directory(0o755, 0, 0, Timestamp::default()) };
            let node = tree.entry(path.clone()).or_insert(directory);
            node.kind = NodeKind::Directory;
            above = parent(name.as_bytes()[..path.len()].as_ref());
        }
    }
    tree
}

fn chmod() -> impl Strategy<Value = Option<String>> {
    prop_oneof![
        2 => Just(None),
        1 => Just(Some("755".to_owned())),
        1 => Just(Some("600".to_owned())),
        1 => Just(Some("u+x".to_owned())),
        1 => Just(Some("go=rX".to_owned())),
    ]
}

fn dest() -> impl Strategy<Value = String> {
    prop_oneof![Just("/x"), Just("/x/"), Just("/"), Just("/there"), Just("/there/a")].prop_map(str::to_owned)
}

fn excludes() -> impl Strategy<Value = Vec<String>> {
    prop_oneof![2 => Just(vec![]), 1 => Just(vec!["a".to_owned()]), 1 => Just(vec!["**/f".to_owned()])]
}

fn copy() -> impl Strategy<Value = CopyOp> {
    let path = prop_oneof![Just("."), Just("a"), Just("d"), Just("d/e"), Just("*"), Just("d/*"), Just("?")];
    let ownership = prop_oneof![Just(Ownership::Keep), Just(Ownership::Root)];
    let parents = prop_oneof![3 => Just(None), 1 => Just(Some("d/e")), 1 => Just(Some("**/a"))];
    (path, ownership, parents, dest(), chmod(), prop::option::of(0_u32..2), excludes()).prop_map(
        |(path, ownership, parents, dest, chmod, chown, excludes)| {
            let parents = parents.map(|pattern| Parents { pattern: pattern.to_owned(), required: false });
            let path = if parents.is_some() { "." } else { path }.to_owned();
            CopyOp {
                sources: vec![CopySource { input: 0, path, parents, ownership, archives: Archives::Copy }],
                dest,
                chown: chown.map(|id| format!("{id}:{id}")),
                mode: chmod.and_then(|text| ModeChange::parse(&text).ok()),
                excludes,
            }
        },
    )
}

fn change() -> impl Strategy<Value = Change> {
    let at = 0..NAMES.len();
    prop_oneof![
        (at.clone(), 0_u8..3).prop_map(|(at, content)| Change::Content(at, content)),
        (at.clone(), mode()).prop_map(|(at, mode)| Change::Mode(at, mode)),
        (at.clone(), 0_u32..3).prop_map(|(at, uid)| Change::Owner(at, uid)),
        (at.clone(), 1_i64..9).prop_map(|(at, time)| Change::Time(at, time)),
        at.clone().prop_map(Change::Attribute),
        (at.clone(), at.clone()).prop_map(|(from, to)| Change::Rename(from, to)),
        at.clone().prop_map(Change::Remove),
        (at, node()).prop_map(|(at, node)| Change::Add(at, node)),
        dest().prop_map(Change::Dest),
        chmod().prop_map(Change::Chmod),
        prop::option::of(0_u32..2).prop_map(Change::Chown),
        excludes().prop_map(Change::Exclude),
    ]
}

fn apply(change: &Change, tree: &mut BTreeMap<String, Node>, op: &mut CopyOp) {
    let mut with = |at: usize, edit: &dyn Fn(&mut Node)| {
        if let Some(node) = tree.get_mut(NAMES[at]) {
            edit(node);
        }
    };
    match change {
        Change::Content(at, content) => with(*at, &|node| {
            if matches!(node.kind, NodeKind::File { .. }) {
                node.kind = file(*content);
            }
        }),
        Change::Mode(at, mode) => with(*at, &|node| {
            if !matches!(node.kind, NodeKind::Symlink { .. }) {
                node.mode = *mode;
            }
        }),
        Change::Owner(at, uid) => with(*at, &|node| node.uid = *uid),
        Change::Time(at, time) => with(*at, &|node| node.mtime = (*time, 0)),
        Change::Attribute(at) => {
            with(*at, &|node| drop(node.xattrs.insert(b"user.x".to_vec(), b"1".to_vec())));
        }
        Change::Rename(from, to) => {
            if let Some(node) = tree.remove(NAMES[*from]) {
                tree.insert(NAMES[*to].to_owned(), node);
            }
        }
        Change::Remove(at) => drop(tree.remove(NAMES[*at])),
        Change::Add(at, node) => drop(tree.insert(NAMES[*at].to_owned(), node.clone())),
        Change::Dest(dest) => op.dest.clone_from(dest),
        Change::Chmod(mode) => op.mode = mode.as_deref().and_then(|text| ModeChange::parse(text).ok()),
        Change::Chown(chown) => op.chown = chown.map(|id| format!("{id}:{id}")),
        Change::Exclude(excludes) => op.excludes.clone_from(excludes),
    }
    *tree = mended(std::mem::take(tree));
}

fn stacked(tree: &BTreeMap<String, Node>) -> StackedTree {
    let nodes = tree.iter().map(|(name, node)| (name.clone().into_bytes(), node.clone())).collect();
    StackedTree { layers: vec![Arc::new(LayerTree { nodes })] }
}

/// What a copy is copied onto: a root where a directory is there already, and one where nothing is. A key is made without
/// a look at it.
fn onto() -> [StackedTree; 2] {
    let there = [("there".to_owned(), Node::directory(0o700, 5, 5, Timestamp::default()))];
    [stacked(&there.into_iter().collect()), StackedTree::default()]
}

fn key(op: &CopyOp, tree: &StackedTree) -> Option<Digest> {
    let selected = select::select(op, 0, tree).ok()?;
    let digest = select::selection_digest(op, &selected, Top::Emptied, tree, &|_| None).ok()?;
    let inputs = [(Input::Root, Digest::of(b"root")), (Input::Source(0), digest)];
    Some(key_parts(&Op::Copy(op.clone()), &inputs).key().0)
}

/// What the layers of a copy onto each of several roots hold, without times; none where one of the copies fails.
fn layers(op: &CopyOp, tree: &StackedTree, root: &Arc<OwnedFd>) -> Option<Vec<Digest>> {
    onto().iter().map(|dest| layer(op, tree, dest, root)).collect()
}

fn layer(op: &CopyOp, tree: &StackedTree, dest: &StackedTree, root: &Arc<OwnedFd>) -> Option<Digest> {
    let view = View { tree: tree.clone(), roots: vec![Arc::clone(root)] };
    let owner = op.chown.as_ref().map(|text| {
        let id = text.split(':').next().and_then(|id| id.parse().ok()).unwrap_or_default();
        Owner { uid: id, gid: id }
    });
    let mut planner = Planner::new(op, dest, owner);
    let digests = BTreeMap::new();
    for item in select::select(op, 0, tree).ok()? {
        planner.copy(op, &item, From { view: &view, digests: &digests }).ok()?;
    }
    Some(planner.finish().tree.content_digest())
}

/// Whether two copies are written alike, and what one of them takes is nowhere hidden by what else it takes, as it can be
/// where a wildcard names several.
fn says_the_same(a: &CopyOp, b: &CopyOp) -> bool {
    !a.sources[0].path.contains(['*', '?'])
        && a.dest == b.dest
        && a.chown == b.chown
        && a.mode == b.mode
        && a.excludes == b.excludes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn a_key_changes_with_the_layer(tree in tree(), op in copy(), change in change()) {
        let root = Arc::new(open_root(&std::env::temp_dir()).expect("a folder"));
        let (mut new_tree, mut new_op) = (tree.clone(), op.clone());
        apply(&change, &mut new_tree, &mut new_op);
        let (old, new) = (stacked(&tree), stacked(&new_tree));
        let layers = (layers(&op, &old, &root), layers(&new_op, &new, &root));
        let (Some(old_layer), Some(new_layer)) = layers else { return Ok(()) };
        let keys = (key(&op, &old), key(&new_op, &new));
        prop_assert!(keys.0.is_some() && keys.1.is_some(), "what can be copied has a key");
        if old_layer != new_layer {
            prop_assert_ne!(keys.0, keys.1, "another layer, and the same key");
        } else if says_the_same(&op, &new_op) {
            // An instruction that says something else has another key: the history tells it, whatever it copies.
            prop_assert_eq!(keys.0, keys.1, "the same layer, and another key");
        }
    }
}
