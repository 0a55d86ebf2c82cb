# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_vfiodctl_global_optspecs
    string join \n json root= H/host= color= no-color ascii h/help V/version
end

function __fish_vfiodctl_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_vfiodctl_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_vfiodctl_using_subcommand
    set -l cmd (__fish_vfiodctl_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c vfiodctl -n "__fish_vfiodctl_needs_command" -l root -d 'Look at the tree of a machine saved below this directory, instead of at this machine' -r -f -a "(__fish_complete_directories)"
complete -c vfiodctl -n "__fish_vfiodctl_needs_command" -s H -l host -d 'Ask the vfiod of another machine, over ssh' -r -f -a "(__fish_print_hostnames)"
complete -c vfiodctl -n "__fish_vfiodctl_needs_command" -l color -d 'When to use colours; by default on a terminal, unless NO_COLOR is set' -r -f -a "auto\t'On a terminal'
always\t'Also into a file or pipe'
never\t'Nowhere'"
complete -c vfiodctl -n "__fish_vfiodctl_needs_command" -l json -d 'Print JSON (vfiod-json(7)) instead of text'
complete -c vfiodctl -n "__fish_vfiodctl_needs_command" -l no-color -d 'No colours, like --color=never'
complete -c vfiodctl -n "__fish_vfiodctl_needs_command" -l ascii -d 'Plain ASCII, no symbols'
complete -c vfiodctl -n "__fish_vfiodctl_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vfiodctl -n "__fish_vfiodctl_needs_command" -s V -l version -d 'Print version'
complete -c vfiodctl -n "__fish_vfiodctl_needs_command" -f -a "status" -d 'Tell whether passthrough is ready, and if not, what to do'
complete -c vfiodctl -n "__fish_vfiodctl_needs_command" -f -a "list" -d 'List the devices that are declared or on a VFIO driver'
complete -c vfiodctl -n "__fish_vfiodctl_needs_command" -f -a "groups" -d 'List the IOMMU groups: whose they are, their members, and what keeps them from a virtual machine'
complete -c vfiodctl -n "__fish_vfiodctl_needs_command" -f -a "show" -d 'Show everything about one device'
complete -c vfiodctl -n "__fish_vfiodctl_needs_command" -f -a "check" -d 'Tell what stands between devices and virtual machines; ends with 1 where what is declared is blocked'
complete -c vfiodctl -n "__fish_vfiodctl_needs_command" -f -a "plan" -d 'Tell what vfiod would do now, and what it holds back and why; writes nothing'
complete -c vfiodctl -n "__fish_vfiodctl_needs_command" -f -a "repair" -d 'Repair now what is not as declared, without waiting for a back-off or an open breaker'
complete -c vfiodctl -n "__fish_vfiodctl_needs_command" -f -a "release" -d 'Give a device back to its former driver, until it is adopted again'
complete -c vfiodctl -n "__fish_vfiodctl_needs_command" -f -a "adopt" -d 'Take a released device again'
complete -c vfiodctl -n "__fish_vfiodctl_needs_command" -f -a "load" -d 'Load required kernel modules now'
complete -c vfiodctl -n "__fish_vfiodctl_needs_command" -f -a "hold" -d 'Keep vfiod from writing to something, for a time or while a command runs'
complete -c vfiodctl -n "__fish_vfiodctl_needs_command" -f -a "unhold" -d 'End a hold, or all holds on a target'
complete -c vfiodctl -n "__fish_vfiodctl_needs_command" -f -a "reset-failed" -d 'Forget failures, and close breakers that repeated losses have opened'
complete -c vfiodctl -n "__fish_vfiodctl_needs_command" -f -a "reload" -d 'Have the configuration read again'
complete -c vfiodctl -n "__fish_vfiodctl_needs_command" -f -a "wait" -d 'Wait until devices are ready, or assigned to a virtual machine'
complete -c vfiodctl -n "__fish_vfiodctl_needs_command" -f -a "history" -d 'Tell what was lost and brought back: when, what, how long, by whom'
complete -c vfiodctl -n "__fish_vfiodctl_needs_command" -f -a "monitor" -d 'Follow what happens, a line each, until interrupted'
complete -c vfiodctl -n "__fish_vfiodctl_needs_command" -f -a "snapshot" -d 'Save what a bug report about this machine needs, as a tar file; nothing secret is in it'
complete -c vfiodctl -n "__fish_vfiodctl_needs_command" -f -a "config" -d 'Check, show or write the configuration'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand status" -l root -d 'Look at the tree of a machine saved below this directory, instead of at this machine' -r -f -a "(__fish_complete_directories)"
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand status" -s H -l host -d 'Ask the vfiod of another machine, over ssh' -r -f -a "(__fish_print_hostnames)"
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand status" -l color -d 'When to use colours; by default on a terminal, unless NO_COLOR is set' -r -f -a "auto\t'On a terminal'
always\t'Also into a file or pipe'
never\t'Nowhere'"
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand status" -l json -d 'Print JSON (vfiod-json(7)) instead of text'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand status" -l no-color -d 'No colours, like --color=never'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand status" -l ascii -d 'Plain ASCII, no symbols'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand status" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand list" -l root -d 'Look at the tree of a machine saved below this directory, instead of at this machine' -r -f -a "(__fish_complete_directories)"
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand list" -s H -l host -d 'Ask the vfiod of another machine, over ssh' -r -f -a "(__fish_print_hostnames)"
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand list" -l color -d 'When to use colours; by default on a terminal, unless NO_COLOR is set' -r -f -a "auto\t'On a terminal'
always\t'Also into a file or pipe'
never\t'Nowhere'"
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand list" -s a -l all -d 'All PCI functions of this machine'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand list" -l json -d 'Print JSON (vfiod-json(7)) instead of text'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand list" -l no-color -d 'No colours, like --color=never'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand list" -l ascii -d 'Plain ASCII, no symbols'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand list" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand groups" -l root -d 'Look at the tree of a machine saved below this directory, instead of at this machine' -r -f -a "(__fish_complete_directories)"
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand groups" -s H -l host -d 'Ask the vfiod of another machine, over ssh' -r -f -a "(__fish_print_hostnames)"
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand groups" -l color -d 'When to use colours; by default on a terminal, unless NO_COLOR is set' -r -f -a "auto\t'On a terminal'
always\t'Also into a file or pipe'
never\t'Nowhere'"
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand groups" -l json -d 'Print JSON (vfiod-json(7)) instead of text'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand groups" -l no-color -d 'No colours, like --color=never'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand groups" -l ascii -d 'Plain ASCII, no symbols'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand groups" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand show" -l root -d 'Look at the tree of a machine saved below this directory, instead of at this machine' -r -f -a "(__fish_complete_directories)"
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand show" -s H -l host -d 'Ask the vfiod of another machine, over ssh' -r -f -a "(__fish_print_hostnames)"
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand show" -l color -d 'When to use colours; by default on a terminal, unless NO_COLOR is set' -r -f -a "auto\t'On a terminal'
always\t'Also into a file or pipe'
never\t'Nowhere'"
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand show" -l libvirt -d 'Print libvirt\'s <hostdev> elements for all endpoints of its group'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand show" -l json -d 'Print JSON (vfiod-json(7)) instead of text'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand show" -l no-color -d 'No colours, like --color=never'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand show" -l ascii -d 'Plain ASCII, no symbols'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand show" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand check" -l root -d 'Look at the tree of a machine saved below this directory, instead of at this machine' -r -f -a "(__fish_complete_directories)"
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand check" -s H -l host -d 'Ask the vfiod of another machine, over ssh' -r -f -a "(__fish_print_hostnames)"
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand check" -l color -d 'When to use colours; by default on a terminal, unless NO_COLOR is set' -r -f -a "auto\t'On a terminal'
always\t'Also into a file or pipe'
never\t'Nowhere'"
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand check" -l json -d 'Print JSON (vfiod-json(7)) instead of text'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand check" -l no-color -d 'No colours, like --color=never'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand check" -l ascii -d 'Plain ASCII, no symbols'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand check" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand plan" -l root -d 'Look at the tree of a machine saved below this directory, instead of at this machine' -r -f -a "(__fish_complete_directories)"
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand plan" -s H -l host -d 'Ask the vfiod of another machine, over ssh' -r -f -a "(__fish_print_hostnames)"
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand plan" -l color -d 'When to use colours; by default on a terminal, unless NO_COLOR is set' -r -f -a "auto\t'On a terminal'
always\t'Also into a file or pipe'
never\t'Nowhere'"
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand plan" -l json -d 'Print JSON (vfiod-json(7)) instead of text'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand plan" -l no-color -d 'No colours, like --color=never'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand plan" -l ascii -d 'Plain ASCII, no symbols'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand plan" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand repair" -l root -d 'Look at the tree of a machine saved below this directory, instead of at this machine' -r -f -a "(__fish_complete_directories)"
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand repair" -s H -l host -d 'Ask the vfiod of another machine, over ssh' -r -f -a "(__fish_print_hostnames)"
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand repair" -l color -d 'When to use colours; by default on a terminal, unless NO_COLOR is set' -r -f -a "auto\t'On a terminal'
always\t'Also into a file or pipe'
never\t'Nowhere'"
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand repair" -l json -d 'Print JSON (vfiod-json(7)) instead of text'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand repair" -l no-color -d 'No colours, like --color=never'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand repair" -l ascii -d 'Plain ASCII, no symbols'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand repair" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand release" -l root -d 'Look at the tree of a machine saved below this directory, instead of at this machine' -r -f -a "(__fish_complete_directories)"
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand release" -s H -l host -d 'Ask the vfiod of another machine, over ssh' -r -f -a "(__fish_print_hostnames)"
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand release" -l color -d 'When to use colours; by default on a terminal, unless NO_COLOR is set' -r -f -a "auto\t'On a terminal'
always\t'Also into a file or pipe'
never\t'Nowhere'"
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand release" -l json -d 'Print JSON (vfiod-json(7)) instead of text'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand release" -l no-color -d 'No colours, like --color=never'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand release" -l ascii -d 'Plain ASCII, no symbols'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand release" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand adopt" -l root -d 'Look at the tree of a machine saved below this directory, instead of at this machine' -r -f -a "(__fish_complete_directories)"
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand adopt" -s H -l host -d 'Ask the vfiod of another machine, over ssh' -r -f -a "(__fish_print_hostnames)"
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand adopt" -l color -d 'When to use colours; by default on a terminal, unless NO_COLOR is set' -r -f -a "auto\t'On a terminal'
always\t'Also into a file or pipe'
never\t'Nowhere'"
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand adopt" -l json -d 'Print JSON (vfiod-json(7)) instead of text'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand adopt" -l no-color -d 'No colours, like --color=never'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand adopt" -l ascii -d 'Plain ASCII, no symbols'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand adopt" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand load" -l root -d 'Look at the tree of a machine saved below this directory, instead of at this machine' -r -f -a "(__fish_complete_directories)"
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand load" -s H -l host -d 'Ask the vfiod of another machine, over ssh' -r -f -a "(__fish_print_hostnames)"
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand load" -l color -d 'When to use colours; by default on a terminal, unless NO_COLOR is set' -r -f -a "auto\t'On a terminal'
always\t'Also into a file or pipe'
never\t'Nowhere'"
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand load" -l json -d 'Print JSON (vfiod-json(7)) instead of text'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand load" -l no-color -d 'No colours, like --color=never'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand load" -l ascii -d 'Plain ASCII, no symbols'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand load" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand hold" -l why -d 'Why, for those who wonder' -r
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand hold" -l who -d 'Who, for those who wonder; the user by default' -r
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand hold" -l for -d 'For how long, such as 30min or 2h; it outlives restarts and reboots' -r
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand hold" -l root -d 'Look at the tree of a machine saved below this directory, instead of at this machine' -r -f -a "(__fish_complete_directories)"
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand hold" -s H -l host -d 'Ask the vfiod of another machine, over ssh' -r -f -a "(__fish_print_hostnames)"
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand hold" -l color -d 'When to use colours; by default on a terminal, unless NO_COLOR is set' -r -f -a "auto\t'On a terminal'
always\t'Also into a file or pipe'
never\t'Nowhere'"
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand hold" -l json -d 'Print JSON (vfiod-json(7)) instead of text'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand hold" -l no-color -d 'No colours, like --color=never'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand hold" -l ascii -d 'Plain ASCII, no symbols'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand hold" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand unhold" -l root -d 'Look at the tree of a machine saved below this directory, instead of at this machine' -r -f -a "(__fish_complete_directories)"
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand unhold" -s H -l host -d 'Ask the vfiod of another machine, over ssh' -r -f -a "(__fish_print_hostnames)"
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand unhold" -l color -d 'When to use colours; by default on a terminal, unless NO_COLOR is set' -r -f -a "auto\t'On a terminal'
always\t'Also into a file or pipe'
never\t'Nowhere'"
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand unhold" -l json -d 'Print JSON (vfiod-json(7)) instead of text'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand unhold" -l no-color -d 'No colours, like --color=never'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand unhold" -l ascii -d 'Plain ASCII, no symbols'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand unhold" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand reset-failed" -l root -d 'Look at the tree of a machine saved below this directory, instead of at this machine' -r -f -a "(__fish_complete_directories)"
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand reset-failed" -s H -l host -d 'Ask the vfiod of another machine, over ssh' -r -f -a "(__fish_print_hostnames)"
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand reset-failed" -l color -d 'When to use colours; by default on a terminal, unless NO_COLOR is set' -r -f -a "auto\t'On a terminal'
always\t'Also into a file or pipe'
never\t'Nowhere'"
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand reset-failed" -l json -d 'Print JSON (vfiod-json(7)) instead of text'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand reset-failed" -l no-color -d 'No colours, like --color=never'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand reset-failed" -l ascii -d 'Plain ASCII, no symbols'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand reset-failed" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand reload" -l root -d 'Look at the tree of a machine saved below this directory, instead of at this machine' -r -f -a "(__fish_complete_directories)"
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand reload" -s H -l host -d 'Ask the vfiod of another machine, over ssh' -r -f -a "(__fish_print_hostnames)"
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand reload" -l color -d 'When to use colours; by default on a terminal, unless NO_COLOR is set' -r -f -a "auto\t'On a terminal'
always\t'Also into a file or pipe'
never\t'Nowhere'"
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand reload" -l json -d 'Print JSON (vfiod-json(7)) instead of text'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand reload" -l no-color -d 'No colours, like --color=never'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand reload" -l ascii -d 'Plain ASCII, no symbols'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand reload" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand wait" -l timeout -d 'Give up after this time, such as 90s' -r
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand wait" -l root -d 'Look at the tree of a machine saved below this directory, instead of at this machine' -r -f -a "(__fish_complete_directories)"
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand wait" -s H -l host -d 'Ask the vfiod of another machine, over ssh' -r -f -a "(__fish_print_hostnames)"
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand wait" -l color -d 'When to use colours; by default on a terminal, unless NO_COLOR is set' -r -f -a "auto\t'On a terminal'
always\t'Also into a file or pipe'
never\t'Nowhere'"
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand wait" -l json -d 'Print JSON (vfiod-json(7)) instead of text'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand wait" -l no-color -d 'No colours, like --color=never'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand wait" -l ascii -d 'Plain ASCII, no symbols'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand wait" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand history" -s n -l lines -d 'So many of the latest lines, at most 1000; 50 by default' -r
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand history" -l root -d 'Look at the tree of a machine saved below this directory, instead of at this machine' -r -f -a "(__fish_complete_directories)"
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand history" -s H -l host -d 'Ask the vfiod of another machine, over ssh' -r -f -a "(__fish_print_hostnames)"
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand history" -l color -d 'When to use colours; by default on a terminal, unless NO_COLOR is set' -r -f -a "auto\t'On a terminal'
always\t'Also into a file or pipe'
never\t'Nowhere'"
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand history" -l json -d 'Print JSON (vfiod-json(7)) instead of text'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand history" -l no-color -d 'No colours, like --color=never'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand history" -l ascii -d 'Plain ASCII, no symbols'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand history" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand monitor" -l root -d 'Look at the tree of a machine saved below this directory, instead of at this machine' -r -f -a "(__fish_complete_directories)"
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand monitor" -s H -l host -d 'Ask the vfiod of another machine, over ssh' -r -f -a "(__fish_print_hostnames)"
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand monitor" -l color -d 'When to use colours; by default on a terminal, unless NO_COLOR is set' -r -f -a "auto\t'On a terminal'
always\t'Also into a file or pipe'
never\t'Nowhere'"
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand monitor" -l json -d 'Print JSON (vfiod-json(7)) instead of text'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand monitor" -l no-color -d 'No colours, like --color=never'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand monitor" -l ascii -d 'Plain ASCII, no symbols'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand monitor" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand snapshot" -l root -d 'Look at the tree of a machine saved below this directory, instead of at this machine' -r -f -a "(__fish_complete_directories)"
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand snapshot" -s H -l host -d 'Ask the vfiod of another machine, over ssh' -r -f -a "(__fish_print_hostnames)"
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand snapshot" -l color -d 'When to use colours; by default on a terminal, unless NO_COLOR is set' -r -f -a "auto\t'On a terminal'
always\t'Also into a file or pipe'
never\t'Nowhere'"
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand snapshot" -s f -l force -d 'Replace the file if it is there'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand snapshot" -l json -d 'Print JSON (vfiod-json(7)) instead of text'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand snapshot" -l no-color -d 'No colours, like --color=never'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand snapshot" -l ascii -d 'Plain ASCII, no symbols'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand snapshot" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand config; and not __fish_seen_subcommand_from check show generate" -l root -d 'Look at the tree of a machine saved below this directory, instead of at this machine' -r -f -a "(__fish_complete_directories)"
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand config; and not __fish_seen_subcommand_from check show generate" -s H -l host -d 'Ask the vfiod of another machine, over ssh' -r -f -a "(__fish_print_hostnames)"
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand config; and not __fish_seen_subcommand_from check show generate" -l color -d 'When to use colours; by default on a terminal, unless NO_COLOR is set' -r -f -a "auto\t'On a terminal'
always\t'Also into a file or pipe'
never\t'Nowhere'"
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand config; and not __fish_seen_subcommand_from check show generate" -l json -d 'Print JSON (vfiod-json(7)) instead of text'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand config; and not __fish_seen_subcommand_from check show generate" -l no-color -d 'No colours, like --color=never'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand config; and not __fish_seen_subcommand_from check show generate" -l ascii -d 'Plain ASCII, no symbols'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand config; and not __fish_seen_subcommand_from check show generate" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand config; and not __fish_seen_subcommand_from check show generate" -f -a "check" -d 'Tell every mistake, with file and line'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand config; and not __fish_seen_subcommand_from check show generate" -f -a "show" -d 'Print the whole configuration in force: the files merged, and the defaults'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand config; and not __fish_seen_subcommand_from check show generate" -f -a "generate" -d 'Print a configuration for what is on VFIO today, and what driverctl and modprobe.d have set'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand config; and __fish_seen_subcommand_from check" -l root -d 'Look at the tree of a machine saved below this directory, instead of at this machine' -r -f -a "(__fish_complete_directories)"
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand config; and __fish_seen_subcommand_from check" -s H -l host -d 'Ask the vfiod of another machine, over ssh' -r -f -a "(__fish_print_hostnames)"
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand config; and __fish_seen_subcommand_from check" -l color -d 'When to use colours; by default on a terminal, unless NO_COLOR is set' -r -f -a "auto\t'On a terminal'
always\t'Also into a file or pipe'
never\t'Nowhere'"
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand config; and __fish_seen_subcommand_from check" -l json -d 'Print JSON (vfiod-json(7)) instead of text'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand config; and __fish_seen_subcommand_from check" -l no-color -d 'No colours, like --color=never'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand config; and __fish_seen_subcommand_from check" -l ascii -d 'Plain ASCII, no symbols'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand config; and __fish_seen_subcommand_from check" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand config; and __fish_seen_subcommand_from show" -l root -d 'Look at the tree of a machine saved below this directory, instead of at this machine' -r -f -a "(__fish_complete_directories)"
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand config; and __fish_seen_subcommand_from show" -s H -l host -d 'Ask the vfiod of another machine, over ssh' -r -f -a "(__fish_print_hostnames)"
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand config; and __fish_seen_subcommand_from show" -l color -d 'When to use colours; by default on a terminal, unless NO_COLOR is set' -r -f -a "auto\t'On a terminal'
always\t'Also into a file or pipe'
never\t'Nowhere'"
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand config; and __fish_seen_subcommand_from show" -l json -d 'Print JSON (vfiod-json(7)) instead of text'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand config; and __fish_seen_subcommand_from show" -l no-color -d 'No colours, like --color=never'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand config; and __fish_seen_subcommand_from show" -l ascii -d 'Plain ASCII, no symbols'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand config; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand config; and __fish_seen_subcommand_from generate" -l root -d 'Look at the tree of a machine saved below this directory, instead of at this machine' -r -f -a "(__fish_complete_directories)"
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand config; and __fish_seen_subcommand_from generate" -s H -l host -d 'Ask the vfiod of another machine, over ssh' -r -f -a "(__fish_print_hostnames)"
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand config; and __fish_seen_subcommand_from generate" -l color -d 'When to use colours; by default on a terminal, unless NO_COLOR is set' -r -f -a "auto\t'On a terminal'
always\t'Also into a file or pipe'
never\t'Nowhere'"
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand config; and __fish_seen_subcommand_from generate" -l json -d 'Print JSON (vfiod-json(7)) instead of text'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand config; and __fish_seen_subcommand_from generate" -l no-color -d 'No colours, like --color=never'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand config; and __fish_seen_subcommand_from generate" -l ascii -d 'Plain ASCII, no symbols'
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand config; and __fish_seen_subcommand_from generate" -s h -l help -d 'Print help (see more with \'--help\')'

# Written by hand: the words that only vfiodctl knows.
for verb in groups show check repair release adopt wait
    complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand $verb" -f -a "(vfiodctl complete devices 2>/dev/null)"
end
for verb in hold reset-failed
    complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand $verb" -f -a "(vfiodctl complete targets 2>/dev/null)"
end
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand load" -f -a "(vfiodctl complete modules 2>/dev/null)"
complete -c vfiodctl -n "__fish_vfiodctl_using_subcommand unhold" -f -a "(vfiodctl complete holds 2>/dev/null)"
