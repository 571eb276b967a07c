//! Trees of YAML, with aliases and merge keys put in their place.
//!
//! Spec: YAML 1.2.2; the merge key of YAML 1.1.

use std::collections::{BTreeMap, BTreeSet};

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Tag};

use crate::hcl::SyntaxError;
use crate::place::Place;

/// The deepest that lists and maps may lie in each other.
const MAX_DEPTH: usize = 64;
/// The most that all nodes may weigh together, with what aliases repeat.
const MAX_WEIGHT: usize = 16 << 20;
/// What a node weighs beside its text.
const NODE_WEIGHT: usize = 64;

/// A node.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    /// Where it starts.
    pub(crate) place: Place,
    /// Its tag, as `!reset`.
    pub(crate) tag: Option<String>,
    /// What it is.
    pub(crate) kind: NodeKind,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum NodeKind {
    /// Nothing.
    Null,
    /// A text, also that of a number or a boolean.
    Text(String),
    /// Nodes in order.
    List(Vec<Node>),
    /// Nodes by key, in order, each key once.
    Map(Vec<(Key, Node)>),
}

/// A key of a map.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Key {
    /// Where it is.
    pub(crate) place: Place,
    /// Its text.
    pub(crate) name: String,
}

impl Node {
    /// Returns the value of a key of a map.
    pub(crate) fn get(&self, name: &str) -> Option<&Node> {
        self.pairs().iter().find(|(key, _)| key.name == name).map(|(_, value)| value)
    }

    /// Returns the keys and values of a map; none of anything else.
    pub(crate) fn pairs(&self) -> &[(Key, Node)] {
        if let NodeKind::Map(pairs) = &self.kind { pairs } else { &[] }
    }

    /// Returns the text of a text.
    pub(crate) fn text(&self) -> Option<&str> {
        if let NodeKind::Text(text) = &self.kind { Some(text) } else { None }
    }
}

/// Reads all documents of a text.
///
/// # Errors
/// The first mistake, or too much of everything.
pub(crate) fn parse(file: usize, text: &str) -> Result<Vec<Node>, SyntaxError> {
    let mut builder =
        Builder { file, frames: Vec::new(), anchors: BTreeMap::new(), weight: 0, documents: Vec::new() };
    let mut parser = Parser::new_from_str(text.strip_prefix('\u{feff}').unwrap_or(text));
    while let Some(event) = parser.next_event() {
        match event {
            Ok((event, span)) => builder.event(event, span.start)?,
            Err(error) => {
                let what = error.info().to_lowercase();
                return Err(SyntaxError { place: place(file, *error.marker()), what });
            }
        }
    }
    Ok(builder.documents)
}

fn place(file: usize, marker: Marker) -> Place {
    Place { file, line: marker.line().max(1), column: marker.col() + 1 }
}

/// The pairs of a map, and the key of the next.
#[derive(Default)]
struct MapFrame {
    pairs: Vec<(Key, Node)>,
    names: BTreeSet<String>,
    next: Option<Key>,
}

/// A list or a map that has not ended.
struct Frame {
    place: Place,
    tag: Option<String>,
    anchor: usize,
    depth: usize,
    items: Vec<Node>,
    /// That of a map.
    map: Option<MapFrame>,
    /// What `<<` brings in.
    merged: Vec<Node>,
}

struct Builder {
    file: usize,
    frames: Vec<Frame>,
    /// Named nodes, with what they weigh and how deep they are.
    anchors: BTreeMap<usize, (Node, usize, usize)>,
    weight: usize,
    documents: Vec<Node>,
}

impl Builder {
    fn event(&mut self, event: Event<'_>, marker: Marker) -> Result<(), SyntaxError> {
        let place = place(self.file, marker);
        match event {
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => Ok(()),
            Event::Alias(anchor) => {
                let Some((node, weight, depth)) = self.anchors.get(&anchor).cloned() else {
                    return Err(wrong(place, "an alias that is inside of what it names"));
                };
                self.weigh(weight, place)?;
                if self.frames.len() + depth > MAX_DEPTH {
                    return Err(too_deep(place));
                }
                self.add(node, depth)
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.weigh(NODE_WEIGHT + text.len(), place)?;
                let tag = tag_name(tag.as_deref());
                let is_null = style == ScalarStyle::Plain
                    && tag.is_none()
                    && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                let kind = if is_null { NodeKind::Null } else { NodeKind::Text(text.into_owned()) };
                let node = Node { place, tag, kind };
                self.name(anchor, &node, 0)?;
                self.add(node, 0)
            }
            Event::SequenceStart(anchor, tag) => self.open(place, anchor, tag.as_deref(), None),
            Event::MappingStart(anchor, tag) => {
                self.open(place, anchor, tag.as_deref(), Some(MapFrame::default()))
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
        }
    }

    fn weigh(&mut self, weight: usize, place: Place) -> Result<(), SyntaxError> {
        self.weight = self.weight.saturating_add(weight);
        if self.weight > MAX_WEIGHT { Err(wrong(place, "aliases make the file too large")) } else { Ok(()) }
    }

    /// Keeps a node that has a name.
    fn name(&mut self, anchor: usize, node: &Node, depth: usize) -> Result<(), SyntaxError> {
        if anchor > 0 {
            let weight = weight(node);
            self.weigh(weight, node.place)?;
            self.anchors.insert(anchor, (node.clone(), weight, depth));
        }
        Ok(())
    }

    fn open(
        &mut self,
        place: Place,
        anchor: usize,
        tag: Option<&Tag>,
        map: Option<MapFrame>,
    ) -> Result<(), SyntaxError> {
        if self.frames.len() >= MAX_DEPTH {
            return Err(too_deep(place));
        }
        self.weigh(NODE_WEIGHT, place)?;
        let tag = tag_name(tag);
        self.frames.push(Frame { place, tag, anchor, depth: 0, items: Vec::new(), map, merged: Vec::new() });
        Ok(())
    }

    fn close(&mut self) -> Result<(), SyntaxError> {
        let Some(frame) = self.frames.pop() else { return Ok(()) };
        let kind = match frame.map {
            None => NodeKind::List(frame.items),
            Some(MapFrame { mut pairs, mut names, .. }) => {
                for source in frame.merged {
                    merge(&mut pairs, &mut names, source, frame.place)?;
                }
                NodeKind::Map(pairs)
            }
        };
        let node = Node { place: frame.place, tag: frame.tag, kind };
        let depth = frame.depth + 1;
        self.name(frame.anchor, &node, depth)?;
        self.add(node, depth)
    }

    /// Puts a node where it belongs.
    fn add(&mut self, node: Node, depth: usize) -> Result<(), SyntaxError> {
        let Some(frame) = self.frames.last_mut() else {
            self.documents.push(node);
            return Ok(());
        };
        frame.depth = frame.depth.max(depth);
        match &mut frame.map {
            None => frame.items.push(node),
            Some(map) => match map.next.take() {
                None => {
                    let name = match node.kind {
                        NodeKind::Text(text) => text,
                        NodeKind::Null => "null".to_owned(),
                        NodeKind::List(_) | NodeKind::Map(_) => {
                            return Err(wrong(node.place, "a key that is no text"));
                        }
                    };
                    map.next = Some(Key { place: node.place, name });
                }
                Some(key) if key.name == "<<" => frame.merged.push(node),
                Some(key) if !map.names.insert(key.name.clone()) => {
                    return Err(wrong(key.place, &format!("key `{}` is there twice", key.name)));
                }
                Some(key) => map.pairs.push((key, node)),
            },
        }
        Ok(())
    }
}

/// Adds what is not there yet.
fn merge(
    pairs: &mut Vec<(Key, Node)>,
    names: &mut BTreeSet<String>,
    source: Node,
    place: Place,
) -> Result<(), SyntaxError> {
    match source.kind {
        NodeKind::Map(more) => {
            for (key, value) in more {
                if names.insert(key.name.clone()) {
                    pairs.push((key, value));
                }
            }
            Ok(())
        }
        NodeKind::List(items) => items.into_iter().try_for_each(|item| merge(pairs, names, item, place)),
        NodeKind::Null | NodeKind::Text(_) => Err(wrong(place, "`<<` takes maps")),
    }
}

fn weight(node: &Node) -> usize {
    NODE_WEIGHT
        + match &node.kind {
            NodeKind::Null => 0,
            NodeKind::Text(text) => text.len(),
            NodeKind::List(items) => items.iter().map(weight).sum(),
            NodeKind::Map(pairs) => pairs.iter().map(|(key, value)| key.name.len() + weight(value)).sum(),
        }
}

fn tag_name(tag: Option<&Tag>) -> Option<String> {
    tag.filter(|tag| !tag.is_yaml_core_schema()).map(|tag| format!("{}{}", tag.handle, tag.suffix))
}

fn wrong(place: Place, what: &str) -> SyntaxError {
    SyntaxError { place, what: what.to_owned() }
}

fn too_deep(place: Place) -> SyntaxError {
    wrong(place, &format!("more than {MAX_DEPTH} levels of lists and maps"))
}
