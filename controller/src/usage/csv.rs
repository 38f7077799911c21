//! A usage report as a table for spreadsheets. Pure.

use protocol::api::usage::{UsageReport, UsageRow};

const TAKES_EVERYTHING: &str = "a vector takes everything";
const COLUMNS: [&str; 9] = [
    "key",
    "name",
    "owner",
    "machine_seconds",
    "vcpu_seconds",
    "home_byte_days",
    "stored_byte_days",
    "sent_bytes",
    "received_bytes",
];

/// Writes the rows of a report with a heading. The total is not a row of its own, so that sums of columns are
/// right.
pub fn write_csv(report: &UsageReport) -> Vec<u8> {
    let mut table = Vec::new();
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(&mut table);
    writer.write_record(COLUMNS).expect(TAKES_EVERYTHING);
    for row in &report.rows {
        writer.write_record(cells(row)).expect(TAKES_EVERYTHING);
    }
    writer.flush().expect(TAKES_EVERYTHING);
    drop(writer);
    table
}

fn cells(row: &UsageRow) -> [String; 9] {
    let amounts = row.amounts;
    [
        row.key.clone(),
        as_text(&row.name),
        as_text(row.owner.as_deref().unwrap_or_default()),
        amounts.machine_seconds.to_string(),
        amounts.vcpu_seconds.to_string(),
        amounts.home_byte_days.to_string(),
        amounts.stored_byte_days.to_string(),
        amounts.sent_bytes.to_string(),
        amounts.received_bytes.to_string(),
    ]
}

/// Names are chosen by users. A spreadsheet must not take one for a formula.
fn as_text(name: &str) -> String {
    let guard = if name.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
    format!("{guard}{name}")
}

#[cfg(test)]
mod tests {
    use protocol::api::usage::{UsageAmounts, UsageGroup};
    use time::macros::date;

    use super::*;

    #[test]
    fn names_are_quoted_and_no_formulas() {
        let row = |name: &str| UsageRow {
            key: "1".to_owned(),
            name: name.to_owned(),
            owner: None,
            amounts: UsageAmounts { machine_seconds: 7, sent_bytes: 9, ..UsageAmounts::default() },
        };
        let report = UsageReport {
            from: date!(2026 - 03 - 01),
            to: date!(2026 - 03 - 02),
            by: UsageGroup::Workspace,
            total: UsageAmounts::default(),
            rows: vec![row("a, \"b\""), row("=1+1")],
            is_truncated: false,
        };
        let text = String::from_utf8(write_csv(&report)).expect("text");
        let lines: Vec<_> = text.split("\r\n").collect();
        assert_eq!(lines[0], COLUMNS.join(","));
        assert_eq!(lines[1], r#"1,"a, ""b""",,7,0,0,0,9,0"#);
        assert_eq!(lines[2], "1,'=1+1,,7,0,0,0,9,0");
        assert_eq!(lines[3..], [""]);
    }
}
