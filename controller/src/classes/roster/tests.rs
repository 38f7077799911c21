//! Rosters as spreadsheets, learning systems and mail programs write them.

use encoding_rs::{Encoding, ISO_8859_2, MACINTOSH, SHIFT_JIS, WINDOWS_1250, WINDOWS_1251, WINDOWS_1252};

use super::{MAX_ERRORS, MAX_SHOWN_BYTES, Roster, parse};

fn read(bytes: &[u8]) -> Roster {
    parse(bytes).unwrap_or_else(|cause| panic!("{cause}: {}", String::from_utf8_lossy(bytes)))
}

fn pairs(roster: &Roster) -> Vec<(&str, &str)> {
    roster.entries.iter().map(|entry| (entry.name.as_str(), entry.email.as_str())).collect()
}

const ADA: (&str, &str) = ("Ada Lindqvist", "ada.lindqvist@school.example");
const BRUNO: (&str, &str) = ("Bruno Okafor", "bruno.okafor@school.example");
const CHIARA: (&str, &str) = ("Chiara Rossi", "chiara.rossi@school.example");

mod case_files {
    use super::*;

    fn check(bytes: &[u8], expected: &[(&str, &str)]) -> Roster {
        let roster = read(bytes);
        assert_eq!(pairs(&roster), expected, "{:?}", roster.format);
        assert_eq!(roster.errors, [], "{:?}", roster.format);
        roster
    }

    #[test]
    fn exports_of_learning_systems_are_read() {
        check(include_bytes!("cases/moodle-participants.csv"), &[ADA, BRUNO]);
        let canvas = check(include_bytes!("cases/canvas-gradebook.csv"), &[ADA, BRUNO]);
        assert_eq!(canvas.format.email_column.as_deref(), Some("SIS Login ID"));
        let german = check(
            include_bytes!("cases/german-university.csv"),
            &[("Ada Lindqvist", "ada.lindqvist@uni.example"), ("Bruno Okafor", "bruno.okafor@uni.example")],
        );
        assert_eq!(german.format.name_columns, ["Vorname", "Nachname"]);
    }

    #[test]
    fn files_of_spreadsheets_are_read() {
        check(include_bytes!("cases/mac-excel.csv"), &[ADA, BRUNO, CHIARA]);
        let empty = check(include_bytes!("cases/empty-rows.csv"), &[ADA, BRUNO]);
        assert!(empty.format.notes.iter().any(|note| note.contains("blank")), "{:?}", empty.format);
        check(include_bytes!("cases/sep-hint.csv"), &[ADA, BRUNO]);
        let titled = check(include_bytes!("cases/title-row.csv"), &[ADA, BRUNO]);
        assert_eq!(titled.format.header_line, Some(3));
        assert!(titled.format.notes.iter().any(|note| note.contains("CS-101")), "{:?}", titled.format);
    }

    #[test]
    fn encodings_are_found() {
        let wide = check(
            include_bytes!("cases/unicode-text-utf16le.txt"),
            &[
                ("José Núñez", "jose.nunez@school.example"),
                ("Zoë Müller", "zoe.mueller@school.example"),
                ("王小明", "wang@school.example"),
            ],
        );
        assert_eq!(wide.format.encoding, "UTF-16LE");
        let western = check(
            include_bytes!("cases/windows-1252.csv"),
            &[
                ("José Núñez", "jose.nunez@school.example"),
                ("Zoë Müller", "zoe.mueller@school.example"),
                ("Ann Smith – Jones", "ann@school.example"),
            ],
        );
        assert_eq!(western.format.encoding, "windows-1252");
    }

    #[test]
    fn invisible_characters_are_removed() {
        check(
            include_bytes!("cases/nbsp-and-zero-width.csv"),
            &[
                ADA,
                BRUNO,
                CHIARA,
                ("Dai Vernon", "dai.vernon@school.example"),
                ("Eve Marlow", "eve.marlow@school.example"),
                ("Filip Horak", "filip.horak@school.example"),
            ],
        );
    }

    #[test]
    fn paste_of_mail_program_is_read() {
        let paste = read(include_bytes!("cases/google-contacts-paste.txt"));
        assert_eq!(pairs(&paste)[..2], [ADA, BRUNO]);
        assert_eq!(pairs(&paste)[2], ("chiara.rossi", CHIARA.1));
        assert!(paste.format.notes.iter().any(|note| note.contains("no name")), "{:?}", paste.format);
    }
}

#[test]
fn plain_rows_are_read() {
    let roster = read(b"Anna,anna@x.org\r\n\r\n Ben  Berg , ben@x.org\n");
    assert_eq!(pairs(&roster), [("Anna", "anna@x.org"), ("Ben Berg", "ben@x.org")]);
    assert_eq!(roster.errors, []);
}

#[test]
fn columns_and_separators_are_found() {
    for text in [
        "\u{feff}Name;E-Mail\nAda Lindqvist;ada@x.org",
        "email\tname\nada@x.org\tAda Lindqvist\n",
        "id,name,group,email\n7,Ada Lindqvist,b,ada@x.org",
        "\"Ada Lindqvist\",\"ada@x.org\"",
        "Ada Lindqvist|ada@x.org",
        "Name，E-Mail\nAda Lindqvist，ada@x.org",
        "sep=,\r\nName,E-Mail\r\n\"Lindqvist, Ada\",<ada@x.org>\r\n",
        "\"sep=;\"\r\nName;E-Mail\r\nLindqvist, Ada;mailto:ada@x.org\r\n",
        "Ada,Lindqvist,ada@x.org",
        "Lindqvist;Ada;ada@x.org",
        "4711,ada@x.org,Ada Lindqvist",
        "Nom;Prénom;Courriel\nLindqvist;Ada;ada@x.org",
        "Name;Vorname;Mail\nLindqvist;Ada;ada@x.org",
        "Apellidos,Nombre,Correo electrónico\nLindqvist,Ada,ada@x.org",
        "Cognome;Nome;Indirizzo e-mail\nLindqvist;Ada;ada@x.org",
        "Nazwisko;Imię;Adres e-mail\nLindqvist;Ada;ada@x.org",
        "Nome completo;Endereço de e-mail\nAda Lindqvist;ada@x.org",
        "Roepnaam;Achternaam;E-mailadres\nAda;Lindqvist;ada@x.org",
        "Course: CS-101, B\nDate: 2026-09-01\n\nStudent,SIS Login ID\n\"Lindqvist, Ada\",ada@x.org",
        "Họ và tên;Email\nAda Lindqvist;ada@x.org",
        "Ada Lindqvist <ada@x.org>",
        "Lindqvist, Ada <ada@x.org>;",
        "Ada Lindqvist ada@x.org",
        "Participants\nAda Lindqvist;ada@x.org",
        "Name,Given Name,Family Name,E-mail 1 - Type,E-mail 1 - Value\n\
         Ada Lindqvist,Ada,Lindqvist,* Home,ada@x.org",
        "displayName,userPrincipalName,mail\nAda Lindqvist,al@x.onmicrosoft.com,ada@x.org",
        "Last Name,First Name,Email Address,Quiz\nPoints,,,10\nLindqvist,Ada,ada@x.org,7\n",
        "Name,E-Mail,Note\n\"Lindqvist,\nAda\",ada@x.org,\"a\nb\"\n",
        "=\"Ada Lindqvist\";=\"ada@x.org\"",
        "Name,E-Mail\nLindqvist, Ada,ada@x.org\n",
        "Parent email,Student,Student email\np@x.org,Ada Lindqvist,ada@x.org\n",
        "Name;E-Mail;Lehrer-E-Mail\nAda Lindqvist;ada@x.org;t@x.org\n",
    ] {
        let roster = read(text.as_bytes());
        assert_eq!(pairs(&roster), [("Ada Lindqvist", "ada@x.org")], "{text}: {:?}", roster.errors);
        assert_eq!(roster.errors, [], "{text}");
    }
}

#[test]
fn names_of_east_asia_are_joined() {
    let roster = read("姓,名,邮箱\n王,小明,wang@x.org\n".as_bytes());
    assert_eq!(pairs(&roster), [("王小明", "wang@x.org")]);
}

#[test]
fn wide_text_needs_no_mark() {
    let text = "Name\tE-Mail\r\nJosé Núñez\tjose@x.org\r\n王小明\twang@x.org\r\n";
    let expected = [("José Núñez", "jose@x.org"), ("王小明", "wang@x.org")];
    let little: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let big: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
    for (mark, bytes) in [(&b"\xff\xfe"[..], &little), (b"\xfe\xff", &big), (b"", &little), (b"", &big)] {
        assert_eq!(pairs(&read(&[mark, bytes].concat())), expected);
    }
}

#[test]
fn old_encodings_are_told_apart() {
    let encode = |encoding: &'static Encoding, text: &str| encoding.encode(text).0.into_owned();
    let mac = |text: &str| {
        let decoded = |byte: u8| MACINTOSH.decode_without_bom_handling(&[byte]).0.chars().next();
        let byte =
            |letter: char| (0..=255).find(|byte| decoded(*byte) == Some(letter)).expect("in the encoding");
        text.chars().map(byte).collect::<Vec<u8>>()
    };
    for (names, encoding) in [
        (["Jörg Groß", "Zoë Müller", "Ängelika Öz"], WINDOWS_1252),
        (["Łukasz Wiśniewski", "Małgorzata Żółć", "Zbigniew Dąbrowski"], WINDOWS_1250),
        (["Łukasz Wiśniewski", "Małgorzata Żółć", "Zbigniew Dąbrowski"], ISO_8859_2),
        (["Иван Петров", "Мария Соколова", "Олег Кузнецов"], WINDOWS_1251),
        (["山田太郎", "鈴木花子", "佐藤一郎"], SHIFT_JIS),
    ] {
        let text: String = (0..)
            .zip(names)
            .map(|(index, name)| format!("{name};s{index}@x.example\r\n"))
            .collect::<Vec<_>>()
            .concat();
        let roster = read(&encode(encoding, &text));
        let found: Vec<&str> = roster.entries.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(found, names, "{}: read as {}", encoding.name(), roster.format.encoding);
    }
    for end in ["\r", "\n", "\r\n"] {
        let text = ["Name;E-Mail", "José Núñez;jose@x.org", "Zoë Müller;zoe@x.org", ""].join(end);
        let roster = read(&mac(&text));
        assert_eq!(pairs(&roster), [("José Núñez", "jose@x.org"), ("Zoë Müller", "zoe@x.org")], "{end:?}");
        assert_eq!(roster.format.encoding, "macintosh");
    }
}

#[test]
fn damaged_and_foreign_files_are_refused() {
    for bytes in [
        &b"PK\x03\x04rest"[..],
        b"\xd0\xcf\x11\xe0rest",
        b"%PDF-1.7",
        b"<html><table><tr><td>Ada",
        b"a\0\0\0b\0c",
        b"",
        b"\r\n\r\n",
        b"Name,E-Mail\n",
        b"Student,ID,Section\n\"Lindqvist, Ada\",5101,A\n",
        b"Lindqvist,Ada,5101,A\nOkafor,Bruno,5102,B\n",
    ] {
        let cause = parse(bytes).expect_err("nothing in it can be used");
        assert!(cause.len() > 20, "{cause}");
    }
    let missing = parse(b"Last Name,First Name,Username,Student ID\nLindqvist,Ada,al12,5101\n");
    assert!(missing.expect_err("no addresses").contains("Last Name, First Name, Username, Student ID"));
    let damaged = read("Name;E-Mail\nJos\u{fffd};j@x.org\nAda;a@x.org\n".as_bytes());
    assert_eq!((damaged.entries.len(), damaged.errors.len()), (1, 1));
}

#[test]
fn bad_rows_are_errors_and_good_rows_stay() {
    let text = b"Anna,anna@x.org\nBen\n\"Cleo,cleo@x.org\nDan,dan@x@y\n,f@x.org\n\
        Anna2,ANNA@x.org\nG,g@x,extra\nAnna,anna@x.org\nHal,hal@x.org";
    let roster = read(text);
    assert_eq!(pairs(&roster), [("Anna", "anna@x.org"), ("Hal", "hal@x.org")]);
    let mut lines: Vec<_> = roster.errors.iter().map(|error| error.line).collect();
    lines.sort_unstable();
    assert_eq!(lines, [2, 3, 4, 5, 6, 7]);
    let twice = roster.errors.iter().find(|error| error.line == 6).expect("reported");
    assert!(twice.message.contains("line 1"), "{}", twice.message);
    assert!(roster.format.notes.iter().any(|note| note.starts_with("Line 8")), "{:?}", roster.format.notes);
    assert_eq!(roster.errors[0].row, "Ben");
}

#[test]
fn bad_row_knows_its_columns() {
    let roster = read("E-Mail;Name\nada@x.org;Ada\nbruno(at)x.org;Bruno\n".as_bytes());
    assert_eq!(roster.errors.len(), 1);
    assert_eq!(
        (roster.errors[0].name.as_str(), roster.errors[0].email.as_str()),
        ("Bruno", "bruno(at)x.org")
    );
}

#[test]
fn shown_rows_and_errors_are_bounded() {
    let long = parse(format!("{},x\n", "ä".repeat(100_000)).as_bytes());
    assert!(long.is_err() || long.is_ok_and(|roster| roster.errors[0].row.len() <= MAX_SHOWN_BYTES));
    let many = read(format!("Ada,ada@x.org\n{}", "x,y\n".repeat(5000)).as_bytes());
    assert_eq!(many.errors.len(), MAX_ERRORS);
    assert!(many.format.notes.iter().any(|note| note.starts_with("4000 more")), "{:?}", many.format.notes);
}
