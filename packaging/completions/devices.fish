# Written by hand: the words that only vfiodctl knows.
for verb in groups show check repair release adopt wait
    complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand $verb" -f -a "(vfiodctl complete devices 2>/dev/null)"
end
for verb in hold reset-failed
    complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand $verb" -f -a "(vfiodctl complete targets 2>/dev/null)"
end
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand load" -f -a "(vfiodctl complete modules 2>/dev/null)"
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand unhold" -f -a "(vfiodctl complete holds 2>/dev/null)"
