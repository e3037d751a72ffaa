//! Texts by SMPP, to a short message centre that is none of ours.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use roger::retry::ErrorClass;
use roger::sms::{Error, Provider as _, SmppProvider, Text};

use crate::support::process::{Process, Program};
use crate::support::{PATIENCE, ports};

struct Centre {
    _process: Process,
    folder: tempfile::TempDir,
    port: u16,
}

impl Centre {
    fn start() -> Self {
        let (folder, port) = (tempfile::tempdir().unwrap(), ports::free());
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/texts/smsc.pl");
        let program = Program {
            name: "smsc".to_owned(),
            executable: "perl".into(),
            package: "libnet-smpp-perl",
            args: vec![script.display().to_string(), port.to_string(), folder.path().display().to_string()],
            env: Vec::new(),
            log: folder.path().join("smsc.log"),
            show: Vec::new(),
        };
        let mut process = Process::start(program);
        process.wait_for_log("ready");
        Self { _process: process, folder, port }
    }

    fn answers(&self, mode: &str) {
        fs::write(self.folder.path().join("mode"), mode).unwrap();
    }

    /// What it took: from whom, to whom, the class, the coding, the octets.
    fn taken(&self) -> Vec<[String; 5]> {
        let taken = fs::read_to_string(self.folder.path().join("taken")).unwrap_or_default();
        taken.lines().map(|line| line.split('\t').map(str::to_owned).collect::<Vec<_>>().try_into().unwrap()).collect()
    }

    fn provider(&self, password: &str, timeout: Duration) -> SmppProvider {
        let at = |name: &str| self.folder.path().join(name);
        fs::write(at("secret"), password).unwrap();
        fs::set_permissions(at("secret"), fs::Permissions::from_mode(0o600)).unwrap();
        let file = format!(
            "url = \"smpp://127.0.0.1:{}\"\nsystem_id = \"roger\"\npassword = {{ file = {:?} }}\nsource = \"Roger\"\nnever = [0x0b]\n",
            self.port,
            at("secret")
        );
        fs::write(at("sms-smpp.toml"), file).unwrap();
        SmppProvider::read(&at("sms-smpp.toml"), timeout).unwrap()
    }
}

fn text(key: &str, text: &str) -> Text {
    Text { key: key.to_owned(), number: "+4740000001".to_owned(), text: text.to_owned() }
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_message_centre_takes_texts_and_what_it_does_not_take_is_told_by_its_status() {
    let centre = Centre::start();
    let provider = centre.provider("open", PATIENCE);
    let hasty = centre.provider("open", Duration::from_secs(2));
    provider.send(&text("k1", "Roger oslo-1: edge-0 FATAL @ 14:02")).await.unwrap();
    let [source, destination, class, coding, octets] = centre.taken().pop().unwrap();
    assert_eq!([source, destination, class, coding], ["Roger", "4740000001", "0", "0"]);
    // The sign @ is the first of GSM 03.38.
    assert_eq!(octets, hex("Roger oslo-1: edge-0 FATAL @ 14:02").replace("40", "00"));

    // A long one goes in parts that say which they are; the same ones in each attempt.
    for _ in 0..2 {
        provider.send(&text("k2", &"x".repeat(400))).await.unwrap();
    }
    let parts: Vec<String> = centre.taken().into_iter().skip(1).map(|[.., octets]| octets).collect();
    assert_eq!((parts.len(), &parts[..3]), (6, &parts[3..]));
    for (at, part) in (1..).zip(&parts[..3]) {
        assert_eq!((&part[..6], &part[8..12]), ("050003", format!("030{at}").as_str()), "{part}");
    }
    let said: String = parts[..3].iter().map(|part| &part[12..]).collect();
    assert_eq!(said, "78".repeat(400));

    centre.answers("20");
    let later = provider.send(&text("k3", "x")).await.unwrap_err();
    assert!(matches!(later, Error::Status { status: 20, class: ErrorClass::Transient, .. }), "{later:?}");
    centre.answers("11");
    let never = provider.send(&text("k3", "x")).await.unwrap_err();
    assert!(matches!(never, Error::Status { status: 11, class: ErrorClass::Permanent, .. }), "{never:?}");
    for mode in ["close", "hang"] {
        centre.answers(mode);
        let error = hasty.send(&text("k3", "x")).await.unwrap_err();
        assert_eq!(error.class(), ErrorClass::Transient, "{mode}: {error:?}");
    }
    centre.answers("0");
    provider.send(&text("k4", "back")).await.unwrap();

    let stranger = centre.provider("shut", PATIENCE).send(&text("k5", "x")).await.unwrap_err();
    assert!(matches!(stranger, Error::Status { status: 14, .. }) && !format!("{stranger:?}").contains("shut"), "{stranger:?}");
    assert_eq!(centre.taken().len(), 8);
}
