//! For bash, 3.2 and later.

use super::Values;
use crate::command::COMMANDS;
use crate::flags::Kind;

/// What is the same whatever the tables say. Names of members are not to be trusted, and never evaluated.
const HELPERS: &str = r#"# Completion of serf for bash. In ~/.bashrc: source <(serf completion bash)

_serf_words() {
    local word
    for word in $1; do
        [[ $word == "$current"* ]] && COMPREPLY+=("$word")
    done
}

_serf_nodes() {
    local name
    while IFS= read -r name; do
        name=${name%%  *}
        if [[ $name == "$current"* && $name != *[[:cntrl:]]* ]]; then
            COMPREPLY+=("$(printf %q "$name")")
        fi
    done < <("${COMP_WORDS[0]}" members 2>/dev/null </dev/null)
}

_serf_paths() {
    local path
    compopt -o filenames 2>/dev/null
    while IFS= read -r path; do
        COMPREPLY+=("$path")
    done < <(compgen -f -- "$current")
}

"#;

/// The script.
pub(crate) fn bash() -> String {
    let mut out = HELPERS.to_owned();
    let names: Vec<_> = COMMANDS.iter().map(|command| command.name).collect();
    let names = names.join(" ");
    out += &format!("_serf_commands='{names}'\n\n");
    out += r#"_serf() {
    local current=${COMP_WORDS[COMP_CWORD]} command=${COMP_WORDS[1]} flag= flags= dash=-
    COMPREPLY=()
    if ((COMP_CWORD == 1)); then
        _serf_words "$_serf_commands help"
        return
    fi
    # An equals sign is a word of its own.
    if [[ $current == = ]]; then
        flag=${COMP_WORDS[COMP_CWORD - 1]} current=
    elif [[ ${COMP_WORDS[COMP_CWORD - 1]} == = ]]; then
        flag=${COMP_WORDS[COMP_CWORD - 2]}
    elif [[ $current != -* ]]; then
        flag=${COMP_WORDS[COMP_CWORD - 1]}
    fi
    if [[ $flag == -* ]]; then
        flag=${flag#-}
        case "$command ${flag#-}" in
"#;
    let mut free = Vec::new();
    for command in COMMANDS {
        for flag in command.flags() {
            let name = format!("'{} {}'", command.name, flag.name);
            match Values::of_flag(flag) {
                Some(Values::Free) => free.push(name),
                Some(values) => out += &format!("        {name}) {}; return ;;\n", offer(values)),
                None => {}
            }
        }
    }
    out += &format!("        {}) return ;;\n", free.join(" | "));
    out += "        esac\n    fi\n    if [[ $current == -* ]]; then\n        case $command in\n";
    for command in COMMANDS {
        let flags = command.flags().map(|flag| match flag.kind {
            Kind::Switch => flag.name.to_owned(),
            _ if flag.value.contains('=') => flag.name.to_owned(),
            _ => format!("{}=", flag.name),
        });
        let flags: Vec<_> = flags.collect();
        if !flags.is_empty() {
            out += &format!("        {}) flags='{}' ;;\n", command.name, flags.join(" "));
        }
    }
    out += r#"        esac
        [[ $current == --* ]] && dash=--
        for flag in $flags; do
            [[ $dash$flag == "$current"* ]] && COMPREPLY+=("$dash$flag")
        done
        [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *= ]] && compopt -o nospace 2>/dev/null
        return
    fi
    case $command in
    help) _serf_words "$_serf_commands" ;;
"#;
    for command in COMMANDS {
        match Values::of_arguments(command) {
            Values::Free => {}
            values => out += &format!("    {}) {} ;;\n", command.name, offer(values)),
        }
    }
    out += "    esac\n    return 0\n}\n\ncomplete -F _serf serf\n";
    out
}

fn offer(values: Values) -> String {
    match values {
        Values::Words(words) => format!("_serf_words '{}'", words.join(" ")),
        Values::Nodes => "_serf_nodes".into(),
        Values::Commands => "_serf_words \"$_serf_commands\"".into(),
        Values::Paths => "_serf_paths".into(),
        Values::Free => ":".into(),
    }
}
