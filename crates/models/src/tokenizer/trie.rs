//! ASCII strings to ids, looked up by the longest that a text begins with.

/// The id of a node at which no string ends.
const NONE: u32 = u32::MAX;

/// A trie over bytes below 128.
///
/// A node's children lie one after the other, so that a node is a set of bytes and the index of the first child. A
/// lookup compares every byte and hashes none: no choice of strings makes it slow or wrong. It takes at most as many
/// steps as the longest string has bytes, and the trie 24 bytes for each byte of its strings.
#[derive(Debug)]
pub(super) struct Trie {
    nodes: Vec<Node>,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    /// The bytes that lead to children, one bit each.
    bytes: [u64; 2],
    first_child: u32,
    id: u32,
}

/// What [`Trie::walk`] found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Walk {
    /// The longest string that the bytes begin with: how many bytes it has, and its id.
    pub(super) longest: Option<(usize, u32)>,
    /// Whether a string begins with all of the bytes.
    pub(super) is_open: bool,
}

impl Trie {
    /// Of strings that differ from each other. Those that are empty or not ASCII are left out.
    ///
    /// `None` if an id is the largest `u32`, or the strings take more nodes than a `u32` counts.
    pub(super) fn new<'a>(strings: impl Iterator<Item = (&'a [u8], u32)>) -> Option<Self> {
        let mut strings: Vec<(&[u8], u32)> =
            strings.filter(|(string, _)| !string.is_empty() && string.is_ascii()).collect();
        let bytes: usize = strings.iter().map(|(string, _)| string.len()).sum();
        if bytes >= NONE as usize || strings.iter().any(|(_, id)| *id == NONE) {
            return None;
        }
        strings.sort_unstable();
        const EMPTY: Node = Node { bytes: [0; 2], first_child: 0, id: NONE };
        let mut nodes = vec![EMPTY];
        // Level by level. What begins with a node's string is a slice of the sorted strings.
        let (mut level, mut next) = (vec![&strings[..]], Vec::new());
        let mut depth = 0;
        while !level.is_empty() {
            let first = nodes.len() - level.len();
            for (node, mut strings) in (first..).zip(level.drain(..)) {
                if let Some((&(string, id), rest)) = strings.split_first()
                    && string.len() == depth
                {
                    nodes[node].id = id;
                    strings = rest;
                }
                nodes[node].first_child = nodes.len() as u32;
                for child in strings.chunk_by(|a, b| a.0[depth] == b.0[depth]) {
                    let byte = child[0].0[depth];
                    nodes[node].bytes[usize::from(byte >> 6)] |= 1 << (byte & 63);
                    nodes.push(EMPTY);
                    next.push(child);
                }
            }
            std::mem::swap(&mut level, &mut next);
            depth += 1;
        }
        nodes.shrink_to_fit();
        Some(Self { nodes })
    }

    /// The longest string that `bytes` begin with: how many bytes it has, and its id.
    pub(super) fn longest(&self, bytes: impl Iterator<Item = u8>) -> Option<(usize, u32)> {
        self.walk(bytes).longest
    }

    /// Follows `bytes` as far as strings begin with them.
    pub(super) fn walk(&self, bytes: impl Iterator<Item = u8>) -> Walk {
        let mut node = &self.nodes[0];
        let mut longest = None;
        for (index, byte) in bytes.enumerate() {
            let Some(child) = self.child(node, byte) else { return Walk { longest, is_open: false } };
            node = child;
            if node.id != NONE {
                longest = Some((index + 1, node.id));
            }
        }
        Walk { longest, is_open: true }
    }

    /// Whether a string begins with `byte`.
    pub(super) fn begins_with(&self, byte: u8) -> bool {
        self.child(&self.nodes[0], byte).is_some()
    }

    fn child(&self, node: &Node, byte: u8) -> Option<&Node> {
        let half = usize::from(byte >> 6);
        let (bytes, bit) = (*node.bytes.get(half)?, byte & 63);
        if bytes >> bit & 1 == 0 {
            return None;
        }
        let mut before = (bytes & ((1 << bit) - 1)).count_ones();
        if half == 1 {
            before += node.bytes[0].count_ones();
        }
        self.nodes.get((node.first_child + before) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fastrand::Rng;
    use std::collections::BTreeMap;

    #[test]
    fn the_longest_is_found_as_by_trying_every_length() {
        let mut random = Rng::with_seed(5);
        for _ in 0..200 {
            let letters = [b"ab".as_slice(), b"abcd\0\x7f@?", b"?@"][random.usize(..3)];
            let mut string = |most: usize| -> Vec<u8> {
                (0..random.usize(..=most)).map(|_| letters[random.usize(..letters.len())]).collect()
            };
            let strings: BTreeMap<Vec<u8>, u32> = (0..40).map(|id| (string(6), id)).collect();
            let trie = Trie::new(strings.iter().map(|(string, id)| (string.as_slice(), *id))).unwrap();
            for _ in 0..50 {
                let text = string(9);
                let expected = (1..=text.len()).rev().find_map(|n| Some((n, *strings.get(&text[..n])?)));
                assert_eq!(trie.longest(text.iter().copied()), expected, "{strings:?} {text:?}");
            }
        }
    }

    #[test]
    fn what_is_not_ascii_is_in_no_trie() {
        let trie = Trie::new([("é".as_bytes(), 1), (b"e", 2)].into_iter()).unwrap();
        assert_eq!(trie.longest("é".bytes()), None);
        assert_eq!(trie.longest("eé".bytes()), Some((1, 2)));
        assert!(trie.begins_with(b'e') && !trie.begins_with(b'f') && !trie.begins_with(0xc3));
    }

    #[test]
    fn its_memory_is_in_proportion_to_its_strings() {
        let long = vec![b'a'; 10_000];
        let strings = (0..10_000).step_by(100).map(|n| (&long[..n], n as u32));
        let trie = Trie::new(strings).unwrap();
        assert_eq!(trie.nodes.len(), 9_901);
        assert_eq!(trie.longest(long.iter().copied()), Some((9_900, 9_900)));
        assert_eq!(size_of::<Node>(), 24);
        assert!(Trie::new([(b"a".as_slice(), u32::MAX)].into_iter()).is_none());
    }
}
