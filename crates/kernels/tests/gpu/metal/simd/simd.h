// Included by translated kernels; what they need of it is in metal_stdlib.
