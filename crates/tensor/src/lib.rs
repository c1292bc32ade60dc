//! Thalweg: tensor.
