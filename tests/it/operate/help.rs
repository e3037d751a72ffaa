//! The help texts and completions of `roger`.

use std::process::Command;

use crate::support::fleet::binary;

fn printed(args: &[&str]) -> String {
    let output = Command::new(binary("roger")).args(args).env_remove("ROGER_CONFIG").output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The commands that a help text lists, each with its words.
fn commands(help: &str) -> Vec<(String, String)> {
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let named = listed.filter_map(|line| line.strip_prefix("  ").filter(|line| !line.starts_with(' ')));
    let split = named.map(|line| line.split_once(' ').map_or((line, ""), |(name, words)| (name, words.trim())));
    split.filter(|(name, _)| *name != "help").map(|(name, words)| (name.to_owned(), words.to_owned())).collect()
}

#[test]
fn every_command_says_what_it_does_and_what_its_arguments_are() {
    let mut ahead = vec![Vec::new()];
    let mut seen = 0;
    while let Some(path) = ahead.pop() {
        let args: Vec<&str> = path.iter().map(String::as_str).chain(["--help"]).collect();
        let help = printed(&args);
        // Words of its own, and not the command's name again.
        let first = help.lines().next().unwrap();
        assert!(first.split(' ').count() >= 3, "{args:?}: {first:?} says too little");
        for (name, words) in commands(&help) {
            assert!(words.split(' ').count() >= 3, "{args:?} {name}: {words:?} says too little");
            ahead.push(path.iter().cloned().chain([name]).collect());
        }
        seen += 1;
    }
    assert!(seen > 30, "{seen} commands were found");
}

#[test]
fn completions_know_every_command() {
    let top = commands(&printed(&["--help"]));
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = printed(&["completions", shell]);
        for (name, _) in &top {
            assert!(script.contains(name.as_str()), "{shell} does not know {name}");
        }
    }
}
