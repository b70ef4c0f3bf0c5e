//! Organisations, the people in them, and the tokens that act for people.

pub mod organisation;
pub mod token;
pub mod user;
