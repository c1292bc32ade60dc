// Strided views of six axes (elementwise/view.rs).
const SIZE: u32 = 256u;

struct View {
    offset: u32,
    strides: array<u32, 6>,
}

// Where element `number` of a shape, in row-major order, lies in a view.
fn locate(number: u32, shape: array<u32, 6>, view: View) -> u32 {
    var rest = number;
    var at = view.offset + rest % shape[5] * view.strides[5];
    rest = rest / shape[5];
    if rest > 0u {
        at += rest % shape[4] * view.strides[4];
        rest = rest / shape[4];
    }
    if rest > 0u {
        at += rest % shape[3] * view.strides[3];
        rest = rest / shape[3];
    }
    if rest > 0u {
        at += rest % shape[2] * view.strides[2];
        rest = rest / shape[2];
    }
    if rest > 0u {
        at += rest % shape[1] * view.strides[1];
        at += rest / shape[1] * view.strides[0];
    }
    return at;
}

// The number of a shape's elements, if it is at most `most`; else the greatest u32.
fn elements(shape: array<u32, 6>, most: u32) -> u32 {
    var product = 1u;
    var empty = false;
    var large = false;
    for (var axis = 0u; axis < 6u; axis++) {
        let length = shape_at(shape, axis);
        if length == 0u {
            empty = true;
        } else if product > most / length {
            large = true;
        } else {
            product *= length;
        }
    }
    if empty {
        return 0u;
    }
    return select(product, 0xffffffffu, large);
}

// Whether every element of a view, of a shape that is not empty, is inside a binding: what is left of it after each
// axis, so that nothing overflows.
fn is_inside(view: View, shape: array<u32, 6>, len: u32) -> bool {
    if view.offset >= len {
        return false;
    }
    var room = len - 1u - view.offset;
    for (var axis = 0u; axis < 6u; axis++) {
        let steps = shape_at(shape, axis) - 1u;
        let stride = shape_at(view.strides, axis);
        if stride > 0u {
            if steps > room / stride {
                return false;
            }
            room -= steps * stride;
        }
    }
    return true;
}

// An element of an array that is a value.
fn shape_at(shape: array<u32, 6>, axis: u32) -> u32 {
    switch axis {
        case 0u: {
            return shape[0];
        }
        case 1u: {
            return shape[1];
        }
        case 2u: {
            return shape[2];
        }
        case 3u: {
            return shape[3];
        }
        case 4u: {
            return shape[4];
        }
        default: {
            return shape[5];
        }
    }
}
