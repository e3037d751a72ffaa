//! What `docs/predecessor.md` and `docs/faults.md` claim: each weakness is answered once, and the tests they name are there.

use std::collections::BTreeSet;

use super::{code, none, read, sources};

/// How many weaknesses of the predecessor are numbered.
const WEAKNESSES: u32 = 48;

/// The modules that a file of the library, or of the test program, stands for: `messages::logins` for `tests/it/messages/logins.rs`.
fn modules_of(path: &str) -> Vec<&str> {
    let inside = path.trim_start_matches("tests/it/").trim_start_matches("src/").trim_end_matches(".rs");
    let inside = inside.strip_suffix("/mod").unwrap_or(inside);
    if ["lib", "main"].contains(&inside) { Vec::new() } else { inside.split('/').collect() }
}

/// The full names of the tests in a file, as the test programs list them. Those that `over_both!` makes count for both databases.
fn tests_of(path: &str, text: &str) -> Vec<String> {
    let modules = modules_of(path);
    let named = |inner: &[&str], name: &str| modules.iter().chain(inner).chain([&name]).copied().collect::<Vec<_>>().join("::");
    let mut tests = Vec::new();
    // Modules within the file, each with its indentation; and whether the next function is a test.
    let (mut inner, mut marked): (Vec<(usize, &str)>, bool) = (Vec::new(), false);
    for (_, line) in code(text) {
        let trimmed = line.trim_start();
        let indentation = line.len() - trimmed.len();
        if trimmed == "}" && inner.last().is_some_and(|(begun, _)| *begun == indentation) {
            inner.pop();
        } else if let Some(module) = trimmed.strip_suffix(" {").and_then(|line| line.rsplit_once("mod ")).map(|(_, module)| module) {
            inner.push((indentation, module));
        } else if trimmed == "#[test]" || trimmed.starts_with("#[tokio::test") {
            marked = true;
        } else if let Some((_, rest)) = trimmed.split_once("fn ").filter(|_| std::mem::take(&mut marked)) {
            let name = rest.split('(').next().unwrap_or(rest);
            tests.push(named(&inner.iter().map(|(_, module)| *module).collect::<Vec<_>>(), name));
        }
    }
    let whole: String = code(text).flat_map(|(_, line)| ["\n", line]).collect();
    for list in whole.split("\nover_both!(").skip(1).filter_map(|rest| rest.split(')').next()) {
        for check in list.split(',').map(str::trim).filter(|check| !check.is_empty()) {
            tests.extend(["sqlite", "mariadb"].map(|database| named(&[database], check)));
        }
    }
    // What a macro makes of its own names is none of them.
    tests.retain(|test| !test.contains('$'));
    tests
}

/// The tests that a text names.
fn named(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).filter(|name| name.contains("::")).map(str::to_owned).collect()
}

/// The tests that a document names and that are none.
fn unknown(path: &str, document: &str, tests: &BTreeSet<String>) -> Vec<String> {
    named(document).into_iter().filter(|name| !tests.contains(name)).map(|name| format!("{path}: there is no test {name}")).collect()
}

/// What is wrong with the faults, given the tests there are.
fn complaints_of_faults(document: &str, tests: &BTreeSet<String>) -> Vec<String> {
    let untested = document.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| fault |") && named(line).is_empty());
    let untested = untested.map(|line| format!("docs/faults.md: no test holds {line}"));
    unknown("docs/faults.md", document, tests).into_iter().chain(untested).collect()
}

/// What is wrong with the document, given the tests there are.
fn complaints(document: &str, tests: &BTreeSet<String>) -> Vec<String> {
    let mut complaints = unknown("docs/predecessor.md", document, tests);
    let rows = |number| document.lines().filter(move |line| line.starts_with(&format!("| W{number} |"))).collect::<Vec<_>>();
    for number in 1..=WEAKNESSES {
        match rows(number)[..] {
            [row] if named(row).is_empty() && !row.contains("not yet: ") => {
                complaints.push(format!("docs/predecessor.md: W{number} has neither a test nor \"not yet: \" and why"));
            }
            [_] => {}
            ref rows => complaints.push(format!("docs/predecessor.md: W{number} has {} rows", rows.len())),
        }
    }
    complaints
}

#[test]
fn each_weakness_and_each_fault_is_answered_by_tests_there_are() {
    let files = ["src", "tests/it"].into_iter().flat_map(|folder| sources(folder, &["rs"]));
    let tests = files.flat_map(|file| tests_of(&file.path, &file.text)).collect();
    none(complaints(&read("docs/predecessor.md"), &tests));
    none(complaints_of_faults(&read("docs/faults.md"), &tests));
}

#[test]
fn tests_are_found_by_their_full_names() {
    let check = |path: &str, text: &str, expected: &[&str]| assert_eq!(tests_of(path, text), expected, "{path}: {text}");
    let test = "#[test]\nfn it_works() {\n}\n";
    check("tests/it/harness.rs", test, &["harness::it_works"]);
    check("tests/it/store/mod.rs", test, &["store::it_works"]);
    check("src/lib.rs", test, &["it_works"]);
    check(
        "src/token.rs",
        "mod tests {\n    #[test]\n    fn one() {\n    }\n}\n#[test]\nfn two() {\n",
        &["token::tests::one", "token::two"],
    );
    check("src/token.rs", "#[tokio::test(flavor = \"multi_thread\")]\n#[expect(lint)]\nasync fn slow() {", &["token::slow"]);
    check("src/token.rs", "fn help() {\n}\n/// #[test]\nfn no_test() {\n}\n", &[]);
    check(
        "tests/it/store/floor.rs",
        "over_both!(\n    it_holds,\n);\n",
        &["store::floor::sqlite::it_holds", "store::floor::mariadb::it_holds"],
    );
    check("tests/it/store/mod.rs", "mod sqlite {\n    #[test]\n    async fn $check() {\n    }\n}\n", &[]);
}

#[test]
fn a_wrong_name_and_a_wrong_number_of_rows_are_seen() {
    let tests = BTreeSet::from(["messages::logins::the_last_wins".to_owned()]);
    let row = |number: u32| format!("| W{number} | it was weak | it is not | not yet: nobody can tell |\n");
    let rows = |numbers: std::ops::RangeInclusive<u32>| numbers.map(row).collect::<String>();
    let check = |document: &str, expected: &[&str]| {
        let expected: Vec<String> = expected.iter().map(|complaint| format!("docs/predecessor.md: {complaint}")).collect();
        assert_eq!(complaints(document, &tests), expected);
    };
    check(&rows(1..=48), &[]);
    let named = |test: &str| rows(1..=47) + &format!("| W48 | it was weak | it is not | `{test}` |\n");
    check(&named("messages::logins::the_last_wins"), &[]);
    check(&named("messages::logins::the_first_wins"), &["there is no test messages::logins::the_first_wins"]);
    check(&named("logins::the_last_wins"), &["there is no test logins::the_last_wins"]);
    check(&named("edge"), &["W48 has neither a test nor \"not yet: \" and why"]);
    check(&rows(1..=47), &["W48 has 0 rows"]);
    check(&(rows(1..=48) + &row(7)), &["W7 has 2 rows"]);
    let faults = "| fault | promise | held by |\n|---|---|---|\n| a | b | `logins::first` |\n| c | d | nothing |\n| e | f | `messages::logins::the_last_wins` |\n";
    let expected = ["docs/faults.md: there is no test logins::first", "docs/faults.md: no test holds | c | d | nothing |"];
    assert_eq!(complaints_of_faults(faults, &tests), expected);
}
