//! What the columns of a roster are, from the words of its header row. Pure.

use unicode_normalization::{UnicodeNormalization as _, char::is_combining_mark};

use super::words::{
    EMAIL_PARTS, EMAIL_WORDS, FIRST_WORDS, LAST_WORDS, MIDDLE_WORDS, NAME_WORDS, OPEN_WORDS, OTHER_PARTS,
    SUMMARY_WORDS,
};
use crate::identity::clean::{clean_text, narrow};

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Email,
    /// The whole name.
    Name,
    First,
    Middle,
    Last,
}

/// The role of each column. None: it does not matter.
pub type Roles = Vec<Option<Role>>;

/// The longest header word that is compared. Longer cells are sentences.
const MAX_WORD_BYTES: usize = 80;

/// The roles that the cells of a row name, if it is a header. A header has no address, and names the
/// column of addresses or that of names.
pub fn read_header(fields: &[String]) -> Option<Roles> {
    let words: Vec<String> = fields.iter().map(|field| normalize(field)).collect();
    let has = |role: &[&str]| words.iter().any(|word| role.contains(&word.as_str()));
    let open = match (has(FIRST_WORDS), has(LAST_WORDS)) {
        (true, false) => Role::Last,
        (false, true) => Role::First,
        _ => Role::Name,
    };
    let roles: Roles = fields.iter().zip(&words).map(|(field, word)| find_role(field, word, open)).collect();
    roles.iter().any(Option::is_some).then_some(roles)
}

/// Whether a row sums up the others, such as "Points possible".
pub fn is_summary(first: &str) -> bool {
    SUMMARY_WORDS.contains(&normalize(first).as_str())
}

/// Whether a column is about somebody else than the student: a parent or a teacher.
pub fn is_of_other(label: &str) -> bool {
    let word = normalize(label);
    OTHER_PARTS.iter().any(|part| word.contains(part))
}

fn find_role(field: &str, word: &str, open: Role) -> Option<Role> {
    let is = |words: &[&str]| words.contains(&word);
    let has_email_word = || {
        EMAIL_PARTS.iter().any(|part| word.contains(part))
            || field
                .split(|letter: char| !letter.is_alphanumeric())
                .any(|part| EMAIL_WORDS.contains(&&*normalize(part)))
    };
    if word.is_empty() || field.contains('@') || word.len() > MAX_WORD_BYTES {
        None
    } else if is(FIRST_WORDS) {
        Some(Role::First)
    } else if is(LAST_WORDS) {
        Some(Role::Last)
    } else if is(MIDDLE_WORDS) {
        Some(Role::Middle)
    } else if is(NAME_WORDS) {
        Some(Role::Name)
    } else if is(OPEN_WORDS) {
        Some(open)
    } else if has_email_word() {
        Some(Role::Email)
    } else {
        None
    }
}

/// Letters and digits alone, in lower case, without accents: `Prénom de l'élève` is `prenomdeleleve`.
fn normalize(field: &str) -> String {
    clean_text(field)
        .chars()
        .map(narrow)
        .flat_map(char::to_lowercase)
        .nfd()
        .filter(|letter| !is_combining_mark(*letter))
        .nfc()
        .map(|letter| match letter {
            'ł' => 'l',
            'ø' => 'o',
            'ı' => 'i',
            'đ' => 'd',
            _ => letter,
        })
        .filter(|letter| letter.is_alphanumeric())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roles(header: &str) -> Roles {
        let fields: Vec<String> = header.split(';').map(str::to_owned).collect();
        read_header(&fields).unwrap_or_default()
    }

    #[test]
    fn header_words_of_many_languages() {
        use Role::{Email, First, Last, Middle, Name};
        for (header, expected) in [
            ("Name;E-Mail", [Some(Name), Some(Email)]),
            ("Nom;Prénom", [Some(Last), Some(First)]),
            ("Nombre;Apellidos", [Some(First), Some(Last)]),
            ("Nome;Cognome", [Some(First), Some(Last)]),
            ("Nome completo;Endereço de e-mail", [Some(Name), Some(Email)]),
            ("Imię;Nazwisko", [Some(First), Some(Last)]),
            ("Imię i nazwisko;Adres e-mail", [Some(Name), Some(Email)]),
            ("Naam;E-mailadres", [Some(Name), Some(Email)]),
            ("Achternaam;Tussenvoegsel", [Some(Last), Some(Middle)]),
            ("Schüler;E-Mail-Adresse (Schule)", [Some(Name), Some(Email)]),
            ("Élève;Adresse électronique", [Some(Name), Some(Email)]),
            ("Alumno;Correo electrónico", [Some(Name), Some(Email)]),
            ("Jméno;Příjmení", [Some(First), Some(Last)]),
            ("Фамилия;Имя", [Some(Last), Some(First)]),
            ("姓名；电子邮件".replace('；', ";").as_str(), [Some(Name), Some(Email)]),
            ("氏名;メールアドレス", [Some(Name), Some(Email)]),
            ("Ａｄｉ;Ｅ－ｍａｉｌ", [Some(Name), Some(Email)]),
            ("ID;E-mail 1 - Value", [None, Some(Email)]),
        ] {
            assert_eq!(roles(header), expected, "{header}");
        }
    }

    #[test]
    fn titles_and_students_are_no_header() {
        for row in ["Course CS-101;Fall 2026", "Ada;ada@mail.example", "Marta Nombre;x"] {
            assert_eq!(roles(row), [], "{row}");
        }
    }
}
