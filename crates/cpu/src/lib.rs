//! Thalweg: cpu.
