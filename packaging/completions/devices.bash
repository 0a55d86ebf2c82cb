# Written by hand: the words that only vfiodctl knows. Readline breaks words at colons, and addresses
# have them: the pieces are put together here, and what is before the last colon is taken off again.
_vfiodctl_completed() {
    local line=${COMP_LINE:0:COMP_POINT} word verb='' kind='' candidate skip=
    local -a words
    read -ra words <<<"$line"
    [[ $line == *[[:space:]] ]] && words+=('')
    local current=${words[${#words[@]}-1]}
    for word in "${words[@]:1:${#words[@]}-2}"; do
        if [[ -n $skip ]]; then skip=; continue; fi
        case $word in
            --) return ;;
            --root|--host|-H|--color|--why|--who|--for|--timeout|-n|--lines) skip=1 ;;
            -*) ;;
            *) [[ -n $verb ]] || verb=$word ;;
        esac
    done
    case $verb in
        groups|show|check|repair|release|adopt|wait) kind=devices ;;
        hold|reset-failed) kind=targets ;;
        load) kind=modules ;;
        unhold) kind=holds ;;
    esac
    if [[ -z $kind || $current == -* || -n $skip ]]; then
        _vfiodctl "$@"
        return
    fi
    COMPREPLY=()
    local before=
    [[ $current == *:* && ${COMP_WORDBREAKS-:} == *:* ]] && before=${current%"${current##*:}"}
    while IFS= read -r candidate; do
        [[ $candidate == "$current"* ]] && COMPREPLY+=("${candidate#"$before"}")
    done < <(vfiodctl complete "$kind" 2>/dev/null)
}

if [[ "${BASH_VERSINFO[0]}" -eq 4 && "${BASH_VERSINFO[1]}" -ge 4 || "${BASH_VERSINFO[0]}" -gt 4 ]]; then
    complete -F _vfiodctl_completed -o nosort -o bashdefault -o default vfiodctl
else
    complete -F _vfiodctl_completed -o bashdefault -o default vfiodctl
fi
