// Fills words with a pattern. Each thread has four of them; the last one may have fewer, and touches no others.
#include <metal_stdlib>
#include <simd/simd.h>

typedef uint words[1];
struct Arguments {
    uint bytes;
    uint pattern;
};

kernel void fill(
  device words& to [[buffer(0)]]
, constant Arguments& arguments [[buffer(1)]]
, uint thread_ [[thread_position_in_grid]]
) {
    uint start = thread_ * 4u;
    uint end = metal::min(start + 4u, arguments.bytes / 4u);
    for (uint at = start; at < end; at++) {
        to[at] = arguments.pattern;
    }
}
