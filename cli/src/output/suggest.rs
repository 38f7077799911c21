//! "Did you mean …?" for mistyped names.

/// The name that is nearest to `wanted`, if one is near enough to be a typo.
pub fn did_you_mean<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let limit = wanted.chars().count() / 3 + 2;
    names
        .map(|name| (distance(wanted, name), name))
        .filter(|(distance, _)| *distance < limit)
        .min()
        .map(|(_, name)| name)
}

/// The Levenshtein distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_suggested() {
        let names = ["demo", "thesis", "homework"];
        assert_eq!(did_you_mean("dmeo", names.into_iter()), Some("demo"));
        assert_eq!(did_you_mean("homewrok", names.into_iter()), Some("homework"));
        assert_eq!(did_you_mean("x", names.into_iter()), None);
        assert_eq!(did_you_mean("zzzzzzzz", names.into_iter()), None);
    }
}
