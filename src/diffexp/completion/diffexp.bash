# Completion of diffexp in bash: groups, options, keys, run folders. Made by `diffexp completion`.
_diffexp_complete() { # PROGRAM... : what answers; the words behind it are taken from the line
    local skip=$# line="${COMP_LINE:0:COMP_POINT}" words word text found break
    read -ra words <<< "$line"
    [[ "$line" == *[[:space:]] ]] && words+=("")
    word="${words[${#words[@]} - 1]}"
    mapfile -t found < <("$@" completion query -- "${words[@]:skip}" 2> /dev/null)
    for break in = :; do # readline replaces what follows the last of these alone
        [[ "$COMP_WORDBREAKS" == *$break* && "$word" == *$break* ]] && text="${word%"${word##*"$break"}"}" &&
            found=("${found[@]#"$text"}") && word="${word#"$text"}"
    done
    COMPREPLY=()
    for text in "${found[@]}"; do
        [[ "$text" == *[!A-Za-z0-9_./=:,@%+~-]* ]] && text="$(printf %q "$text")"
        [[ -n "$text" ]] && COMPREPLY+=("$text")
    done
    [[ ${#COMPREPLY[@]} -eq 1 && "${COMPREPLY[0]}" == *[=./] ]] && compopt -o nospace 2> /dev/null
    return 0
}
_diffexp() { _diffexp_complete "${COMP_WORDS[0]/#\~/$HOME}"; }
_diffexp_python() {
    local words
    read -ra words <<< "$COMP_LINE"
    if [[ "${words[1]}" == *run.py ]] && grep -qs diffexp.cli "${words[1]}"; then
        _diffexp_complete "${words[0]}" "${words[1]}"
    elif [[ "${words[1]} ${words[2]}" == "-m diffexp" ]]; then
        _diffexp_complete "${words[0]}" -m diffexp
    fi
}
complete -o default -F _diffexp diffexp
complete -p python &> /dev/null || complete -o default -F _diffexp_python python python3
