//! COPY and ADD: what is copied, whether it has been copied before, and a layer of it.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use kairn_compiler::StepId;
use kairn_compiler::graph::{Archives, CopyOp, Input};
use kairn_compiler::key::key_parts;
use kairn_image::Digest;
use kairn_image::compression::is_tar_archive;

use super::cached::Made;
use super::ledger::Line;
use super::{Outcome, Purpose, Runner};
use crate::context::Context;
use crate::copy::View;
use crate::copy::plan::{From, LayerPlan, Planner};
use crate::copy::select::{self, Selected, Top};
use crate::error::Error;
use crate::events::EventKind;
use crate::explain::lists::FileList;
use crate::snapshot::read::{open_file, open_root};
use crate::snapshot::unpack::{self, Unpack};
use crate::snapshot::write::write_layer;
use crate::state::State;
use crate::store::Verdict;
use crate::tree::{LayerTree, NodeKind};
use crate::users::{self, Owner};

/// Most files of a stage that are kept by name.
const LISTED: usize = 2000;

/// What a COPY takes from each of its inputs.
type Selections = BTreeMap<u16, Vec<Selected>>;

/// Contents that have been read, by path.
type Contents = BTreeMap<Vec<u8>, [u8; 32]>;

/// Contents of each input that is no state.
type Digests = BTreeMap<u16, Contents>;

impl Runner<'_> {
    pub(super) fn copy(&self, step: StepId, op: &CopyOp) -> Result<Outcome, Error> {
        let parent = self.root(step);
        let numbers: BTreeSet<u16> = op.sources.iter().map(|source| source.input).collect();
        let inputs: BTreeMap<u16, Outcome> =
            numbers.into_iter().map(|number| (number, self.input(step, Input::Source(number)))).collect();
        let parts = |sources: &BTreeMap<u16, Digest>| {
            let sources = sources.iter().map(|(&number, &digest)| (Input::Source(number), digest));
            let inputs: Vec<_> = std::iter::once((Input::Root, parent.content)).chain(sources).collect();
            key_parts(self.graph.op(step), &inputs)
        };
        let (mut selections, mut digests) = (Selections::new(), Digests::new());
        let mut contents = BTreeMap::new();
        for (&number, input) in &inputs {
            let digest = match input {
                Outcome::State(state) => state.content,
                Outcome::Context(context) => {
                    let (selected, read, digest) = of_context(op, number, context)?;
                    selections.insert(number, selected);
                    digests.insert(number, read);
                    digest
                }
                Outcome::Open => unreachable!("a step whose inputs are open is not run"),
            };
            contents.insert(number, digest);
        }
        let states = inputs.iter().filter_map(|(&number, input)| match input {
            Outcome::State(state) => Some((number, state)),
            Outcome::Context(_) | Outcome::Open => None,
        });
        let states: Vec<_> = states.collect();
        if states.is_empty() {
            let files = || self.lists(op, &inputs, &selections, &digests);
            return self.cached(step, &parent, parts(&contents), None, &files, || {
                self.copy_files(step, op, &parent, &inputs, &selections, &digests)
            });
        }
        // A source's whole state is known without looking into it; where it changed, what is copied may not have.
        let whole = parts(&contents).key().0;
        if let Some(outcome) = self.look_up(step, &parent, whole)? {
            return Ok(outcome);
        }
        if self.purpose == Purpose::Look && !states.iter().all(|(_, state)| self.layers.has_tree(state)) {
            self.ledger.note(step, Line::new(Verdict::Open));
            return Ok(Outcome::Open);
        }
        for (number, state) in states {
            let tree = self.layers.tree(state)?;
            let selected = select::select(op, number, &tree)?;
            contents.insert(number, select::selection_digest(op, &selected, Top::Emptied, &tree, &|_| None)?);
            selections.insert(number, selected);
        }
        let files = || self.lists(op, &inputs, &selections, &digests);
        self.cached(step, &parent, parts(&contents), Some(whole), &files, || {
            self.copy_files(step, op, &parent, &inputs, &selections, &digests)
        })
    }

    fn copy_files(
        &self,
        step: StepId,
        op: &CopyOp,
        parent: &State,
        inputs: &BTreeMap<u16, Outcome>,
        selections: &Selections,
        digests: &Digests,
    ) -> Result<Made, Error> {
        let view = |input: &Outcome| match input {
            Outcome::Context(context) => context.view().cloned(),
            Outcome::State(state) => self.layers.view(state),
            Outcome::Open => unreachable!("a step whose inputs are open is not run"),
        };
        let views: BTreeMap<u16, View> =
            inputs.iter().map(|(&number, input)| Ok((number, view(input)?))).collect::<Result<_, Error>>()?;
        let mut items: Vec<(u16, &Selected)> = selections
            .iter()
            .flat_map(|(&number, selected)| selected.iter().map(move |item| (number, item)))
            .collect();
        items.sort_by_key(|(_, item)| item.source);
        let dest = self.layers.tree(parent)?;
        let owner = op.chown.as_deref().map(|chown| self.owner(step, chown, parent)).transpose()?;
        let work = self.store().work_dir()?;
        let none = BTreeMap::new();
        let mut planner = Planner::new(op, &dest, owner);
        for (index, (number, item)) in items.iter().enumerate() {
            let from = From { view: &views[number], digests: digests.get(number).unwrap_or(&none) };
            let archive = if op.sources[item.source].archives == Archives::Unpack {
                unpack_archive(item, from.view, &work.path().join(index.to_string()))?
            } else {
                None
            };
            match archive {
                Some((tree, root)) => planner.archive(&tree, &Arc::new(root), &op.dest)?,
                None => planner.copy(op, item, from)?,
            }
        }
        let mut plan = planner.finish();
        let LayerPlan { tree, contents } = &mut plan;
        let layer = write_layer(tree, self.store(), &mut |path, _| {
            let content = &contents[path];
            open_file(content.root.as_fd(), &content.path)
                .map(|file| Box::new(file) as Box<dyn std::io::Read>)
        })?;
        Ok(Made { layer, tree: plan.tree, snapshot: None })
    }

    /// The files that a COPY takes, by the parts of its key.
    fn lists(
        &self,
        op: &CopyOp,
        inputs: &BTreeMap<u16, Outcome>,
        selections: &Selections,
        digests: &Digests,
    ) -> Result<BTreeMap<String, FileList>, Error> {
        let mut lists = BTreeMap::new();
        for (number, input) in inputs {
            let contents = |path: &[u8]| digests.get(number).and_then(|read| read.get(path)).copied();
            let list = match input {
                Outcome::Context(context) => {
                    select::list(op, &selections[number], Top::Emptied, &context.view()?.tree, &contents)?
                }
                Outcome::State(state) => {
                    let tree = self.layers.tree(state)?;
                    select::list(op, &selections[number], Top::Emptied, &tree, &contents)?
                }
                Outcome::Open => unreachable!("a step whose inputs are open is not run"),
            };
            // Of a stage's files the step that made them says enough, where they are many.
            if matches!(input, Outcome::Context(_)) || list.len() <= LISTED {
                lists.insert(format!("input.{}", Input::Source(*number)), list);
            }
        }
        Ok(lists)
    }

    /// Resolves `--chown`; as in BuildKit, an unknown name means root.
    fn owner(&self, step: StepId, chown: &str, parent: &State) -> Result<Owner, Error> {
        let (passwd, group) = if users::needs_names(chown) {
            (self.layers.read_file(parent, "etc/passwd")?, self.layers.read_file(parent, "etc/group")?)
        } else {
            (String::new(), String::new())
        };
        Ok(users::resolve_chown(chown, &passwd, &group).unwrap_or_else(|| {
            let text =
                format!("the image does not have `{chown}`: the files will belong to root, as with BuildKit");
            self.events.step(step, EventKind::Notice(text));
            Owner { uid: 0, gid: 0 }
        }))
    }
}

/// What a COPY takes of a context, the contents of that, and a digest of both.
fn of_context(
    op: &CopyOp,
    number: u16,
    context: &Context,
) -> Result<(Vec<Selected>, Contents, Digest), Error> {
    let tree = &context.view()?.tree;
    let selected = select::select(op, number, tree).map_err(|error| explain_missing(error, op, context))?;
    let digests = context.digests(select::unread(op, &selected, tree)?)?;
    let digest =
        select::selection_digest(op, &selected, Top::Emptied, tree, &|path| digests.get(path).copied())?;
    Ok((selected, digests, digest))
}

/// Says whether a missing source is on the disk and only ignored.
fn explain_missing(error: Error, op: &CopyOp, context: &Context) -> Error {
    let ignored = op.sources.iter().any(|source| {
        context.is_on_disk(&source.path) && {
            let path = source.path.trim_matches('/').as_bytes();
            context.view().is_ok_and(|view| !path.is_empty() && view.tree.lookup(path).is_none())
        }
    });
    error.with_help(if ignored {
        "it is in the build context, but .dockerignore leaves it out".to_owned()
    } else {
        format!("paths are relative to the build context, `{}`", context.root.display())
    })
}

/// Unpacks what ADD was given, if it is an archive.
fn unpack_archive(item: &Selected, view: &View, into: &Path) -> Result<Option<(LayerTree, OwnedFd)>, Error> {
    let Some(found) = view.tree.lookup(&item.path) else { return Ok(None) };
    if !matches!(found.node.kind, NodeKind::File { .. } | NodeKind::Hardlink { .. }) {
        return Ok(None);
    }
    let unreadable = |e| Error::world(format!("cannot read `{}`", item.path.escape_ascii()), e);
    let root = &view.roots[found.layer];
    if !is_tar_archive(open_file(root.as_fd(), &item.path)?).map_err(unreadable)? {
        return Ok(None);
    }
    fs_err::create_dir(into)?;
    let file = open_file(root.as_fd(), &item.path)?;
    let tree = unpack::unpack(file, into, Unpack::Archive)?;
    Ok(Some((tree, open_root(into)?)))
}
