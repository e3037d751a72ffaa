//! `roger account tree`, `roger device` and `roger import`.

use std::fs;

use serde_json::json;

use super::Site;

const TABLE: &str = "imei,model,nickname\n356938035643809,R-1,Falcon One\n490154203237518,,\"Tower, north\"\n490154203237519,R-1,\n";

#[test]
fn an_operator_builds_a_tree_and_stocks_it() {
    let site = Site::new();
    site.roger(&["account", "add", "root", "--kind", "root"]).succeeded();
    for (name, kind, parent) in
        [("acme", "company", "root"), ("south", "distributor", "acme"), ("ann", "dispatcher", "south"), ("bob", "dispatcher", "acme")]
    {
        site.roger(&["account", "add", name, "--kind", kind, "--parent", parent]).succeeded();
    }
    assert_eq!(site.roger(&["account", "add", "x", "--kind", "company", "--parent", "ann"]).code, 64);
    assert_eq!(site.roger(&["account", "add", "x"]).code, 64, "it has to belong somewhere");
    assert_eq!(site.roger(&["account", "add", "a/b", "--parent", "ann"]).code, 64);

    let table = site.path().join("stock.csv");
    fs::write(&table, TABLE).unwrap();
    let import = site.roger(&["import", table.to_str().unwrap(), "--to", "ann", "--json"]);
    assert_eq!(import.code, 1, "one of them is malformed: {}", import.stderr);
    let answers = import.json();
    assert_eq!(answers[2], json!({ "imei": "490154203237519", "outcome": "malformed_imei" }));
    let code = answers[0]["code"].as_str().unwrap();
    assert_eq!((code.len(), &answers[1]["outcome"]), (23, &"imported".into()));
    let again = site.roger(&["device", "import", "--imei", "356938035643809,260531793113837", "--to", "bob", "--json"]);
    assert_eq!((again.code, &again.json()[0]["outcome"], &again.json()[1]["outcome"]), (1, &"duplicate".into(), &"imported".into()));
    fs::write(&table, "serial,model\n1,x\n").unwrap();
    let bad = site.roger(&["import", table.to_str().unwrap(), "--to", "ann"]);
    assert!(bad.code == 64 && bad.stderr.contains("stock.csv is no table of devices"), "{}", bad.stderr);

    let tree = site.roger(&["account", "tree"]).succeeded().stdout;
    let expected = "root (root 1)\n    acme (company 2)\n        south (distributor 3)\n            ann (dispatcher 4, 2 devices)\n        \
                    bob (dispatcher 5, 1 devices)\n";
    assert_eq!(tree, expected);
    let part = site.roger(&["account", "tree", "south", "--json"]).succeeded().json();
    assert_eq!((&part[0]["name"], &part[0]["below"][0]["devices"]), (&"south".into(), &2.into()));
    assert_eq!(site.roger(&["account", "tree", "nobody"]).code, 64);

    let listed = |of: &[&str]| site.roger(&[&["device", "list", "--json"], of].concat()).succeeded().json();
    let names = |answer: serde_json::Value| answer["devices"].as_array().unwrap().iter().map(|d| d["nickname"].clone()).collect::<Vec<_>>();
    assert_eq!(names(listed(&["--of", "ann"])), ["Falcon One", "Tower, north"]);
    assert_eq!(names(listed(&["--of", "acme", "--deep"])), ["Falcon One", "Tower, north", "113837"]);
    assert_eq!(listed(&["--limit", "2"])["more"], true);

    site.roger(&["device", "set", "356938035643809", "--nickname", "Falcon", "--log-upload", "on"]).succeeded();
    let transfer = ["device", "transfer", "356938035643809", "490154203237518", "--from", "ann", "--to", "bob"];
    assert_eq!(site.roger(&transfer).code, 64, "not without --yes");
    let moved = site.roger(&[&transfer[..], &["--yes", "--json"]].concat()).succeeded().json();
    assert_eq!(moved["transferred"], 2);
    assert_eq!(site.roger(&[&transfer[..], &["--yes"]].concat()).code, 64, "they are ann's no more");
    let shown = site.roger(&["device", "show", "356938035643809", "--json"]).succeeded().json();
    assert_eq!((&shown["nickname"], &shown["log_upload"], &shown["manager"]), (&"Falcon".into(), &true.into(), &5.into()));
    let renewed = site.roger(&["device", "renew", "356938035643809", "--yes", "--json"]).succeeded().json();
    assert_ne!(renewed["code"], answers[0]["code"]);
    site.roger(&["device", "retire", "356938035643809", "--yes"]).succeeded();
    assert_eq!(site.roger(&["device", "show", "356938035643809"]).code, 64);
    assert!(site.roger(&["device", "list", "--of", "bob"]).succeeded().stdout.contains("Tower, north"));

    let changes = site.roger(&["changes", "--what", "device", "--json"]).succeeded();
    assert!(!changes.stdout.contains(code), "a code is nobody's to read");
    let kinds: Vec<serde_json::Value> = changes.json()["changes"].as_array().unwrap().iter().map(|change| change["what"].clone()).collect();
    let expected = ["retired", "enrolment_renewed", "transferred", "transferred", "log_switched", "imported", "imported", "imported"];
    assert_eq!(kinds, expected.map(|kind| format!("device.{kind}")));
}
