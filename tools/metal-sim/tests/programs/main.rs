//! Small programs, each run in a process of its own: one that breaks a rule has to be ended with that rule's name, and
//! one that breaks none has to end well.

#[cfg(metal_sim)]
mod arguments;
#[cfg(metal_sim)]
mod encoding;
#[cfg(metal_sim)]
mod faults;
#[cfg(metal_sim)]
mod memory;
#[cfg(metal_sim)]
mod objects;
#[cfg(metal_sim)]
mod order;
#[cfg(metal_sim)]
mod program;
#[cfg(metal_sim)]
mod rig;
#[cfg(metal_sim)]
mod systems;

#[cfg(metal_sim)]
fn main() {
    program::main(&[
        arguments::PROGRAMS,
        encoding::PROGRAMS,
        faults::PROGRAMS,
        memory::PROGRAMS,
        objects::PROGRAMS,
        order::PROGRAMS,
        systems::PROGRAMS,
    ]);
}

#[cfg(not(metal_sim))]
fn main() {}
