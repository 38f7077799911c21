//! People and how they prove who they are: users, sessions, links, device logins, tokens. Knows no HTTP.

pub mod device;
pub mod links;
pub mod sessions;
pub mod users;
