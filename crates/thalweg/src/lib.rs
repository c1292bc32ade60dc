//! Thalweg: thalweg.
