//! The limit of open files. Every connection, stream and disk of the system takes a descriptor, and
//! the usual limit of 1,024 is for programs that use `select`.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Enough for the gateway's connections and as many other files.
const WANTED: u64 = 65_536;

/// Raises the limit of this process and of the processes that it starts, as far as the system
/// allows. Returns the new limit.
pub fn raise_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = limit.maximum.map_or(WANTED, |maximum| maximum.min(WANTED));
    let current = limit.current.unwrap_or(u64::MAX);
    if current >= raised {
        return current;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum: limit.maximum }) {
        Ok(()) => raised,
        Err(error) => {
            tracing::warn!(%error, current, "cannot raise the limit of open files");
            current
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limit_is_raised_once() {
        let raised = raise_limit();
        assert_eq!(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX), raised);
        assert_eq!(raise_limit(), raised);
    }
}
