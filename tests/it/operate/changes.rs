//! `roger changes`.

use std::fs;

use serde_json::Value;

use super::Site;

const SEED: &str = r#"
[[tenant]]
name = "apollo"
[[account]]
name = "neil"
kind = "device"
tenant = "apollo"
password = "tranquility base"
[[group]]
name = "loop"
tenant = "apollo"
members = ["neil"]
"#;

fn kinds(answer: &Value) -> Vec<String> {
    answer["changes"].as_array().unwrap().iter().map(|change| change["what"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn what_an_operator_does_names_the_operator() {
    let site = Site::new();
    let seed = site.path().join("seed.toml");
    fs::write(&seed, SEED).unwrap();
    let seed = seed.to_str().unwrap();
    site.roger(&["apply", seed]).succeeded();
    site.roger(&["apply", seed]).succeeded();
    site.roger(&["account", "disable", "neil", "--yes"]).succeeded();
    site.roger(&["member", "remove", "loop", "neil", "--tenant", "apollo", "--yes"]).succeeded();

    let answer = site.roger(&["changes", "--json"]).succeeded();
    assert!(!answer.stdout.contains("tranquility") && !answer.stdout.contains("argon2"), "{}", answer.stdout);
    let all = answer.json();
    let expected = [
        "member.left",
        "tokens.revoked",
        "account.disabled",
        "seed.applied",
        "member.joined",
        "group.added",
        "account.added",
        "tenant.added",
    ];
    assert_eq!(kinds(&all), expected);
    let user = nix::unistd::User::from_uid(nix::unistd::Uid::current()).unwrap().unwrap().name;
    for change in all["changes"].as_array().unwrap() {
        assert_eq!(change["who"], format!("operator:{user}"));
    }
    let applied = &all["changes"][3]["after"];
    assert_eq!((&applied["summary"]["accounts_created"], &applied["file"]), (&1.into(), &seed.into()));

    let of = |args: &[&str]| kinds(&site.roger(&[&["changes", "--json"], args].concat()).succeeded().json());
    assert_eq!(of(&["--what", "member", "--who", &user]), ["member.left", "member.joined"]);
    assert_eq!(of(&["--who", "somebody"]), [""; 0]);
    assert_eq!(of(&["--since", "1h"]), expected);
    assert_eq!(of(&["--since", "2999-01-01"]), [""; 0]);
    let some = site.roger(&["changes", "--json", "--limit", "3"]).succeeded().json();
    assert_eq!((kinds(&some).len(), &some["more"]), (3, &true.into()));
    let text = site.roger(&["changes", "--limit", "1"]).succeeded().stdout;
    assert!(text.contains("member.left") && text.contains("raise --limit"), "{text}");
    assert_eq!(site.roger(&["changes", "--since", "yesterday"]).code, 64);
}
