#!/bin/sh
# cargo runs this instead of rustc for the crates of this workspace: `static-agent.sh rustc ARGUMENTS…`. It links the
# agent's executable statically, because the guests of every image run it, and without symbols, because it is loaded at
# every boot.
case " $* " in
*" --crate-name workspace_agent "*" --crate-type bin "*) exec "$@" -C target-feature=+crt-static -C strip=symbols ;;
*) exec "$@" ;;
esac
