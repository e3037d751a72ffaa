//! Looking for a text within names.

/// What stands before a letter that is to be taken as it is.
pub(super) const ESCAPE: char = '!';

/// A pattern of LIKE for what contains `text`, whatever letters it has.
fn containing(text: &str) -> String {
    let mut pattern = String::from("%");
    for letter in text.chars() {
        if matches!(letter, '%' | '_' | ESCAPE) {
            pattern.push(ESCAPE);
        }
        pattern.push(letter);
    }
    pattern.push('%');
    pattern
}

/// A condition that one of `columns` contains a text, with the values of its placeholders. Case does not matter for ASCII; for other letters
/// that is up to the database, but what is written alike is always found.
pub(super) fn contains(columns: &[&str], text: &str) -> (String, Vec<String>) {
    let one = |column: &&str| format!("{column} LIKE ? ESCAPE '{ESCAPE}' OR LOWER({column}) LIKE ? ESCAPE '{ESCAPE}'");
    let condition = columns.iter().map(one).collect::<Vec<_>>().join(" OR ");
    let (exact, lower) = (containing(text), containing(&text.to_lowercase()));
    (format!("({condition})"), columns.iter().flat_map(|_| [exact.clone(), lower.clone()]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_of_patterns_are_taken_as_they_are() {
        assert_eq!(containing("a%b_c!"), "%a!%b!_c!!%");
        let (condition, values) = contains(&["a", "b"], "X");
        assert_eq!((condition.matches('?').count(), values.len()), (4, 4));
        assert_eq!(values, ["%X%", "%x%", "%X%", "%x%"]);
    }
}
