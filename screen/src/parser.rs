//! The parser of terminal output: UTF-8, then the states of a VT500 with the transitions of xterm.js.
//! Knows no screen: a [`Handler`] gets what was parsed.

/// Most parameters of a control sequence, and most subparameters.
const MAX_PARAMETERS: usize = 32;
/// Longest payload of an OSC or DCS string that is kept. The rest of a longer one is read and dropped.
const MAX_PAYLOAD_CHARS: usize = 16 * 1024;
/// Longest incomplete sequence that can be repeated ([`Parser::pending`]).
const MAX_PENDING_BYTES: usize = 4 * 1024;
/// Stands for all printable characters beyond ASCII.
const NON_ASCII: u32 = 0xa0;

/// Receives what a [`Parser`] finds.
pub trait Handler {
    /// Prints characters. Returns the last character's join state.
    fn print(&mut self, text: &[u32], join: Join) -> Join;
    /// Executes a control character.
    fn execute(&mut self, code: u32);
    /// An escape sequence. `ident`: intermediates and final byte, the final byte in the lowest bits.
    fn escape(&mut self, ident: u32);
    /// A control sequence. `ident`: prefix, intermediates and final byte.
    fn control(&mut self, ident: u32, parameters: &Parameters, join: Join);
    /// An operating system command that was not cancelled.
    fn command(&mut self, number: u32, payload: &str);
    /// A device control string that was not cancelled.
    fn device_control(&mut self, ident: u32, payload: &str);
}

/// The width of the character that came last, to which a character without a width is joined. `None`:
/// something else came last.
pub type Join = Option<u8>;

/// Parameters of a control sequence.
#[derive(Debug, Default, Clone)]
pub struct Parameters {
    values: Vec<i32>,
    /// For each parameter, where its subparameters begin and end.
    ranges: Vec<(usize, usize)>,
    subvalues: Vec<i32>,
    rejects_digits: bool,
    rejects_subdigits: bool,
    is_sub: bool,
}

impl Parameters {
    fn reset(&mut self) {
        self.values.clear();
        self.ranges.clear();
        self.subvalues.clear();
        (self.rejects_digits, self.rejects_subdigits, self.is_sub) = (false, false, false);
        self.add();
    }

    fn add(&mut self) {
        self.is_sub = false;
        if self.values.len() >= MAX_PARAMETERS {
            self.rejects_digits = true;
            return;
        }
        let begin = self.subvalues.len();
        self.ranges.push((begin, begin));
        self.values.push(0);
    }

    fn add_sub(&mut self) {
        self.is_sub = true;
        if self.rejects_digits || self.subvalues.len() >= MAX_PARAMETERS {
            self.rejects_subdigits = true;
            return;
        }
        self.subvalues.push(-1);
        if let Some(range) = self.ranges.last_mut() {
            range.1 += 1;
        }
    }

    fn add_digit(&mut self, digit: i32) {
        if self.rejects_digits || (self.is_sub && self.rejects_subdigits) {
            return;
        }
        let values = if self.is_sub { &mut self.subvalues } else { &mut self.values };
        if let Some(last) = values.last_mut() {
            *last = if *last == -1 { digit } else { last.saturating_mul(10).saturating_add(digit) };
        }
    }

    /// Number of parameters, at least 1.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// The parameter at `index`. 0 if it is empty or absent.
    pub fn get(&self, index: usize) -> i32 {
        self.values.get(index).copied().unwrap_or(0)
    }

    /// The parameter at `index` as a count: at least 1.
    pub fn count(&self, index: usize) -> usize {
        usize::try_from(self.get(index)).unwrap_or(0).max(1)
    }

    /// The subparameters of the parameter at `index`. -1: empty.
    pub fn subparameters(&self, index: usize) -> &[i32] {
        self.ranges.get(index).map_or(&[], |(begin, end)| &self.subvalues[*begin..*end])
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Ground,
    Escape,
    EscapeIntermediate,
    ControlEntry,
    ControlParameter,
    ControlIntermediate,
    ControlIgnore,
    /// In a string without a meaning: SOS, PM or APC.
    Ignored,
    Command,
    DeviceEntry,
    DeviceParameter,
    DeviceIntermediate,
    DeviceIgnore,
    DevicePayload,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Ignore,
    Print,
    Execute,
    Clear,
    Parameter,
    Collect,
    Escape,
    Control,
    CommandStart,
    Put,
    CommandEnd,
    DeviceStart,
    DeviceEnd,
}

/// What is to be done for a character, and the state after it.
fn transition(state: State, code: u32) -> (Action, State) {
    use Action as A;
    use State as S;
    let is_device = |state| {
        matches!(state, S::DeviceEntry | S::DeviceParameter | S::DeviceIntermediate | S::DeviceIgnore)
    };
    match (state, code) {
        (S::Command, 0x9c | 0x1b | 0x18 | 0x1a | 0x07) => (A::CommandEnd, S::Ground),
        (S::DevicePayload, 0x9c | 0x1b | 0x18 | 0x1a) => (A::DeviceEnd, S::Ground),
        (_, 0x1b) => (A::Clear, S::Escape),
        (_, 0x90) => (A::Clear, S::DeviceEntry),
        (_, 0x9b) => (A::Clear, S::ControlEntry),
        (_, 0x9c) => (A::Ignore, S::Ground),
        (_, 0x9d) => (A::CommandStart, S::Command),
        (_, 0x98 | 0x9e | 0x9f) => (A::Ignore, S::Ignored),
        (_, 0x18 | 0x1a | 0x80..=0x9f) => (A::Execute, S::Ground),
        (S::Ground, 0x00..=0x1f) => (A::Execute, S::Ground),
        (S::Ground, 0x20..=0x7e | NON_ASCII) => (A::Print, S::Ground),
        (
            S::Escape
            | S::EscapeIntermediate
            | S::ControlEntry
            | S::ControlParameter
            | S::ControlIntermediate
            | S::ControlIgnore,
            0x00..=0x1f,
        ) => (A::Execute, state),
        (
            S::Escape
            | S::EscapeIntermediate
            | S::ControlEntry
            | S::ControlParameter
            | S::ControlIntermediate
            | S::ControlIgnore,
            0x7f,
        ) => (A::Ignore, state),
        (S::Escape, 0x5b) => (A::Clear, S::ControlEntry),
        (S::Escape, 0x5d) => (A::CommandStart, S::Command),
        (S::Escape, 0x50) => (A::Clear, S::DeviceEntry),
        (S::Escape, 0x58 | 0x5e | 0x5f) => (A::Ignore, S::Ignored),
        (S::Escape | S::EscapeIntermediate, 0x20..=0x2f) => (A::Collect, S::EscapeIntermediate),
        (S::Escape | S::EscapeIntermediate, 0x30..=0x7e) => (A::Escape, S::Ground),
        (S::ControlEntry | S::ControlParameter | S::ControlIntermediate, 0x40..=0x7e) => {
            (A::Control, S::Ground)
        }
        (S::ControlEntry | S::ControlParameter | S::ControlIntermediate, 0x20..=0x2f) => {
            (A::Collect, S::ControlIntermediate)
        }
        (S::ControlEntry | S::ControlParameter, 0x30..=0x3b) => (A::Parameter, S::ControlParameter),
        (S::ControlEntry, 0x3c..=0x3f) => (A::Collect, S::ControlParameter),
        (S::ControlParameter, 0x3c..=0x3f) | (S::ControlIntermediate, 0x30..=0x3f) => {
            (A::Ignore, S::ControlIgnore)
        }
        (S::ControlIgnore, 0x40..=0x7e) => (A::Ignore, S::Ground),
        (S::ControlIgnore, 0x20..=0x3f | NON_ASCII) => (A::Ignore, S::ControlIgnore),
        (S::Ignored, 0x00..=0x7f) => (A::Ignore, S::Ignored),
        (S::Command, 0x00..=0x1f) => (A::Ignore, S::Command),
        (S::Command, 0x20..=0x7f | NON_ASCII) => (A::Put, S::Command),
        (S::DevicePayload, 0x7f) => (A::Ignore, S::DevicePayload),
        (S::DevicePayload, _) => (A::Put, S::DevicePayload),
        (S::DeviceIgnore, 0x00..=0x7f | NON_ASCII) => (A::Ignore, S::DeviceIgnore),
        (state, 0x00..=0x1f | 0x7f) if is_device(state) => (A::Ignore, state),
        (S::DeviceEntry | S::DeviceParameter | S::DeviceIntermediate, 0x40..=0x7e) => {
            (A::DeviceStart, S::DevicePayload)
        }
        (S::DeviceEntry | S::DeviceParameter | S::DeviceIntermediate, 0x20..=0x2f) => {
            (A::Collect, S::DeviceIntermediate)
        }
        (S::DeviceEntry | S::DeviceParameter, 0x30..=0x3b) => (A::Parameter, S::DeviceParameter),
        (S::DeviceEntry, 0x3c..=0x3f) => (A::Collect, S::DeviceParameter),
        (S::DeviceParameter, 0x3c..=0x3f) | (S::DeviceIntermediate, 0x30..=0x3f) => {
            (A::Ignore, S::DeviceIgnore)
        }
        // A character that has no place here ends the sequence.
        _ => (A::Ignore, S::Ground),
    }
}

/// Decodes UTF-8. Bytes that are no UTF-8 are dropped, as xterm.js does.
#[derive(Debug, Default)]
struct Decoder {
    missing: u8,
    length: u8,
    code: u32,
    /// The bytes of the incomplete character.
    bytes: [u8; 3],
}

impl Decoder {
    fn push(&mut self, byte: u8) -> Option<u32> {
        if self.missing > 0 {
            if byte & 0xc0 == 0x80 {
                self.code = self.code << 6 | u32::from(byte & 0x3f);
                self.missing -= 1;
                if self.missing > 0 {
                    self.bytes[usize::from(self.length - 1 - self.missing)] = byte;
                    return None;
                }
                return self.finish();
            }
            self.missing = 0;
        }
        let (length, code) = match byte {
            0..0x80 => return Some(u32::from(byte)),
            0xc0..0xe0 => (2, byte & 0x1f),
            0xe0..0xf0 => (3, byte & 0x0f),
            0xf0..0xf8 => (4, byte & 0x07),
            _ => return None,
        };
        (self.length, self.missing, self.code) = (length, length - 1, u32::from(code));
        self.bytes[0] = byte;
        None
    }

    fn finish(&self) -> Option<u32> {
        let is_valid = match self.length {
            2 => self.code >= 0x80,
            // A byte order mark shows nothing.
            3 => self.code >= 0x800 && !(0xd800..=0xdfff).contains(&self.code) && self.code != 0xfeff,
            _ => (0x1_0000..=0x10_ffff).contains(&self.code),
        };
        is_valid.then_some(self.code)
    }

    fn pending(&self) -> &[u8] {
        if self.missing == 0 { &[] } else { &self.bytes[..usize::from(self.length - self.missing)] }
    }
}

/// Parses output that may be split anywhere.
#[derive(Debug, Default)]
pub struct Parser {
    decoder: Decoder,
    state: State,
    parameters: Parameters,
    collected: u32,
    join: Join,
    /// The payload of the string that is being read.
    payload: String,
    payload_chars: usize,
    /// What has made the state: the characters since the last one between two sequences, without those that
    /// took effect already.
    pending: String,
    is_pending_cut: bool,
}

impl Parser {
    /// Parses bytes.
    pub fn parse(&mut self, bytes: &[u8], handler: &mut impl Handler) {
        let mut codes = Vec::with_capacity(bytes.len());
        codes.extend(bytes.iter().filter_map(|byte| self.decoder.push(*byte)));
        let mut at = 0;
        while at < codes.len() {
            at = self.step(&codes, at, handler);
        }
    }

    /// The join state of the character before, if a character came last.
    pub fn join(&self) -> Join {
        if self.state == State::Ground { self.join } else { None }
    }

    /// Whether the parser is between two sequences.
    pub fn is_at_rest(&self) -> bool {
        self.state == State::Ground
    }

    /// Bytes that bring a parser that is between two sequences into this one's state.
    pub fn pending(&self) -> Vec<u8> {
        let mut bytes = match (self.state, self.is_pending_cut) {
            (State::Ground, _) => Vec::new(),
            (_, false) => self.pending.clone().into_bytes(),
            // The beginning of a long string is gone. A string of the same kind without a meaning ends as
            // that one does.
            (State::Command, true) => b"\x1b]9999;".to_vec(),
            (State::DevicePayload | State::DeviceIgnore, true) => b"\x1bP\x7f~".to_vec(),
            (State::Ignored, true) => b"\x1bX".to_vec(),
            (_, true) => b"\x1b[:::?".to_vec(),
        };
        bytes.extend_from_slice(self.decoder.pending());
        bytes
    }

    /// Handles the character at `at` and all that are handled together with it. Returns the index after
    /// them.
    fn step(&mut self, codes: &[u32], at: usize, handler: &mut impl Handler) -> usize {
        let code = codes[at];
        let (action, mut next) = transition(self.state, code.min(NON_ASCII));
        let mut after = at + 1;
        match action {
            Action::Ignore => {}
            Action::Print => {
                let is_text = |code: &u32| (0x20..0x7f).contains(code) || *code >= NON_ASCII;
                after += codes[after..].iter().take_while(|code| is_text(code)).count();
                self.join = handler.print(&codes[at..after], self.join);
            }
            Action::Execute => {
                handler.execute(code);
                self.join = None;
            }
            Action::Clear => self.clear(),
            Action::Parameter => match code {
                0x3b => self.parameters.add(),
                0x3a => self.parameters.add_sub(),
                digit => self.parameters.add_digit(digit as i32 - 0x30),
            },
            Action::Collect => self.collected = self.collected << 8 | code,
            Action::Escape => {
                handler.escape(self.collected << 8 | code);
                self.join = None;
            }
            Action::Control => {
                handler.control(self.collected << 8 | code, &self.parameters, self.join);
                self.join = None;
            }
            Action::CommandStart | Action::DeviceStart => {
                if action == Action::DeviceStart {
                    self.collected = self.collected << 8 | code;
                }
                self.payload.clear();
                self.payload_chars = 0;
            }
            Action::Put => self.put(code),
            Action::CommandEnd | Action::DeviceEnd => {
                // CAN and SUB cancel the string.
                if !matches!(code, 0x18 | 0x1a) && self.payload_chars <= MAX_PAYLOAD_CHARS {
                    self.finish_string(action == Action::CommandEnd, handler);
                }
                self.payload = String::new();
                if code == 0x1b {
                    next = State::Escape;
                }
                self.clear();
                self.join = None;
            }
        }
        self.record_pending(action, code, next);
        self.state = next;
        after
    }

    fn clear(&mut self) {
        self.parameters.reset();
        self.collected = 0;
    }

    fn put(&mut self, code: u32) {
        self.payload_chars += 1;
        if self.payload_chars <= MAX_PAYLOAD_CHARS {
            self.payload.extend(char::from_u32(code));
        } else {
            self.payload = String::new();
        }
    }

    fn finish_string(&mut self, is_command: bool, handler: &mut impl Handler) {
        if !is_command {
            return handler.device_control(self.collected, &self.payload);
        }
        let (number, payload) = self.payload.split_once(';').unwrap_or((&self.payload, ""));
        if number.bytes().all(|byte| byte.is_ascii_digit())
            && let Ok(number) = number.parse()
        {
            handler.command(number, payload);
        }
    }

    /// Follows what would have to be sent for the state `next`.
    fn record_pending(&mut self, action: Action, code: u32, next: State) {
        let begins = code == 0x1b || (0x80..0xa0).contains(&code);
        if begins || next == State::Ground {
            self.pending.clear();
            self.is_pending_cut = false;
        }
        if next == State::Ground || action == Action::Execute {
            return;
        }
        if self.pending.len() >= MAX_PENDING_BYTES {
            self.is_pending_cut = true;
        } else {
            self.pending.extend(char::from_u32(code));
        }
    }
}
