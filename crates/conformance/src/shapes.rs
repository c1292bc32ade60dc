//! Random shapes.

use thalweg_doubles::testing::Random;

/// A number of the range, both ends included.
pub fn between(random: &mut Random, from: usize, to: usize) -> usize {
    from + random.below((to - from + 1) as u32) as usize
}

/// The axes in a random order.
pub fn shuffled(rank: usize, random: &mut Random) -> Vec<usize> {
    let mut order: Vec<_> = (0..rank).collect();
    (1..rank).for_each(|axis| order.swap(axis, random.below(axis as u32 + 1) as usize));
    order
}

/// A shape of 0 to 6 axes, some of length 0 and many of length 1, of at most `most` elements.
pub fn shape(random: &mut Random, most: usize) -> Vec<usize> {
    let mut elements = 1;
    (0..random.below(7))
        .map(|_| {
            let axis = match random.below(30) {
                0 => 0,
                1..=6 => 1,
                7..=26 => between(random, 2, 6),
                _ => between(random, 7, 300),
            };
            let axis = if elements * axis.max(1) > most { 1 } else { axis };
            elements *= axis.max(1);
            axis
        })
        .collect()
}

/// Rows of 1 to 300 values, with any number of leading axes.
pub fn rows(random: &mut Random) -> Vec<usize> {
    let mut shape = shape(random, 16);
    shape.truncate(5);
    let longest = [40, 300][random.below(2) as usize];
    shape.push(between(random, 1, longest));
    shape
}

/// A shape, and two that broadcast to it.
pub fn broadcasts(random: &mut Random, most: usize) -> [Vec<usize>; 3] {
    let shape = shape(random, most);
    let (mut left, mut right) = (Vec::new(), Vec::new());
    for axis in &shape {
        // At most one of the two repeats an axis, or the result would have another shape.
        let (first, second) = match random.below(6) {
            0 => (1, *axis),
            1 => (*axis, 1),
            _ => (*axis, *axis),
        };
        left.push(first);
        right.push(second);
    }
    // The axes that one operand leaves out are those of the other, also where both are 1.
    let shorter = if random.below(2) == 0 { &mut left } else { &mut right };
    *shorter = without_leading_ones(shorter, random);
    [shape, left, right]
}

/// A shape that broadcasts to this one.
pub fn narrower(shape: &[usize], random: &mut Random) -> Vec<usize> {
    let ones: Vec<_> = shape.iter().map(|axis| if random.below(3) == 0 { 1 } else { *axis }).collect();
    without_leading_ones(&ones, random)
}

fn without_leading_ones(shape: &[usize], random: &mut Random) -> Vec<usize> {
    let leading = shape.iter().take_while(|axis| **axis == 1).count();
    shape[random.below(leading as u32 + 1) as usize..].to_vec()
}

/// Lengths of up to 6 packed sequences, most of them short, some of one row.
pub fn lengths(random: &mut Random) -> Vec<usize> {
    let one = |random: &mut Random| match random.below(5) {
        0 => 1,
        1 => between(random, 7, 70),
        _ => between(random, 1, 6),
    };
    (0..random.below(7)).map(|_| one(random)).collect()
}

/// Where each of the sequences starts, and the end of the last.
pub fn offsets(lengths: &[usize]) -> Vec<u32> {
    let mut end = 0;
    let ends = lengths.iter().map(|length| {
        end += *length as u32;
        end
    });
    [0].into_iter().chain(ends).collect()
}
