# Completion of diffexp in fish: groups, options, keys, run folders. Made by `diffexp completion`.
function __diffexp_words
    set -l words (commandline -opc)
    $words[1] completion query -- $words[2..-1] (commandline -ct) 2> /dev/null
end
complete -c diffexp -a '(__diffexp_words)'
