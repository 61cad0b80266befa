//! JSON Schemas of every frame, for people who write clients.
