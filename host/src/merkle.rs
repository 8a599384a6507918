//! The Merkle tree of RFC 9162 (section 2.1): one root for many leaves, a short path from each leaf to the root, and a short
//! proof that a tree is the beginning of a larger one.
//!
//! The prefixes of leaves (0) and inner nodes (1) are those of the RFC, so no inner node can pass for a leaf. `shape` says
//! which nodes a root or a proof consists of, for trees whose nodes are not in memory. The crates for such trees (`ct-merkle`,
//! `tlog_tiles`) keep all leaves in memory, or bring a second implementation of Ed25519; this is smaller than their use.
//!
//! Must not know: what a leaf says, where nodes are stored.

mod consistency;
mod shape;

use crate::sandbox::Digest;

pub use consistency::is_consistent;
pub use shape::{Node, Range, consistency, inclusion};

/// The hash of a leaf or of an inner node.
pub type Hash = [u8; 32];

/// All hashes of a tree: the leaves first, the root last. A level's last node without a sibling moves up unchanged, which
/// is the RFC's split at the largest power of two.
pub struct Tree(Vec<Vec<Hash>>);

impl Tree {
    /// The tree over at least one leaf.
    pub fn new<'a>(leaves: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut levels = vec![leaves.map(leaf).collect::<Vec<_>>()];
        while let Some(level) = levels.last().filter(|level| level.len() > 1) {
            let above = level.chunks(2).map(|pair| match pair {
                [left, right] => node(left, right),
                pair => pair[0],
            });
            let above = above.collect();
            levels.push(above);
        }
        Self(levels)
    }

    pub fn root(&self) -> Hash {
        let root = self.0.last().and_then(|level| level.first());
        root.copied().unwrap_or_default()
    }

    /// The siblings on the way from a leaf to the root.
    pub fn path(&self, leaf: usize) -> Vec<Hash> {
        let levels = self.0.iter().enumerate();
        levels
            .filter_map(|(height, level)| level.get((leaf >> height) ^ 1).copied())
            .collect()
    }
}

/// The root that a leaf and its path lead to (RFC 9162, section 2.1.3.2). `None`: the path does not fit the tree.
pub fn root_of(data: &[u8], leaf_index: u64, tree_size: u64, path: &[Hash]) -> Option<Hash> {
    let (mut index, mut last) = (leaf_index, tree_size.checked_sub(1)?);
    if index > last {
        return None;
    }
    let mut hash = leaf(data);
    for sibling in path {
        if last == 0 {
            return None;
        }
        if index % 2 == 1 || index == last {
            hash = node(sibling, &hash);
            while index.is_multiple_of(2) && index != 0 {
                index >>= 1;
                last >>= 1;
            }
        } else {
            hash = node(&hash, sibling);
        }
        index >>= 1;
        last >>= 1;
    }
    (last == 0).then_some(hash)
}

/// The root of the tree without leaves.
pub fn empty_root() -> Hash {
    *Digest::of(&[]).as_bytes()
}

pub fn leaf(data: &[u8]) -> Hash {
    *Digest::of(&[&[0], data].concat()).as_bytes()
}

pub fn node(left: &Hash, right: &Hash) -> Hash {
    let mut bytes = [1; 65];
    bytes[1..33].copy_from_slice(left);
    bytes[33..].copy_from_slice(right);
    *Digest::of(&bytes).as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The leaves and roots with which implementations of RFC 6962 are tested.
    const LEAVES: [&str; 8] = [
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    ];
    const ROOTS: [&str; 8] = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];

    fn leaves(count: usize) -> Vec<Vec<u8>> {
        LEAVES[..count].iter().map(|text| hex::decode(text).unwrap()).collect()
    }

    #[test]
    fn roots_equal_those_of_other_implementations() {
        for (size, root) in (1..).zip(ROOTS) {
            let leaves = leaves(size);
            assert_eq!(
                hex::encode(Tree::new(leaves.iter().map(Vec::as_slice)).root()),
                root,
                "{size}"
            );
        }
    }

    /// The published proofs of the same tree.
    #[test]
    fn proofs_equal_those_of_other_implementations() {
        let leaves = leaves(8);
        let hash_of = |range: Range| {
            let part = leaves[usize::try_from(range.from).unwrap()..usize::try_from(range.to).unwrap()].iter();
            hex::encode(Tree::new(part.map(Vec::as_slice)).root())
        };
        let path = |index, size| inclusion(index, size).into_iter().map(hash_of).collect::<Vec<_>>();
        let proof = |old, new| consistency(old, new).into_iter().map(hash_of).collect::<Vec<_>>();
        assert_eq!(path(0, 1), [""; 0]);
        assert_eq!(
            path(0, 8),
            [
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ]
        );
        assert_eq!(
            path(5, 8),
            [
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ]
        );
        assert_eq!(proof(1, 1), [""; 0]);
        assert_eq!(
            proof(6, 8),
            [
                "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ]
        );
        assert_eq!(
            proof(2, 5),
            [
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            ]
        );
    }

    #[test]
    fn each_leaf_has_a_path_to_the_root_and_nothing_else_has() {
        for size in 1..=40_u32 {
            let leaves: Vec<[u8; 4]> = (0..size).map(u32::to_be_bytes).collect();
            let tree = Tree::new(leaves.iter().map(<[u8; 4]>::as_slice));
            for (index, leaf) in (0_u32..).zip(&leaves) {
                let path = tree.path(index as usize);
                let (index, size) = (u64::from(index), u64::from(size));
                assert_eq!(
                    root_of(leaf, index, size, &path),
                    Some(tree.root()),
                    "{index} of {size}"
                );
                assert_ne!(root_of(b"other", index, size, &path), Some(tree.root()));
                assert_ne!(root_of(leaf, index + 1, size, &path), Some(tree.root()));
                let longer = [path.as_slice(), &[[7; 32]]].concat();
                assert_eq!(root_of(leaf, index, size, &longer), None);
                if let Some((_, shorter)) = path.split_last() {
                    assert_ne!(root_of(leaf, index, size, shorter), Some(tree.root()));
                }
            }
        }
        assert_eq!(root_of(b"", 0, 0, &[]), None);
    }
}
