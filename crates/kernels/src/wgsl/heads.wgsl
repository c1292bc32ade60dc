// Rows of several heads, as a view of a binding (heads.rs).
struct Heads {
    offset: u32,
    row_stride: u32,
    head_stride: u32,
}

// The first column of a row's head.
fn head_at(view: Heads, row: u32, head: u32) -> u32 {
    return view.offset + row * view.row_stride + head * view.head_stride;
}

// Whether every element of `[rows, heads, head_dim]`, none of them 0, is inside of a binding: what is left of it after
// each axis, so that nothing overflows.
fn is_inside(view: Heads, rows: u32, heads: u32, head_dim: u32, len: u32) -> bool {
    if view.offset >= len || head_dim > len - view.offset {
        return false;
    }
    var room = len - view.offset - head_dim;
    if view.row_stride > 0u {
        if rows - 1u > room / view.row_stride {
            return false;
        }
        room -= (rows - 1u) * view.row_stride;
    }
    return view.head_stride == 0u || heads - 1u <= room / view.head_stride;
}
