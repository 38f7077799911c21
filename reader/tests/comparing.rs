//! Compares two snapshots of a home: the list of changes, and the diff of a file.

mod support;

use std::{fs, path::Path};

use burrow_reader::{ReaderError, SnapshotFiles, diff_file, list_changes};
use protocol::api::snapshot::{ChangeKind, Changes, Diff, MAX_CHANGES, MAX_DIFF_BYTES};
use support::{debugfs, filler, make_image, open_image, path};
use tempfile::TempDir;

/// Opens a home before and after these debugfs commands.
async fn open_two(directory: &Path, commands: &str) -> (TempDir, SnapshotFiles, SnapshotFiles) {
    let scratch = tempfile::tempdir().expect("a directory");
    let (before, after) = (scratch.path().join("before"), scratch.path().join("after"));
    make_image(&before, &[], Some(directory), "32M");
    fs::copy(&before, &after).expect("copied");
    debugfs(&after, commands);
    let (before, after) = (open_image(&before).await, open_image(&after).await);
    (scratch, before.expect("a home"), after.expect("a home"))
}

fn furnish() -> TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    for name in ["same", "deep/er", "gone/below"] {
        fs::create_dir_all(path.join(name)).expect("writable");
    }
    for (name, content) in [
        ("same/file", "the same"),
        ("deep/er/file", "one\ntwo\nthree\n"),
        ("deep/er/kept", "kept"),
        ("gone/below/file", "gone"),
        ("mode", "mode"),
        ("kind", "kind"),
    ] {
        fs::write(path.join(name), content).expect("writable");
    }
    fs::write(path.join("binary"), [0, 1, 2]).expect("writable");
    fs::write(path.join("large"), vec![b'x'; MAX_DIFF_BYTES as usize + 1]).expect("writable");
    std::os::unix::fs::symlink("one", path.join("link")).expect("writable");
    directory
}

/// The changes in short form: a sign, the path, and the sizes.
fn format_changes(changes: &Changes) -> Vec<String> {
    let sizes = |size: Option<u64>| size.map(|size| size.to_string()).unwrap_or_default();
    changes
        .changes
        .iter()
        .map(|change| {
            let sign = match change.kind {
                ChangeKind::Added => '+',
                ChangeKind::Removed => '-',
                ChangeKind::Changed => '~',
            };
            format!("{sign}{} {}>{}", change.path, sizes(change.size_before), sizes(change.size_after))
        })
        .collect()
}

#[tokio::test]
async fn changes_are_found_at_any_depth() {
    let directory = furnish();
    let text = directory.path().join("text");
    fs::write(&text, "one\n2\nthree\nfour\n").expect("writable");
    let commands = format!(
        "rm deep/er/file\nwrite {} deep/er/file\n\
         rm gone/below/file\nrmdir gone/below\nrmdir gone\n\
         mkdir new\nmkdir new/below\nwrite {} new/below/file\n\
         set_inode_field mode mode 0100600\n\
         rm kind\nmkdir kind\n\
         rm link\nsymlink link two\n",
        text.display(),
        text.display(),
    );
    let (_scratch, mut before, mut after) = open_two(directory.path(), &commands).await;
    let all = list_changes(&mut before, &mut after, &path(""), MAX_CHANGES).await.expect("comparable");
    let expected = ["~deep/er/file 14>17", "-gone >", "~kind 4>", "~link >", "~mode 4>4", "+new >"];
    assert_eq!((format_changes(&all), all.truncated), (expected.map(str::to_owned).to_vec(), false));
    let below = list_changes(&mut before, &mut after, &path("deep"), MAX_CHANGES).await.expect("comparable");
    assert_eq!(format_changes(&below), ["~deep/er/file 14>17"]);
    let one =
        list_changes(&mut before, &mut after, &path("new/below"), MAX_CHANGES).await.expect("comparable");
    assert_eq!(format_changes(&one), ["+new/below >"]);
    let none = list_changes(&mut before, &mut after, &path("same"), MAX_CHANGES).await.expect("comparable");
    assert_eq!((format_changes(&none), none.truncated), (vec![], false));
    let few = list_changes(&mut before, &mut after, &path(""), 2).await.expect("comparable");
    assert_eq!((few.changes.len(), few.truncated), (2, true));
    let absent = list_changes(&mut before, &mut after, &path("absent"), 2).await.err();
    assert!(matches!(absent, Some(ReaderError::NotFound)), "{absent:?}");
}

#[tokio::test]
async fn identical_homes_have_no_changes() {
    let directory = furnish();
    let scratch = tempfile::tempdir().expect("a directory");
    let image = scratch.path().join("image");
    make_image(&image, &[], Some(directory.path()), "32M");
    let (one, other) = (open_image(&image).await, open_image(&image).await);
    let (mut one, mut other) = (one.expect("a home"), other.expect("a home"));
    let none = list_changes(&mut one, &mut other, &path(""), MAX_CHANGES).await.expect("comparable");
    assert_eq!((format_changes(&none), none.truncated), (vec![], false));
    assert_eq!(diff_file(&mut one, &mut other, &path("mode")).await.expect("comparable"), Diff::Same);
}

#[tokio::test]
async fn directory_cycle_is_truncated() {
    let directory = furnish();
    let scratch = tempfile::tempdir().expect("a directory");
    let (before, after) = (scratch.path().join("before"), scratch.path().join("after"));
    make_image(&before, &[], Some(directory.path()), "32M");
    // A directory that contains its own grandparent.
    debugfs(&before, "link deep deep/er/circle\n");
    fs::copy(&before, &after).expect("copied");
    let (before, after) = (open_image(&before).await, open_image(&after).await);
    let (mut before, mut after) = (before.expect("a home"), after.expect("a home"));
    let circle = list_changes(&mut before, &mut after, &path(""), MAX_CHANGES).await.expect("comparable");
    assert!(circle.truncated && circle.changes.is_empty());
}

#[tokio::test]
async fn text_diff_is_unified() {
    let directory = furnish();
    let text = directory.path().join("text");
    fs::write(&text, "one\n2\nthree\nfour\n").expect("writable");
    let noise = directory.path().join("noise");
    fs::write(&noise, filler(4, 100)).expect("writable");
    let commands = format!(
        "rm deep/er/file\nwrite {0} deep/er/file\nwrite {0} new\nrm binary\nwrite {1} binary\n\
         rm large\nwrite {0} large\nrm kind\n",
        text.display(),
        noise.display(),
    );
    let (_scratch, mut before, mut after) = open_two(directory.path(), &commands).await;
    let mut check = async |name: &str| diff_file(&mut before, &mut after, &path(name)).await;
    let unified = |diff| match diff {
        Ok(Diff::Text { unified }) => unified,
        other => panic!("{other:?}"),
    };
    let expected = "--- a/deep/er/file\n+++ b/deep/er/file\n@@ -1,3 +1,4 @@\n one\n-two\n+2\n three\n+four\n";
    assert_eq!(unified(check("deep/er/file").await), expected);
    assert!(unified(check("new").await).contains("@@ -0,0 +1,4 @@\n+one\n"));
    assert!(unified(check("kind").await).contains("-kind"));
    assert_eq!(check("same/file").await.expect("comparable"), Diff::Same);
    let binary = Diff::Binary { size_before: 3, size_after: 100 };
    assert_eq!(check("binary").await.expect("comparable"), binary);
    let large = Diff::Binary { size_before: MAX_DIFF_BYTES + 1, size_after: 17 };
    assert_eq!(check("large").await.expect("comparable"), large);
    assert!(matches!(check("absent").await, Err(ReaderError::NotFound)));
    assert!(matches!(check("deep").await, Err(ReaderError::IsADirectory)));
    assert!(matches!(check("link").await, Err(ReaderError::NotAFile)));
}
