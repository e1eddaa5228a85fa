#compdef diffexp
# Completion of diffexp in zsh: groups, options, keys, run folders. Made by `diffexp completion`.
_diffexp() {
    local -a found open whole
    found=("${(@f)$(${words[1]} completion query -- "${(@Q)words[2,CURRENT]}" 2> /dev/null)}")
    open=(${(M)found:#*[=./]})
    whole=(${found:#*[=./]})
    (( ${#open} )) && compadd -S '' -- $open
    (( ${#whole} )) && compadd -- $whole
    (( ${#open} + ${#whole} )) || { compset -P '*='; _files }
}
_diffexp "$@"
