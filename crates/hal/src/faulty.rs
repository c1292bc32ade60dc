//! Taking protections out.
