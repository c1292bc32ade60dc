//! Thalweg: runtime.
