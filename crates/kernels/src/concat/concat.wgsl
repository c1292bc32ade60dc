// Several operands one after the other, an invocation for each element of the output. The first workgroup checks the
// parameters.
struct Params {
    offsets: array<u32, 7>,
    row_strides: array<u32, 7>,
    widths: array<u32, 7>,
}
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> first: array<scalar>;
@group(0) @binding(1) var<storage, read> second: array<scalar>;
@group(0) @binding(2) var<storage, read> third: array<scalar>;
@group(0) @binding(3) var<storage, read> fourth: array<scalar>;
@group(0) @binding(4) var<storage, read> fifth: array<scalar>;
@group(0) @binding(5) var<storage, read> sixth: array<scalar>;
@group(0) @binding(6) var<storage, read> seventh: array<scalar>;
@group(0) @binding(7) var<storage, read_write> out: array<scalar>;
@group(0) @binding(8) var<storage, read_write> failure: array<atomic<u32>, 2>;

const SIZE: u32 = 256u;
const PIECES: u32 = 7u;

fn length_of(piece: u32) -> u32 {
    switch piece {
        case 0u: {
            return arrayLength(&first);
        }
        case 1u: {
            return arrayLength(&second);
        }
        case 2u: {
            return arrayLength(&third);
        }
        case 3u: {
            return arrayLength(&fourth);
        }
        case 4u: {
            return arrayLength(&fifth);
        }
        case 5u: {
            return arrayLength(&sixth);
        }
        default: {
            return arrayLength(&seventh);
        }
    }
}

fn element(piece: u32, at: u32) -> scalar {
    switch piece {
        case 0u: {
            return first[at];
        }
        case 1u: {
            return second[at];
        }
        case 2u: {
            return third[at];
        }
        case 3u: {
            return fourth[at];
        }
        case 4u: {
            return fifth[at];
        }
        case 5u: {
            return sixth[at];
        }
        default: {
            return seventh[at];
        }
    }
}

// Whether every element of an operand is inside its binding: what is left of it after each step, so that nothing
// overflows.
fn is_inside(piece: u32, rows: u32) -> bool {
    let width = p.widths[piece];
    if width == 0u || rows == 0u {
        return true;
    }
    let len = length_of(piece);
    if p.offsets[piece] >= len || width > len - p.offsets[piece] {
        return false;
    }
    let room = len - p.offsets[piece] - width;
    return p.row_strides[piece] == 0u || rows - 1u <= room / p.row_strides[piece];
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let len = arrayLength(&out);
    var width = 0u;
    for (var piece = 0u; piece < PIECES; piece++) {
        // A sum beyond u32 is beyond the output too.
        if p.widths[piece] > len - width {
            fail(0u, 0u);
            return;
        }
        width += p.widths[piece];
    }
    if width == 0u || len % width != 0u {
        fail(0u, 0u);
        return;
    }
    let number = group.x + group.y * groups.x;
    if number == 0u {
        for (var piece = 0u; piece < PIECES; piece++) {
            if !is_inside(piece, len / width) {
                fail(1u, piece);
            }
        }
    }
    let item = number * SIZE + lid;
    if item >= len {
        return;
    }
    var column = item % width;
    var piece = 0u;
    while piece < PIECES - 1u && column >= p.widths[piece] {
        column -= p.widths[piece];
        piece++;
    }
    out[item] = element(piece, p.offsets[piece] + item / width * p.row_strides[piece] + column);
}
