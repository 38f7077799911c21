//! Users and how they prove who they are: passwords, sessions, tokens, sign-in links, device logins
//! and rate limits. Knows no HTTP and no workspace. What a user may do is decided in
//! [`crate::authz`].

pub mod clean;
pub mod device_logins;
pub mod passwords;
pub mod rate_limits;
pub mod secrets;
pub mod sessions;
pub mod settings;
pub mod sign_in_links;
pub mod users;
