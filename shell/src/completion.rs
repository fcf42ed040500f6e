//! Completions for shells.

use clap::{Command, ValueEnum};
use clap_complete::Shell as Generator;

/// Shells that have completions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// GNU Bash.
    Bash,
    /// Zsh.
    Zsh,
    /// Fish.
    Fish,
}

/// The script that a shell reads to complete a command's words.
#[must_use]
pub fn script(shell: Shell, mut command: Command) -> Vec<u8> {
    let generator = match shell {
        Shell::Bash => Generator::Bash,
        Shell::Zsh => Generator::Zsh,
        Shell::Fish => Generator::Fish,
    };
    let name = command.get_name().to_owned();
    let mut text = Vec::new();
    clap_complete::generate(generator, &mut command, name, &mut text);
    text
}
