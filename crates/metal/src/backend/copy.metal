// Copies bytes. Each thread has 16 of them; the last one may have fewer, and touches no others.
#include <metal_stdlib>
#include <simd/simd.h>

typedef metal::uint4 vectors[1];
struct Arguments {
    uint bytes;
    uint pattern;
};

kernel void copy(
  device vectors const& from [[buffer(0)]]
, device vectors& to [[buffer(1)]]
, constant Arguments& arguments [[buffer(2)]]
, uint thread_ [[thread_position_in_grid]]
) {
    uint start = thread_ * 16u;
    if (start >= arguments.bytes) {
        return;
    }
    if (arguments.bytes - start >= 16u) {
        to[thread_] = from[thread_];
        return;
    }
    device uchar const* source = reinterpret_cast<device uchar const*>(&from[thread_]);
    device uchar* target = reinterpret_cast<device uchar*>(&to[thread_]);
    for (uint at = 0u; at < arguments.bytes - start; at++) {
        target[at] = source[at];
    }
}
