//! Screens that the model draws, compared with xterm.js, which the page shows.
//!
//! `BURROW_SEED` repeats a run; `BURROW_SCREEN_CASES` sets the number of random programs.

use std::{
    fmt::Write as _,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
};

use burrow_screen::Screen;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use serde_json::{Value, json};

const CASES: usize = 1500;

/// Output, or a new size.
#[derive(Clone)]
enum Step {
    Output(Vec<u8>),
    Resize(u16, u16),
}

impl std::fmt::Debug for Step {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Output(bytes) => write!(formatter, "{:?}", String::from_utf8_lossy(bytes)),
            Self::Resize(cols, rows) => write!(formatter, "({cols}, {rows})"),
        }
    }
}

impl Step {
    fn to_json(&self) -> Value {
        match self {
            Self::Output(bytes) => json!(hex(bytes)),
            Self::Resize(cols, rows) => json!([cols, rows]),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// xterm.js in Node.
struct Oracle {
    node: Child,
    answers: BufReader<std::process::ChildStdout>,
}

impl Oracle {
    fn start() -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/browser/screen-oracle.mjs");
        let mut node = Command::new("node")
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node runs");
        let answers = BufReader::new(node.stdout.take().expect("piped"));
        Self { node, answers }
    }

    /// Runs a case. "ok" if the restored screen is the same, before and after `tail`.
    fn compare(&mut self, size: (u16, u16), steps: &[Step], tail: &[Step]) -> String {
        let mut screen = Screen::new(size.0, size.1);
        for step in steps {
            match step {
                Step::Output(bytes) => screen.push(bytes),
                Step::Resize(cols, rows) => screen.resize(*cols, *rows),
            }
        }
        let case = json!({
            "cols": size.0,
            "rows": size.1,
            "steps": steps.iter().map(Step::to_json).collect::<Vec<_>>(),
            "replies": hex(&screen.take_replies()),
            "drawing": hex(&screen.draw()),
            "tail": tail.iter().map(Step::to_json).collect::<Vec<_>>(),
        });
        let stdin = self.node.stdin.as_mut().expect("piped");
        writeln!(stdin, "{case}").expect("node reads");
        let mut answer = String::new();
        self.answers.read_line(&mut answer).expect("node answers");
        answer.trim_end().to_owned()
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        drop(self.node.stdin.take());
        let _ = self.node.wait();
    }
}

fn number(random: &mut StdRng, max: u16) -> u16 {
    if random.random_bool(0.1) { random.random_range(0..200) } else { random.random_range(0..=max + 1) }
}

const WORDS: [&str; 14] = [
    "hello",
    "x",
    " ",
    "漢字",
    "é",
    "e\u{301}",
    "😀",
    "lqqk",
    "─",
    "\u{301}",
    "a b c",
    "日",
    "ﬁ",
    "0123456789",
];

/// One random piece of output.
fn piece(random: &mut StdRng, (cols, rows): (u16, u16)) -> Vec<u8> {
    let csi = |random: &mut StdRng, last: &str, count: usize| {
        let parameters: Vec<String> = (0..count)
            .map(|index| number(random, if index == 0 { rows } else { cols }).to_string())
            .collect();
        format!("\x1b[{}{last}", parameters.join(";"))
    };
    let output = match random.random_range(0..100) {
        0..30 => {
            let count = random.random_range(1..8);
            (0..count).map(|_| *WORDS.choose(random).expect("words")).collect()
        }
        30..40 => ["\r\n", "\n", "\r", "\x08", "\t", "\x0b", "\u{85}", "\x1bM", "\x1bD", "\x1bE"]
            .choose(random)
            .expect("some")
            .to_string(),
        40..50 => {
            let last = ["A", "B", "C", "D", "E", "F", "G", "d", "`", "a", "e"].choose(random).expect("some");
            csi(random, last, 1)
        }
        50..55 => csi(random, "H", 2),
        55..62 => {
            let last =
                ["@", "P", "X", "L", "M", "S", "T", " @", " A", "'}", "'~"].choose(random).expect("some");
            csi(random, last, 1)
        }
        62..67 => {
            let what = random.random_range(0..=2);
            let last = ["J", "K", "?J", "?K"].choose(random).expect("some");
            let (prefix, last) = last.strip_prefix('?').map_or(("", *last), |last| ("?", last));
            format!("\x1b[{prefix}{what}{last}")
        }
        67..82 => attributes(random),
        82..85 => {
            let top = random.random_range(0..=rows);
            format!("\x1b[{top};{}r", number(random, rows))
        }
        85..90 => {
            let mode = [1, 6, 7, 12, 25, 45, 66, 1000, 1002, 1003, 1004, 1006, 1016, 2004, 9]
                .choose(random)
                .expect("some");
            format!("\x1b[?{mode}{}", if random.random_bool(0.5) { "h" } else { "l" })
        }
        90..92 => {
            let sequences = [
                "\x1b[4h", "\x1b[4l", "\x1b[20h", "\x1b[20l", "\x1b=", "\x1b>", "\x1b[2 q", "\x1b[5 q",
                "\x1b[0 q",
            ];
            (*sequences.choose(random).expect("some")).to_owned()
        }
        92..94 => {
            let set = ["0", "B", "A", "K"].choose(random).expect("some");
            let sequences = [format!("\x1b({set}"), format!("\x1b){set}"), "\x0e".into(), "\x0f".into()];
            sequences.choose(random).expect("some").clone()
        }
        94..95 => {
            let last = if random.random_bool(0.5) { "h" } else { "l" };
            format!("\x1b[?{}{last}", ["47", "1047"].choose(random).expect("some"))
        }
        95..97 => {
            // Further attributes are not saved, and may come back later after the cursor is restored. So
            // there are none.
            let sequences = ["\x1b7", "\x1b[s", "\x1b8", "\x1b[u", "\x1b[?1049h", "\x1b[?1049l"];
            format!("\x1b[m\x1b]8;;\x1b\\{}", sequences.choose(random).expect("some"))
        }
        97..98 => {
            ["\x1bH", "\x1b[g", "\x1b[3g", "\x1b[I", "\x1b[Z"].choose(random).expect("some").to_string()
        }
        98..99 => [
            "\x1b]2;a title\x07",
            "\x1b]4;3;#123456;200;rgb:1/2/3\x1b\\",
            "\x1b]11;#abc\x07",
            "\x1b]133;A\x07$ \x1b]133;B\x07",
            "\x1b]133;C;start=5\x07\x1b]133;D;0\x07",
            "\x1b]7;file://host/home\x07",
            "\x1b]104;3\x07",
            "\x1b[!p",
            "\x1bc",
            "\x1b#8",
            "\x1b[3J",
            "\x1b[3b",
            "\x1b[6n\x1b[c\x1b[5n\x1b[>c\x1b[?25$p\x1b[4$p\x1bP$qr\x1b\\\x1b[?6n",
        ]
        .choose(random)
        .expect("some")
        .to_string(),
        _ => return (0..random.random_range(1..12)).map(|_| random.random()).collect(),
    };
    output.into_bytes()
}

fn attributes(random: &mut StdRng) -> String {
    match random.random_range(0..12) {
        0..2 => "\x1b[m".to_owned(),
        2..5 => format!("\x1b[{}m", random.random_range(0..10)),
        5 => format!("\x1b[{}m", random.random_range(21..30)),
        6 => format!("\x1b[3{};4{}m", random.random_range(0..8), random.random_range(0..8)),
        7 => format!("\x1b[9{};10{}m", random.random_range(0..8), random.random_range(0..8)),
        8 => format!("\x1b[{}8;5;{}m", random.random_range(3..6), random.random_range(0..256)),
        9 => format!("\x1b[{}8:2::{}:7:9m", random.random_range(3..6), random.random_range(0..256)),
        10 => {
            let choices = ["\x1b[4:3m", "\x1b[53m", "\x1b[55m", "\x1b[39;49m", "\x1b[1\"q", "\x1b[0\"q"];
            (*choices.choose(random).expect("some")).to_owned()
        }
        _ => {
            let choices = [
                "\x1b]8;;https://example.org\x1b\\",
                "\x1b]8;id=7;file:///x\x07",
                "\x1b]8;;\x1b\\",
                "\x1b]8;;\x07",
            ];
            (*choices.choose(random).expect("some")).to_owned()
        }
    }
}

/// A random program of escape sequences, with resizes if they are wanted.
fn program(random: &mut StdRng, size: &mut (u16, u16), count: usize, resizes: bool) -> Vec<Step> {
    let mut steps = Vec::new();
    for _ in 0..count {
        if resizes && random.random_bool(0.04) {
            *size = (random.random_range(2..24), random.random_range(2..10));
            steps.push(Step::Resize(size.0, size.1));
        } else {
            steps.push(Step::Output(piece(random, *size)));
        }
    }
    // One write between two resizes, as the terminals are compared where output is not cut.
    steps.into_iter().fold(Vec::new(), |mut joined, step| {
        match (joined.last_mut(), step) {
            (Some(Step::Output(before)), Step::Output(bytes)) => before.extend(bytes),
            (_, step) => joined.push(step),
        }
        joined
    })
}

/// Prints the least part of a failing case that still fails.
fn shrink(oracle: &mut Oracle, size: (u16, u16), steps: &[Step], tail: &[Step]) {
    let (mut steps, mut tail) = (steps.to_vec(), tail.to_vec());
    let mut fails = |steps: &[Step], tail: &[Step]| {
        let answer = oracle.compare(size, steps, tail);
        !matches!(answer.as_str(), "ok" | "odd" | "skipped")
    };
    if fails(&steps, &[]) {
        tail.clear();
    }
    for length in [64, 32, 16, 8, 4, 2, 1, 64, 16, 4, 2, 1] {
        for index in (0..steps.len() + tail.len()).rev() {
            let mut at = 0;
            loop {
                let (mut shorter, mut shorter_tail) = (steps.clone(), tail.clone());
                let step = shorter.iter_mut().chain(&mut shorter_tail).nth(index);
                let Some(Step::Output(bytes)) =
                    step.filter(|step| matches!(step, Step::Output(bytes) if at < bytes.len()))
                else {
                    break;
                };
                bytes.drain(at..(at + length).min(bytes.len()));
                if fails(&shorter, &shorter_tail) {
                    (steps, tail) = (shorter, shorter_tail);
                } else {
                    at += length;
                }
            }
        }
    }
    println!("shortest: {size:?} {steps:?} {tail:?}\n{}", oracle.compare(size, &steps, &tail));
}

#[test]
fn restored_screen_equals_continuous_one() {
    let given = std::env::var("BURROW_SEED").ok().and_then(|text| text.parse().ok());
    let seed: u64 = given.unwrap_or_else(rand::random);
    println!("BURROW_SEED={seed}");
    let cases = std::env::var("BURROW_SCREEN_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(CASES);
    let mut oracle = Oracle::start();
    let mut failures = Vec::new();
    let (mut skipped, mut odd) = (0, 0);
    for case in 0..cases {
        let mut random = StdRng::seed_from_u64(seed.wrapping_add(case as u64));
        let begin = (random.random_range(2..24), random.random_range(2..10));
        let mut size = begin;
        let count = random.random_range(1..60);
        let steps = program(&mut random, &mut size, count, true);
        let tail = program(&mut random, &mut size, 12, false);
        if cases == 1 {
            println!("{begin:?} {steps:?}\n{tail:?}");
            shrink(&mut oracle, begin, &steps, &tail);
        }
        match oracle.compare(begin, &steps, &tail).as_str() {
            "ok" => {}
            "odd" => odd += 1,
            "skipped" => skipped += 1,
            answer => failures.push(format!("BURROW_SEED={}: {answer}", seed.wrapping_add(case as u64))),
        }
    }
    assert!(skipped * 20 < cases, "xterm.js fails on {skipped} of {cases}");
    assert!(odd * 5 < cases, "{odd} of {cases} have cells that cannot be drawn");
    let shown = failures.iter().take(12).cloned().collect::<Vec<_>>().join("\n");
    println!("{} of {cases} differ, {skipped} skipped, {odd} odd:\n{shown}", failures.len());
    // A cursor that is restored after odd resizes may differ. Any other mistake fails many programs.
    assert!(
        failures.len() * 500 <= cases,
        "{} of {cases} differ, {skipped} skipped, {odd} odd:\n{shown}",
        failures.len()
    );
}
