//! For zsh.

use super::{Values, brief};
use crate::command::COMMANDS;
use crate::flags::{Flag, Kind};

const HEAD: &str = r#"#compdef serf
# Completion of serf for zsh. In a directory of $fpath: serf completion zsh > _serf

_serf_nodes() {
    local -a names
    names=(${${(f)"$(serf members 2>/dev/null </dev/null)"}%%  *})
    names=(${names:#*[[:cntrl:]]*})
    compadd -a names
}

_serf_commands() {
    local -a commands
    commands=(
"#;

/// The script.
pub(crate) fn zsh() -> String {
    let mut out = HEAD.to_owned();
    for command in COMMANDS {
        let name = format!("{}:{}", command.name, command.synopsis.replace(':', "\\:"));
        out += &format!("        {}\n", quoted(&name));
    }
    out += r#"    )
    _describe -t commands 'command' commands
}

_serf() {
    local curcontext="$curcontext" state line
    typeset -A opt_args
    _arguments -C '1: :_serf_commands' '*:: :->rest'
    [[ $state == rest ]] || return
    case $words[1] in
    help) _arguments '*: :_serf_commands' ;;
"#;
    for command in COMMANDS {
        out += &format!("    {}) _arguments", command.name);
        for flag in command.flags() {
            out += &format!(" \\\n        {}", quoted(&spec(flag)));
        }
        let arguments = match action(Values::of_arguments(command)) {
            action if action.is_empty() => "*: :_message argument".to_owned(),
            action => format!("*: :{action}"),
        };
        out += &format!(" \\\n        {} ;;\n", quoted(&arguments));
    }
    out += r#"    esac
}

if [[ $funcstack[1] == _serf ]]; then
    _serf "$@"
else
    compdef _serf serf
fi
"#;
    out
}

/// A flag as `_arguments` is told of it.
fn spec(flag: Flag) -> String {
    let repeats = if flag.kind == Kind::List { "*" } else { "" };
    let escaped = |text: &str| text.replace('[', "\\[").replace(']', "\\]").replace(':', "\\:");
    let what = escaped(brief(flag));
    match Values::of_flag(flag) {
        None => format!("{repeats}-{}[{what}]", flag.name),
        Some(values) => {
            format!("{repeats}-{}=[{what}]:{}:{}", flag.name, escaped(flag.value), action(values))
        }
    }
}

fn action(values: Values) -> String {
    match values {
        Values::Words(words) => format!("({})", words.join(" ")),
        Values::Nodes => "_serf_nodes".into(),
        Values::Commands => "_serf_commands".into(),
        Values::Paths => "_files".into(),
        Values::Free => String::new(),
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
