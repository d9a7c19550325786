//! What is sent: commands and scripts, in batches that travel together.

use redis::{Cmd, Pipeline};

use super::scripts::Script;

/// Commands that travel together, in order, and are answered one by one. They are not a transaction.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    pub(super) calls: Vec<Call>,
    /// Whether the whole may be sent again although it may have been carried out.
    pub(super) repeatable: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Call {
    Command(Cmd),
    Script(ScriptCall),
}

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

impl Batch {
    /// Carried out twice it does what it does once.
    pub(super) fn repeatable(calls: Vec<Call>) -> Self {
        Self {
            calls,
            repeatable: true,
        }
    }

    pub(super) fn once(calls: Vec<Call>) -> Self {
        Self {
            calls,
            repeatable: false,
        }
    }

    /// The calls at these places as one pipeline.
    pub(super) fn pipeline(&self, places: &[usize], form: ScriptForm, asking: bool) -> Pipeline {
        let mut pipeline = Pipeline::with_capacity(places.len());
        for place in places {
            if asking {
                pipeline.cmd("ASKING");
            }
            pipeline.add_command(self.calls[*place].command(form));
        }
        pipeline
    }

    pub(super) fn places(&self) -> Vec<usize> {
        (0..self.calls.len()).collect()
    }
}

impl Call {
    fn command(&self, form: ScriptForm) -> Cmd {
        match self {
            Self::Command(command) => command.clone(),
            Self::Script(call) => call.command(form),
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

    fn command(&self, form: ScriptForm) -> Cmd {
        let mut command = match form {
            ScriptForm::Hash => redis::cmd("EVALSHA"),
            ScriptForm::Text => redis::cmd("EVAL"),
        };
        match form {
            ScriptForm::Hash => command.arg(&self.script.hash),
            ScriptForm::Text => command.arg(&self.script.text),
        };
        command.arg(self.keys.len()).arg(&self.keys);
        for argument in &self.arguments {
            command.arg(argument.as_slice());
        }
        command
    }
}

impl From<ScriptCall> for Call {
    fn from(call: ScriptCall) -> Self {
        Self::Script(call)
    }
}

impl From<Cmd> for Call {
    fn from(command: Cmd) -> Self {
        Self::Command(command)
    }
}

/// A command of these words.
pub(super) fn command(words: &[&str]) -> Cmd {
    let mut command = Cmd::new();
    for word in words {
        command.arg(*word);
    }
    command
}
