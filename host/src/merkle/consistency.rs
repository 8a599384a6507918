//! Verifies that a tree is the beginning of a larger one.

use super::{Hash, empty_root, node};

/// Whether the proof shows that the tree with the size and root `old` is the beginning of `new` (RFC 9162, section 2.1.4.2).
pub fn is_consistent(old: (u64, &Hash), new: (u64, &Hash), proof: &[Hash]) -> bool {
    let ((old_size, old_root), (new_size, new_root)) = (old, new);
    if old_size == 0 {
        return proof.is_empty() && *old_root == empty_root();
    }
    if old_size == new_size {
        return proof.is_empty() && old_root == new_root;
    }
    if old_size > new_size {
        return false;
    }
    // A complete subtree is a node of both trees, so the proof leaves it out.
    let first = if old_size.is_power_of_two() {
        Some(old_root)
    } else {
        None
    };
    let mut path = first.into_iter().chain(proof);
    let Some(first) = path.next() else { return false };
    let (mut index, mut last) = (old_size - 1, new_size - 1);
    while index % 2 == 1 {
        index >>= 1;
        last >>= 1;
    }
    let (mut old_hash, mut new_hash) = (*first, *first);
    for sibling in path {
        if last == 0 {
            return false;
        }
        if index % 2 == 1 || index == last {
            old_hash = node(sibling, &old_hash);
            new_hash = node(sibling, &new_hash);
            while index.is_multiple_of(2) && index != 0 {
                index >>= 1;
                last >>= 1;
            }
        } else {
            new_hash = node(&new_hash, sibling);
        }
        index >>= 1;
        last >>= 1;
    }
    last == 0 && old_hash == *old_root && new_hash == *new_root
}

#[cfg(test)]
mod tests {
    use super::super::{Range, Tree, consistency, inclusion, root_of};
    use super::*;

    fn naive(leaves: &[[u8; 8]]) -> Hash {
        match leaves {
            [] => empty_root(),
            _ => Tree::new(leaves.iter().map(<[u8; 8]>::as_slice)).root(),
        }
    }

    /// Trees whose inner nodes come from their complete subtrees, against trees that are computed as a whole.
    #[test]
    #[expect(clippy::cast_possible_truncation, reason = "70 leaves")]
    fn proofs_from_subtrees_verify_and_altered_ones_do_not() {
        let leaves: Vec<[u8; 8]> = (0..70_u64).map(u64::to_be_bytes).collect();
        let part = |range: Range| naive(&leaves[range.from as usize..range.to as usize]);
        let hash_of = |range: Range| {
            let nodes = range.nodes();
            let parts = nodes.iter().map(|node| Range {
                from: node.index << node.level,
                to: (node.index + 1) << node.level,
            });
            Range::hash(&parts.map(part).collect::<Vec<_>>())
        };
        for new in 1..=70_u64 {
            let root = naive(&leaves[..new as usize]);
            assert_eq!(hash_of(Range::tree(new)), Some(root));
            for index in 0..new {
                let path: Vec<Hash> = inclusion(index, new).into_iter().filter_map(hash_of).collect();
                assert_eq!(root_of(&leaves[index as usize], index, new, &path), Some(root));
            }
            for old in 0..=new {
                let old_root = naive(&leaves[..old as usize]);
                let proof: Vec<Hash> = consistency(old, new).into_iter().filter_map(hash_of).collect();
                assert!(is_consistent((old, &old_root), (new, &root), &proof), "{old} of {new}");
                assert!(!is_consistent((old, &[7; 32]), (new, &root), &proof), "{old} of {new}");
                assert_eq!(
                    is_consistent((old, &old_root), (new, &[7; 32]), &proof),
                    old == 0,
                    "{old} of {new}: everything begins with nothing"
                );
                let longer = [proof.as_slice(), &[[7; 32]]].concat();
                assert!(!is_consistent((old, &old_root), (new, &root), &longer));
                if let Some((_, shorter)) = proof.split_last() {
                    assert!(!is_consistent((old, &old_root), (new, &root), shorter));
                }
                for at in 0..proof.len() {
                    let mut altered = proof.clone();
                    altered[at][0] ^= 1;
                    assert!(!is_consistent((old, &old_root), (new, &root), &altered));
                }
            }
        }
    }
}
