//! End-to-end tests over real sockets against a real `im-server dev` process.

mod bad_frames;
mod bad_http;
mod bad_transport;
mod direct;
mod groups;
mod kill;
mod large;
mod life;
mod lists;
mod meddling;
mod people;
mod push;
mod refusals;
mod rooms;
mod slow;
mod terminals;
