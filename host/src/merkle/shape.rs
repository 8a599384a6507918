//! Which nodes roots and proofs consist of.

use super::{Hash, node};

/// The inner node, or leaf, over the leaves `index << level` to `(index + 1) << level`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node {
    pub level: u32,
    pub index: u64,
}

/// The leaves from `from` to before `to`: a whole tree, or a subtree of one as the RFC splits it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    pub from: u64,
    pub to: u64,
}

impl Range {
    /// The tree of so many leaves.
    pub fn tree(size: u64) -> Self {
        Self { from: 0, to: size }
    }

    fn size(self) -> u64 {
        self.to.saturating_sub(self.from)
    }

    /// The complete subtrees that the range consists of, from left to right: one for each bit of its size.
    pub fn nodes(self) -> Vec<Node> {
        let (mut from, size) = (self.from, self.size());
        let mut nodes = Vec::new();
        for level in (0..u64::BITS).rev().filter(|level| size >> level & 1 == 1) {
            nodes.push(Node {
                level,
                index: from >> level,
            });
            from += 1 << level;
        }
        nodes
    }

    /// The hash of the range, from those of its nodes. `None`: the range is empty.
    pub fn hash(hashes: &[Hash]) -> Option<Hash> {
        let (last, rest) = hashes.split_last()?;
        Some(rest.iter().rfold(*last, |right, left| node(left, &right)))
    }
}

/// The largest power of two below a size of at least two.
fn split(size: u64) -> u64 {
    1 << (u64::BITS - 1 - (size - 1).leading_zeros())
}

/// The siblings on the way from a leaf to the root of the tree of this size (RFC 9162, section 2.1.3.1). Empty if the tree has
/// no such leaf.
pub fn inclusion(index: u64, size: u64) -> Vec<Range> {
    let mut siblings = Vec::new();
    let Range { mut from, mut to } = Range::tree(size);
    while index < size && to - from > 1 {
        let middle = from + split(to - from);
        if index < middle {
            siblings.push(Range { from: middle, to });
            to = middle;
        } else {
            siblings.push(Range { from, to: middle });
            from = middle;
        }
    }
    siblings.reverse();
    siblings
}

/// What shows that the tree of `old` leaves is the beginning of the tree of `new` leaves (RFC 9162, section 2.1.4.1). Empty if
/// `old` is 0 or not smaller.
pub fn consistency(old: u64, new: u64) -> Vec<Range> {
    if old == 0 || old >= new {
        return Vec::new();
    }
    let mut proof = Vec::new();
    let Range { mut from, mut to } = Range::tree(new);
    let mut is_known = true;
    while old != to {
        let middle = from + split(to - from);
        if old <= middle {
            proof.push(Range { from: middle, to });
            to = middle;
        } else {
            proof.push(Range { from, to: middle });
            from = middle;
            is_known = false;
        }
    }
    if !is_known {
        proof.push(Range { from, to });
    }
    proof.reverse();
    proof
}
