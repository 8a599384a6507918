//! The hashes of the tree in tiles: 256 hashes of one level together, as in C2SP `tlog-tiles`
//! (<https://c2sp.org/tlog-tiles>). Of eight levels only the lowest is stored, so a leaf costs 32 bytes, and a proof reads a
//! few tiles at any size. Must not know: the database.

use std::collections::{BTreeMap, BTreeSet};

use crate::merkle::{self, Hash, Node, Range};

/// Levels of the tree in one level of tiles.
const HEIGHT: u32 = 8;
/// Hashes in a full tile.
const WIDTH: u64 = 1 << HEIGHT;

/// The level of a tile, and its position there.
pub(super) type TileKey = (u32, u64);

/// Tiles that are in memory.
#[derive(Clone, Debug, Default)]
pub(super) struct Tiles(BTreeMap<TileKey, Vec<Hash>>);

impl Tiles {
    pub(super) fn insert(&mut self, key: TileKey, bytes: &[u8]) {
        let (hashes, _) = bytes.as_chunks::<32>();
        self.0.insert(key, hashes.to_vec());
    }

    pub(super) fn get(&self, key: TileKey) -> Option<Vec<u8>> {
        self.0.get(&key).map(|hashes| hashes.concat())
    }

    /// The hash of a subtree. `None`: its tile is not there, or is too short.
    fn node(&self, node: Node) -> Option<Hash> {
        let first = node.index.checked_shl(node.level % HEIGHT)?;
        let hashes = self.0.get(&tile_of(node))?;
        let from = usize::try_from(first % WIDTH).ok()?;
        let part = hashes.get(from..from + (1 << (node.level % HEIGHT)))?;
        Some(complete(part.to_vec()))
    }

    pub(super) fn range(&self, range: Range) -> Option<Hash> {
        let hashes: Option<Vec<Hash>> = range.nodes().into_iter().map(|node| self.node(node)).collect();
        Range::hash(&hashes?)
    }

    /// The root of the tree of this size.
    pub(super) fn root(&self, size: u64) -> Option<Hash> {
        match size {
            0 => Some(merkle::empty_root()),
            size => self.range(Range::tree(size)),
        }
    }

    /// Appends a leaf to the tree of this size, whose [`growing`] tiles are here, and adds the changed tiles.
    pub(super) fn append(&mut self, size: u64, leaf: Hash, changed: &mut BTreeSet<TileKey>) {
        let mut hash = leaf;
        for level in 0..u64::BITS / HEIGHT {
            let key = (level, (size >> (level * HEIGHT)) / WIDTH);
            let tile = self.0.entry(key).or_default();
            tile.push(hash);
            changed.insert(key);
            if (tile.len() as u64) < WIDTH {
                return;
            }
            hash = complete(tile.clone());
        }
    }

    /// Forgets full tiles below the growing ones, so that memory does not grow with the log.
    pub(super) fn keep_growing(&mut self, size: u64) {
        let growing: BTreeSet<TileKey> = growing(size).into_iter().collect();
        self.0.retain(|key, _| growing.contains(key));
    }
}

/// The root over a power of two of hashes.
fn complete(mut hashes: Vec<Hash>) -> Hash {
    while hashes.len() > 1 {
        let (pairs, _) = hashes.as_chunks::<2>();
        hashes = pairs.iter().map(|[left, right]| merkle::node(left, right)).collect();
    }
    hashes.first().copied().unwrap_or_default()
}

fn tile_of(node: Node) -> TileKey {
    let first = node.index << (node.level % HEIGHT);
    (node.level / HEIGHT, first / WIDTH)
}

/// The tiles that contain these ranges.
pub(super) fn tiles_of(ranges: impl IntoIterator<Item = Range>) -> BTreeSet<TileKey> {
    ranges.into_iter().flat_map(Range::nodes).map(tile_of).collect()
}

/// The tiles of the tree of this size that are not full. Appending needs them.
pub(super) fn growing(size: u64) -> Vec<TileKey> {
    let counts = (0..u64::BITS / HEIGHT).map(|level| (level, size >> (level * HEIGHT)));
    counts
        .filter(|(_, count)| count % WIDTH != 0)
        .map(|(level, count)| (level, count / WIDTH))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::{Tree, consistency, inclusion, is_consistent, root_of};

    #[test]
    #[expect(clippy::cast_possible_truncation, reason = "70,000 leaves")]
    fn tiles_give_the_roots_and_proofs_of_the_whole_tree() {
        const SIZE: u64 = 70_000;
        let leaf = |index: u64| index.to_be_bytes();
        let (mut tiles, mut changed) = (Tiles::default(), BTreeSet::new());
        let mut roots = BTreeMap::new();
        for size in 0..SIZE {
            if size < 600 || size % 6_553 == 0 {
                roots.insert(size, tiles.root(size).unwrap());
            }
            tiles.append(size, merkle::leaf(&leaf(size)), &mut changed);
        }
        roots.insert(SIZE, tiles.root(SIZE).unwrap());
        let leaves: Vec<[u8; 8]> = (0..SIZE).map(leaf).collect();
        for (size, root) in roots.iter().filter(|(size, _)| **size > 0) {
            let whole = Tree::new(leaves[..*size as usize].iter().map(<[u8; 8]>::as_slice));
            assert_eq!(whole.root(), *root, "{size}");
            for index in [0, size / 3, size - 1] {
                let path: Option<Vec<Hash>> = inclusion(index, *size)
                    .into_iter()
                    .map(|part| tiles.range(part))
                    .collect();
                assert_eq!(root_of(&leaf(index), index, *size, &path.unwrap()), Some(*root));
            }
        }
        let sizes: Vec<(&u64, &Hash)> = roots.iter().step_by(37).chain(roots.last_key_value()).collect();
        for (old, old_root) in &sizes {
            for (new, new_root) in sizes.iter().filter(|(new, _)| new >= old) {
                let proof: Option<Vec<Hash>> = consistency(**old, **new)
                    .into_iter()
                    .map(|part| tiles.range(part))
                    .collect();
                assert!(
                    is_consistent((**old, old_root), (**new, new_root), &proof.unwrap()),
                    "{old} of {new}"
                );
            }
        }
    }

    #[test]
    fn the_growing_tiles_are_enough_to_append() {
        let (mut all, mut kept) = (Tiles::default(), Tiles::default());
        for size in 0..66_000_u64 {
            let hash = merkle::leaf(&size.to_be_bytes());
            let (mut changed, mut same) = (BTreeSet::new(), BTreeSet::new());
            all.append(size, hash, &mut changed);
            kept.append(size, hash, &mut same);
            assert_eq!(changed, same);
            for key in changed {
                assert_eq!(all.get(key), kept.get(key));
            }
            kept.keep_growing(size + 1);
            assert!(kept.0.len() <= 3);
        }
    }
}
