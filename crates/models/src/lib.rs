//! Thalweg: models.
