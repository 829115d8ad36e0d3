//! Folders and names: what processes see, what is durable, and the changes between the two. Must never look into a file.

use super::super::Entry;
use super::content::Content;
use ottla_model::dice::Dice;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::path::{Component, Path};

pub(super) type NodeId = u64;
type Names = BTreeMap<String, NodeId>;

pub(super) struct Tree {
    nodes: BTreeMap<NodeId, Node>,
    next: NodeId,
    /// Changes of names that no `sync_dir` has covered, oldest first.
    pending: Vec<Change>,
    /// How many nodes existed when unused nodes were last removed.
    alive: usize,
}

enum Node {
    File(Content),
    Dir { cache: Names, durable: Names },
}

/// One atomic change: for each changed name of a folder, the node that it now names, or no node.
#[derive(Clone)]
struct Change(Vec<(NodeId, String, Option<NodeId>)>);

impl Change {
    fn touches(&self, dir: NodeId) -> bool {
        self.0.iter().any(|(at, ..)| *at == dir)
    }

    fn names(&self) -> impl Iterator<Item = (NodeId, String)> + '_ {
        self.0.iter().map(|(dir, name, _)| (*dir, name.clone()))
    }
}

impl Tree {
    pub(super) fn new() -> Tree {
        let root = Node::Dir { cache: Names::new(), durable: Names::new() };
        Tree { nodes: BTreeMap::from([(ROOT, root)]), next: ROOT + 1, pending: Vec::new(), alive: 1 }
    }

    pub(super) fn fork(&self) -> Tree {
        let copy = |node: &Node| match node {
            Node::File(content) => Node::File(content.fork()),
            Node::Dir { cache, durable } => Node::Dir { cache: cache.clone(), durable: durable.clone() },
        };
        let nodes = self.nodes.iter().map(|(id, node)| (*id, copy(node))).collect();
        Tree { nodes, next: self.next, pending: self.pending.clone(), alive: self.alive }
    }

    pub(super) fn find(&self, path: &Path) -> io::Result<NodeId> {
        let mut at = ROOT;
        for name in names(path) {
            at = *self.dir(at)?.get(&name).ok_or(ErrorKind::NotFound)?;
        }
        Ok(at)
    }

    pub(super) fn is_dir(&self, path: &Path) -> bool {
        self.find(path).is_ok_and(|node| self.dir(node).is_ok())
    }

    /// The node must be a file that is open or that a path lookup has just found.
    pub(super) fn file(&mut self, node: NodeId) -> &mut Content {
        match self.nodes.get_mut(&node) {
            Some(Node::File(content)) => content,
            _ => panic!("node {node} is not a file"),
        }
    }

    pub(super) fn create_file(&mut self, path: &Path) -> io::Result<NodeId> {
        let (dir, name) = self.parent(path)?;
        self.dir(dir)?;
        let node = self.add(Node::File(Content::default()));
        self.change(vec![(dir, name, Some(node))]);
        Ok(node)
    }

    pub(super) fn create_dir_all(&mut self, path: &Path) -> io::Result<()> {
        let mut at = ROOT;
        for name in names(path) {
            at = match self.dir(at)?.get(&name) {
                Some(node) => *node,
                None => {
                    let node = self.add(Node::Dir { cache: Names::new(), durable: Names::new() });
                    self.change(vec![(at, name, Some(node))]);
                    node
                }
            };
        }
        self.dir(at).map(drop).map_err(|_| ErrorKind::AlreadyExists.into())
    }

    pub(super) fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let entry = |(name, node): (&String, &NodeId)| {
            let (is_dir, len) = match &self.nodes[node] {
                Node::File(content) => (false, content.len()),
                Node::Dir { .. } => (true, 0),
            };
            Entry { name: name.clone(), is_dir, len }
        };
        Ok(self.dir(self.find(path)?)?.iter().map(entry).collect())
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let node = self.find(from)?;
        let (from_dir, from_name) = self.parent(from)?;
        let (to_dir, to_name) = self.parent(to)?;
        if (from_dir, &from_name) == (to_dir, &to_name) {
            return Ok(());
        }
        if names(to).starts_with(&names(from)) {
            return Err(ErrorKind::InvalidInput.into());
        }
        if let Some(replaced) = self.dir(to_dir)?.get(&to_name) {
            match (self.dir(node), self.dir(*replaced)) {
                (Ok(_), Ok(names)) if !names.is_empty() => return Err(ErrorKind::DirectoryNotEmpty.into()),
                (Ok(_), Err(_)) => return Err(ErrorKind::NotADirectory.into()),
                (Err(_), Ok(_)) => return Err(ErrorKind::IsADirectory.into()),
                _ => {}
            }
        }
        self.change(vec![(from_dir, from_name, None), (to_dir, to_name, Some(node))]);
        Ok(())
    }

    pub(super) fn remove_file(&mut self, path: &Path) -> io::Result<()> {
        let node = self.find(path)?;
        if self.dir(node).is_ok() {
            return Err(ErrorKind::IsADirectory.into());
        }
        let (dir, name) = self.parent(path)?;
        self.change(vec![(dir, name, None)]);
        Ok(())
    }

    pub(super) fn remove_dir_all(&mut self, path: &Path) -> io::Result<()> {
        let node = self.find(path)?;
        let (dir, name) = self.parent(path)?;
        self.empty(node)?;
        self.change(vec![(dir, name, None)]);
        Ok(())
    }

    fn empty(&mut self, dir: NodeId) -> io::Result<()> {
        for (name, node) in self.dir(dir)?.clone() {
            if self.dir(node).is_ok() {
                self.empty(node)?;
            }
            self.change(vec![(dir, name, None)]);
        }
        Ok(())
    }

    /// Makes the changes of this folder durable, together with each earlier change, in any folder, of the same names.
    pub(super) fn sync_dir(&mut self, path: &Path) -> io::Result<()> {
        let dir = self.find(path)?;
        self.dir(dir)?;
        let pending = std::mem::take(&mut self.pending);
        let mut needed = BTreeSet::new();
        let mut covered = vec![false; pending.len()];
        for (index, change) in pending.iter().enumerate().rev() {
            if change.touches(dir) || change.names().any(|name| needed.contains(&name)) {
                covered[index] = true;
                needed.extend(change.names());
            }
        }
        for (change, covered) in pending.into_iter().zip(covered) {
            if covered {
                self.make_durable(&change);
            } else {
                self.pending.push(change);
            }
        }
        self.forget_now_and_then();
        Ok(())
    }

    pub(super) fn write_back(&mut self) {
        for change in std::mem::take(&mut self.pending) {
            self.make_durable(&change);
        }
        for node in self.nodes.values_mut() {
            if let Node::File(content) = node {
                content.sync(content.mark());
            }
        }
        self.forget_now_and_then();
    }

    pub(super) fn crash(&mut self, dice: &mut Dice) {
        self.forget_the_dead();
        let pending = std::mem::take(&mut self.pending);
        // Changes that share no name survive independently. Sometimes all of them survive, sometimes none, and sometimes
        // the first few, as with a journal.
        let mood = dice.below(8);
        let first = dice.below(pending.len() + 1);
        let mut lost = BTreeSet::new();
        for (index, change) in pending.iter().enumerate() {
            let lucky = match mood {
                0 => false,
                1 => true,
                2 | 3 => index < first,
                parts => dice.below(8) < parts,
            };
            if lucky && !change.names().any(|name| lost.contains(&name)) {
                self.make_durable(change);
            } else {
                lost.extend(change.names());
            }
        }
        for node in self.nodes.values_mut() {
            match node {
                Node::File(content) => content.crash(dice),
                Node::Dir { cache, durable } => cache.clone_from(durable),
            }
        }
        self.forget_the_dead();
    }

    /// The bytes of all files that a process can still reach.
    pub(super) fn used_bytes(&self) -> u64 {
        let named: BTreeSet<NodeId> =
            self.nodes.values().filter_map(seen).flat_map(|names| names.values().copied()).collect();
        let used = |(id, node): (&NodeId, &Node)| match node {
            Node::File(content) if content.is_open() || named.contains(id) => content.len(),
            _ => 0,
        };
        self.nodes.iter().map(used).sum()
    }

    fn dir(&self, node: NodeId) -> io::Result<&Names> {
        self.nodes.get(&node).and_then(seen).ok_or(ErrorKind::NotADirectory.into())
    }

    fn parent(&self, path: &Path) -> io::Result<(NodeId, String)> {
        let mut names = names(path);
        let name = names.pop().ok_or(ErrorKind::InvalidInput)?;
        let mut at = ROOT;
        for name in names {
            at = *self.dir(at)?.get(&name).ok_or(ErrorKind::NotFound)?;
        }
        Ok((at, name))
    }

    fn add(&mut self, node: Node) -> NodeId {
        self.next += 1;
        self.nodes.insert(self.next, node);
        self.next
    }

    fn change(&mut self, names: Vec<(NodeId, String, Option<NodeId>)>) {
        let change = Change(names);
        self.apply(&change, |node| match node {
            Node::Dir { cache, .. } => Some(cache),
            Node::File(_) => None,
        });
        self.pending.push(change);
    }

    fn make_durable(&mut self, change: &Change) {
        self.apply(change, |node| match node {
            Node::Dir { durable, .. } => Some(durable),
            Node::File(_) => None,
        });
    }

    fn apply(&mut self, change: &Change, names_of: impl Fn(&mut Node) -> Option<&mut Names>) {
        for (dir, name, now) in &change.0 {
            let Some(names) = self.nodes.get_mut(dir).and_then(&names_of) else { continue };
            match now {
                Some(node) => names.insert(name.clone(), *node),
                None => names.remove(name),
            };
        }
    }

    /// Runs only now and then: to look at all nodes after each change would take longer than everything else in the
    /// simulator.
    fn forget_now_and_then(&mut self) {
        if self.nodes.len() > 2 * self.alive + 64 {
            self.forget_the_dead();
        }
    }

    /// Removes nodes that no current name, no durable name and no open file leads to.
    fn forget_the_dead(&mut self) {
        let mut alive = BTreeSet::from([ROOT]);
        for change in &self.pending {
            alive.extend(change.0.iter().flat_map(|(dir, _, node)| node.iter().copied().chain([*dir])));
        }
        let mut visit: Vec<NodeId> = alive.iter().copied().collect();
        while let Some(id) = visit.pop() {
            if let Some(Node::Dir { cache, durable }) = self.nodes.get(&id) {
                visit.extend(cache.values().chain(durable.values()).filter(|child| alive.insert(**child)));
            }
        }
        self.nodes.retain(|id, node| {
            alive.contains(id) || matches!(node, Node::File(content) if content.is_open())
        });
        self.alive = self.nodes.len();
    }
}

fn seen(node: &Node) -> Option<&Names> {
    match node {
        Node::Dir { cache, .. } => Some(cache),
        Node::File(_) => None,
    }
}

fn names(path: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => names.push(name.to_string_lossy().into_owned()),
            Component::ParentDir => drop(names.pop()),
            Component::Prefix(_) | Component::RootDir | Component::CurDir => {}
        }
    }
    names
}

const ROOT: NodeId = 0;
