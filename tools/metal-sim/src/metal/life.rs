//! Who needs an object that nobody retains: work that was encoded without references.

use crate::rt::class::lock;
use crate::rules::{DIED_IN_FLIGHT, broken};
use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// An object's name, and how many command buffers rely on its life.
#[derive(Debug)]
pub struct Life {
    class: &'static str,
    label: Mutex<String>,
    needed: AtomicUsize,
}

/// Held by the object itself: its end is the object's end.
#[derive(Debug)]
pub struct Alive(Arc<Life>);

impl Alive {
    pub fn new(class: &'static str) -> Self {
        Self(Arc::new(Life { class, label: Mutex::default(), needed: AtomicUsize::new(0) }))
    }

    pub fn set_label(&self, label: Option<&objc2_foundation::NSString>) {
        *lock(&self.label) = label.map(ToString::to_string).unwrap_or_default();
    }
}

impl Deref for Alive {
    type Target = Arc<Life>;

    fn deref(&self) -> &Arc<Life> {
        &self.0
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        if self.needed.load(Ordering::Acquire) > 0 {
            broken(DIED_IN_FLIGHT, format_args!("{} {:?}", self.class, lock(&self.label)));
        }
    }
}

/// Held by what relies on an object's life.
#[derive(Debug)]
pub struct Need(Arc<Life>);

impl Need {
    pub fn new(life: &Arc<Life>) -> Self {
        life.needed.fetch_add(1, Ordering::AcqRel);
        Self(life.clone())
    }
}

impl Drop for Need {
    fn drop(&mut self) {
        self.0.needed.fetch_sub(1, Ordering::AcqRel);
    }
}
