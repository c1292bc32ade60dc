//! Thalweg: kernels.
