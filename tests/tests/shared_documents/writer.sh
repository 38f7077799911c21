# Adds lines to page.txt as one kind of program does. Lists each line that it has written completely in
# the file `written`. Usage: KIND LINE...
set -e
kind=$1
shift

# Has the page open for reading and writing until the program ends, from before it reads it. What any
# editor saves between the reading and the writing of a program is overwritten by the program.
hold() {
  while :; do
    exec 3<>page.txt
    [ /proc/self/fd/3 -ef page.txt ] && return
    exec 3>&-
  done
}

middle() { echo $(($(wc -l <page.txt) / 2)); }

# The page with the lines in its middle.
with_lines() {
  head -n "$(middle)" page.txt
  printf '%s\n' "$@"
  tail -n +$(($(middle) + 1)) page.txt
}

case $kind in
append)
  for line; do
    echo "$line" >>page.txt
    echo "$line" >>written
    sleep 0.02
  done
  exit
  ;;
append-to-open-file)
  exec 4>>page.txt
  for line; do
    echo "$line" >&4
    echo "$line" >>written
    sleep 0.02
  done
  exit
  ;;
rewrite-in-halves)
  hold
  with_lines "$@" >.new
  half=$(($(stat -c %s .new) / 2))
  {
    head -c $half .new
    sleep 0.2
    tail -c +$((half + 1)) .new
  } >page.txt
  ;;
sed-in-place)
  printf '%s\n' "$@" >.new
  hold
  sed -i "$(middle)r .new" page.txt
  ;;
rename-over)
  hold
  with_lines "$@" >.new
  mv .new page.txt
  ;;
git-checkout)
  [ -d .git ] || git init -q .
  hold
  blob=$(with_lines "$@" | git hash-object -w --stdin)
  git update-index --add --cacheinfo "100644,$blob,page.txt"
  git checkout -q -- page.txt
  ;;
format)
  hold
  with_lines "$@" | sed 's/^ */  /' >.new
  cat .new >page.txt
  ;;
esac
printf '%s\n' "$@" >>written
