//! Several servers over one store: who holds an id, who lives, what the registry is told, and who publishes what was left.

mod given;
mod identity;
mod relay;
