# Makes bash tell its terminal where prompts and the output of commands begin and end (OSC 133), and the
# working directory (OSC 7). bash reads this file instead of its start files, because it was started in POSIX
# mode with ENV; so the first thing to do is what a login shell does.

unset ENV
set +o posix
# POSIX mode has chosen another one.
HISTFILE=~/.bash_history

__burrow_source() {
  # The first that can be read, as bash does for ~/.bash_profile, ~/.bash_login and ~/.profile.
  local file
  for file; do
    [[ -r $file ]] && __burrow_file=$file && return 0
  done
  return 1
}
# Not inside of the function: start files may declare arrays, which would be local to it.
__burrow_source /etc/profile && . "$__burrow_file"
__burrow_source ~/.bash_profile ~/.bash_login ~/.profile && . "$__burrow_file"
unset -f __burrow_source
unset -v __burrow_file

# bash 5.1 has arrays of PROMPT_COMMAND and EPOCHREALTIME.
if [[ $- != *i* ]] || ((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] < 501)); then return 0; fi

# When the command was started, in microseconds. Empty: none runs.
__burrow_started=
__burrow_directory=

__burrow_prompt() {
  local status=$? now=${EPOCHREALTIME/[^0-9]/}
  if [[ -n $__burrow_started ]]; then
    printf '\e]133;D;%s;duration=%s\a' "$status" "$(((now - __burrow_started) / 1000))"
    __burrow_started=
  fi
  if [[ $PWD != "$__burrow_directory" ]]; then
    __burrow_directory=$PWD
    __burrow_tell_directory
  fi
  # Anything may have replaced them, such as an activated environment.
  [[ $PS1 == *'\e]133;A'* ]] || PS1='\[\e]133;A\a\]'$PS1'\[\e]133;B\a\]'
  [[ ${PS0-} == *'\e]133;C'* ]] ||
    PS0='${PS1:$((__burrow_started=${EPOCHREALTIME/[^0-9]/},0)):0}\e]133;C;start=$((__burrow_started/1000))\a'${PS0-}
}

__burrow_tell_directory() {
  local LC_ALL=C encoded= at byte
  for ((at = 0; at < ${#PWD}; at++)); do
    byte=${PWD:at:1}
    if [[ $byte != [a-zA-Z0-9/._~-] ]]; then
      printf -v byte '%d' "'$byte"
      printf -v byte '%%%02X' "$((byte & 255))"
    fi
    encoded+=$byte
  done
  printf '\e]7;file://%s%s\a' "$HOSTNAME" "$encoded"
}

# The last, so that it sees what the others have made of the prompt.
PROMPT_COMMAND+=(__burrow_prompt)
