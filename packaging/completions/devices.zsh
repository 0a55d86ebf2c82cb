# Written by hand: the words that only vfiodctl knows. What comes before the kind is for compadd.
_vfiodctl_words() {
    local -a words
    words=(${(f)"$(vfiodctl complete ${@[-1]} 2>/dev/null)"})
    compadd "${@[1,-2]}" -a words
}
