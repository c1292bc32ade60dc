//! Functions of integers, of every width, against one reference that knows the width.

use crate::rig::{function, raw, run, text};
use bytemuck::Pod;
use thalweg_doubles::testing::Random;

/// A type of integers.
#[derive(Clone, Copy)]
struct Kind {
    name: &'static str,
    bits: u32,
    signed: bool,
}

impl Kind {
    /// The number with these lowest bits.
    fn wrap(self, x: i128) -> i128 {
        let low = x & ((1 << self.bits) - 1);
        if self.signed && low >> (self.bits - 1) != 0 { low - (1 << self.bits) } else { low }
    }

    fn unsigned(self, x: i128) -> i128 {
        x & ((1 << self.bits) - 1)
    }

    fn saturate(self, x: i128) -> i128 {
        let least = if self.signed { -(1 << (self.bits - 1)) } else { 0 };
        let most = if self.signed { (1 << (self.bits - 1)) - 1 } else { (1 << self.bits) - 1 };
        x.clamp(least, most)
    }
}

type Reference = fn(Kind, [i128; 3]) -> i128;

const CASES: &[(&str, usize, Reference)] = &[
    ("abs", 1, |_, [x, ..]| x.abs()),
    ("clz", 1, |kind, [x, ..]| i128::from(kind.bits - (128 - kind.unsigned(x).leading_zeros()))),
    ("ctz", 1, |kind, [x, ..]| i128::from(kind.unsigned(x).trailing_zeros().min(kind.bits))),
    ("popcount", 1, |kind, [x, ..]| i128::from(kind.unsigned(x).count_ones())),
    ("reverse_bits", 1, |kind, [x, ..]| kind.unsigned(x).reverse_bits() >> (128 - kind.bits) & ((1 << kind.bits) - 1)),
    ("min", 2, |_, [x, y, _]| x.min(y)),
    ("max", 2, |_, [x, y, _]| x.max(y)),
    ("absdiff", 2, |_, [x, y, _]| (x - y).abs()),
    ("addsat", 2, |kind, [x, y, _]| kind.saturate(x + y)),
    ("subsat", 2, |kind, [x, y, _]| kind.saturate(x - y)),
    ("hadd", 2, |_, [x, y, _]| (x + y) >> 1),
    ("rhadd", 2, |_, [x, y, _]| (x + y + 1) >> 1),
    ("mulhi", 2, |kind, [x, y, _]| x.wrapping_mul(y) >> kind.bits),
    ("rotate", 2, |kind, [x, y, _]| {
        let by = kind.unsigned(y) as u32 % kind.bits;
        kind.unsigned(x) << by | kind.unsigned(x) >> (kind.bits - by)
    }),
    ("clamp", 3, |_, [x, y, z]| x.max(y).min(z)),
    ("madhi", 3, |kind, [x, y, z]| (x.wrapping_mul(y) >> kind.bits) + z),
    ("min3", 3, |_, [x, y, z]| x.min(y).min(z)),
    ("max3", 3, |_, [x, y, z]| x.max(y).max(z)),
    ("median3", 3, |_, [x, y, z]| x.min(y).max(x.max(y).min(z))),
];

const LEN: usize = 256;

fn agree<T: Pod>(kind: Kind, of: impl Fn(i128) -> T, value: impl Fn(T) -> i128) {
    let name = kind.name;
    let mut body = String::new();
    for (at, (function, arguments, _)) in CASES.iter().enumerate() {
        for lanes in [1, 2] {
            let vector = if lanes == 1 { name.to_owned() } else { format!("{name}{lanes}") };
            let list = ["x[i]", "x[i + n]", "x[i + 2 * n]"][..*arguments].join(", ");
            body += &format!(
                "kernel void f{at}_{lanes}(device const {vector}* x [[buffer(0)]], device {vector}* out [[buffer(1)]],\n    \
                 uint i [[thread_position_in_grid]]) {{ const uint n = {}; out[i] = {function}({list}); }}\n",
                LEN / lanes
            );
        }
    }
    let source = text(&body);
    let mut random = Random::new(u64::from(kind.bits));
    for (at, (function_name, _, reference)) in CASES.iter().enumerate() {
        let values: Vec<i128> = (0..3 * LEN)
            .map(|_| match random.below(6) {
                // Also those at the ends and around zero.
                0 => kind.wrap(i128::from(random.below(5)) - 2),
                1 => kind.wrap((1 << (kind.bits - 1)) + i128::from(random.below(5)) - 2),
                2 => kind.wrap(i128::from(random.bits()) & 0xff),
                _ => kind.wrap(i128::from(random.bits())),
            })
            .collect();
        let mut x: Vec<T> = values.iter().map(|x| of(*x)).collect();
        for lanes in [1, 2] {
            let mut out = vec![of(0); LEN];
            let kernel = function(&source, &format!("f{at}_{lanes}"));
            run(&kernel, 2, LEN as u32 / lanes / 2, &mut [raw(&mut x), raw(&mut out)]);
            for (i, out) in out.into_iter().enumerate() {
                let arguments = [0, 1, 2].map(|k| values[i + k * LEN]);
                let expected = kind.wrap(reference(kind, arguments));
                assert_eq!(value(out), expected, "{function_name} of {arguments:?} in {name}, {lanes} lanes");
            }
        }
    }
}

#[test]
fn functions_of_integers_are_exact() {
    macro_rules! kinds {
        ($($name:literal $type:ident),+) => {$(
            let kind = Kind { name: $name, bits: $type::BITS, signed: $type::MIN != 0 };
            agree(kind, |x| x as $type, i128::from);
        )+};
    }
    kinds!("char" i8, "uchar" u8, "short" i16, "ushort" u16, "int" i32, "uint" u32, "long" i64, "ulong" u64);
}

#[test]
fn bits_are_taken_and_put() {
    let body = "kernel void f(device const int* x [[buffer(0)]], device uint4* out [[buffer(1)]],
        device const uint2* range [[buffer(2)]], uint i [[thread_position_in_grid]]) {
        uint o = range[i].x, n = range[i].y;
        out[i] = uint4(
            as_type<uint>(extract_bits(x[i], o, n)), extract_bits(uint(x[i]), o, n),
            as_type<uint>(insert_bits(x[i], x[i + 512], o, n)), insert_bits(uint2(1, x[i]), uint2(2, x[i + 512]), o, n).y);
    }";
    let mut random = Random::new(5);
    let mut x: Vec<i32> = (0..1024).map(|_| random.bits() as i32).collect();
    let mut ranges: Vec<[u32; 2]> = Vec::new();
    while ranges.len() < 512 {
        let offset = random.below(33);
        ranges.push([offset, random.below(33 - offset)]);
    }
    let mut out = vec![[0u32; 4]; 512];
    run(&function(&text(body), "f"), 2, 256, &mut [raw(&mut x), raw(&mut out), raw(&mut ranges)]);
    for (i, [offset, bits]) in ranges.into_iter().enumerate() {
        let mask = ((1u64 << bits) - 1) as u32;
        let field = (u64::from(x[i] as u32) >> offset) as u32 & mask;
        let sign = bits > 0 && field >> (bits - 1) != 0;
        let signed = if sign { field | !mask } else { field };
        let mask = (u64::from(mask) << offset) as u32;
        let put = (x[i] as u32 & !mask) | ((u64::from(x[i + 512] as u32) << offset) as u32 & mask);
        assert_eq!(out[i], [signed, field, put, put], "{offset} {bits} of {:x}", x[i]);
    }
}

#[test]
fn vectors_shift_by_the_amount_modulo_the_width() {
    let body = "kernel void f(device const uint* x [[buffer(0)]], device uint2* out [[buffer(1)]],
        uint i [[thread_position_in_grid]]) {
        out[i] = uint2(0xdeadbeefu, x[i]) << uint2(i, i);
        out[i] ^= uint2(x[i]) >> i;
        int2 negative = int2(-5, int(x[i])) >> uint2(i);
        out[i] += as_type<uint2>(negative);
    }";
    let mut random = Random::new(6);
    let mut x: Vec<u32> = (0..64).map(|_| random.bits() as u32).collect();
    let mut out = vec![[0u32; 2]; 64];
    run(&function(&text(body), "f"), 1, 64, &mut [raw(&mut x), raw(&mut out)]);
    for (i, [a, b]) in out.into_iter().enumerate() {
        let (x, by) = (x[i], i as u32);
        let right = |value: i32| value.wrapping_shr(by) as u32;
        assert_eq!(a, (0xdead_beefu32.wrapping_shl(by) ^ x.wrapping_shr(by)).wrapping_add(right(-5)));
        assert_eq!(b, (x.wrapping_shl(by) ^ x.wrapping_shr(by)).wrapping_add(right(x as i32)));
    }
}

#[test]
fn packs_round_to_even_and_clamp() {
    let body = "kernel void f(device const float4* x [[buffer(0)]], device uint4* out [[buffer(1)]],
        device float4* back [[buffer(2)]], uint i [[thread_position_in_grid]]) {
        uint4 p = uint4(pack_float_to_snorm4x8(x[i]), pack_float_to_unorm4x8(x[i]),
            pack_float_to_snorm2x16(x[i].xy), pack_float_to_unorm2x16(x[i].zw));
        out[i] = p;
        back[4 * i] = unpack_snorm4x8_to_float(p.x);
        back[4 * i + 1] = unpack_unorm4x8_to_float(p.y);
        back[4 * i + 2] = float4(unpack_snorm2x16_to_float(p.z), unpack_unorm2x16_to_float(p.w));
        back[4 * i + 3] = float4(float2(as_type<half2>(as_type<uint>(half2(x[i].xy)))), 0.0, 0.0).xxyy;
    }";
    let mut random = Random::new(7);
    let mut x: Vec<[f32; 4]> = (0..128).map(|_| [0; 4].map(|_| random.unit() * 1.5)).collect();
    x[0] = [f32::NAN, f32::INFINITY, -f32::INFINITY, 0.5];
    x[1] = [-1.0, 1.0, 0.5 / 127.0, 2.5 / 127.0];
    let (mut out, mut back) = (vec![[0u32; 4]; 128], vec![[[0f32; 4]; 4]; 128]);
    run(&function(&text(body), "f"), 1, 128, &mut [raw(&mut x), raw(&mut out), raw(&mut back)]);
    let norm = |x: f32, least: f32, scale: f32| {
        if x.is_nan() { 0 } else { (x.clamp(least, 1.0) * scale).round_ties_even() as i32 }
    };
    for (i, x) in x.into_iter().enumerate() {
        let snorm8 = x.map(|x| norm(x, -1.0, 127.0));
        let unorm8 = x.map(|x| norm(x, 0.0, 255.0));
        let snorm16 = [x[0], x[1]].map(|x| norm(x, -1.0, 32767.0));
        let unorm16 = [x[2], x[3]].map(|x| norm(x, 0.0, 65535.0));
        let bytes = |values: [i32; 4]| u32::from_le_bytes(values.map(|value| value as u8));
        let words = |values: [i32; 2]| values[0] as u32 & 0xffff | (values[1] as u32) << 16;
        assert_eq!(out[i], [bytes(snorm8), bytes(unorm8), words(snorm16), words(unorm16)], "{x:?}");
        assert_eq!(back[i][0], snorm8.map(|x| x as f32 / 127.0));
        assert_eq!(back[i][1], unorm8.map(|x| x as f32 / 255.0));
        assert_eq!(back[i][2][..2], snorm16.map(|x| x as f32 / 32767.0));
        assert_eq!(back[i][2][2..], unorm16.map(|x| x as f32 / 65535.0));
        if i > 0 {
            let halves = [x[0], x[0], x[1], x[1]].map(|x| half::f16::from_f32(x).to_f32());
            assert_eq!(back[i][3], halves);
        }
    }
}
