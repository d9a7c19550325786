//! What is sent: commands and scripts, in batches that travel together.

use super::resp::{put_count, put_word};
use super::scripts::Script;

/// Commands that travel together, in order, and are answered one by one. They are not a transaction.
#[derive(Clone, Debug)]
pub(super) struct Batch<'a> {
    pub(super) calls: Calls<'a>,
    /// Whether the whole may be sent again although it may have been carried out.
    pub(super) repeatable: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Calls<'a> {
    List(Vec<Call>),
    /// For each key its remaining life, then its value: what nearly every batch is, written without being listed first.
    Reads(&'a [&'a str]),
}

#[derive(Clone, Debug)]
pub(super) enum Call {
    Command(Command),
    Script(ScriptCall),
}

/// A command as it is sent.
#[derive(Clone, Debug)]
pub(super) struct Command(Vec<u8>);

/// A script with its keys and arguments.
#[derive(Clone, Debug)]
pub(super) struct ScriptCall {
    script: &'static Script,
    keys: Vec<String>,
    arguments: Vec<Vec<u8>>,
}

/// How a script is named to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ScriptForm {
    Hash,
    Text,
}

impl<'a> Batch<'a> {
    /// Carried out twice it does what it does once.
    pub(super) fn repeatable(calls: Vec<Call>) -> Self {
        Self {
            calls: Calls::List(calls),
            repeatable: true,
        }
    }

    pub(super) fn reads(keys: &'a [&'a str]) -> Self {
        Self {
            calls: Calls::Reads(keys),
            repeatable: true,
        }
    }

    pub(super) fn once(calls: Vec<Call>) -> Self {
        Self {
            calls: Calls::List(calls),
            repeatable: false,
        }
    }
}

impl Calls<'_> {
    /// How many there are, each of which is answered.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::List(calls) => calls.len(),
            Self::Reads(keys) => keys.len() * 2,
        }
    }

    /// Appends what is sent.
    pub(super) fn write(&self, form: ScriptForm, asking: bool, out: &mut Vec<u8>) {
        match self {
            Self::List(calls) => calls.iter().for_each(|call| call.write(form, asking, out)),
            Self::Reads(keys) => {
                for key in *keys {
                    for name in ["PTTL", "GET"] {
                        if asking {
                            out.extend_from_slice(ASKING);
                        }
                        put_command(out, &[name, key]);
                    }
                }
            }
        }
    }

    /// The calls whose scripts may be unknown to the server, by place.
    pub(super) fn listed(&self) -> &[Call] {
        match self {
            Self::List(calls) => calls,
            Self::Reads(_) => &[],
        }
    }
}

impl Call {
    /// Appends what is sent.
    pub(super) fn write(&self, form: ScriptForm, asking: bool, out: &mut Vec<u8>) {
        if asking {
            out.extend_from_slice(ASKING);
        }
        match self {
            Self::Command(command) => out.extend_from_slice(&command.0),
            Self::Script(call) => call.write(form, out),
        }
    }
}

impl ScriptCall {
    pub(super) fn new(script: &'static Script) -> Self {
        Self {
            script,
            keys: Vec::new(),
            arguments: Vec::new(),
        }
    }

    pub(super) fn key(mut self, key: impl Into<String>) -> Self {
        self.keys.push(key.into());
        self
    }

    pub(super) fn arg(mut self, argument: impl Into<Vec<u8>>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    pub(super) fn number(self, number: u64) -> Self {
        self.arg(number.to_string())
    }

    fn write(&self, form: ScriptForm, out: &mut Vec<u8>) {
        let (name, script) = match form {
            ScriptForm::Hash => ("EVALSHA", &self.script.hash),
            ScriptForm::Text => ("EVAL", &self.script.text),
        };
        put_count(out, 3 + self.keys.len() + self.arguments.len());
        put_word(out, name.as_bytes());
        put_word(out, script.as_bytes());
        put_word(out, itoa::Buffer::new().format(self.keys.len()).as_bytes());
        for key in &self.keys {
            put_word(out, key.as_bytes());
        }
        for argument in &self.arguments {
            put_word(out, argument);
        }
    }
}

impl From<ScriptCall> for Call {
    fn from(call: ScriptCall) -> Self {
        Self::Script(call)
    }
}

impl From<Command> for Call {
    fn from(command: Command) -> Self {
        Self::Command(command)
    }
}

/// A command of these words.
pub(super) fn command(words: &[&str]) -> Command {
    // A kind, a length of two digits and two line ends for each.
    let length = words.iter().map(|word| word.len() + 7).sum::<usize>() + 8;
    let mut bytes = Vec::with_capacity(length);
    put_command(&mut bytes, words);
    Command(bytes)
}

fn put_command(out: &mut Vec<u8>, words: &[&str]) {
    put_count(out, words.len());
    for word in words {
        put_word(out, word.as_bytes());
    }
}

/// The next command is answered although its slot has not arrived.
const ASKING: &[u8] = b"*1\r\n$6\r\nASKING\r\n";
