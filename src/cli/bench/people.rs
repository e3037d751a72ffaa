//! What administering costs: an import of many devices and a change of a large group while messages flow, and filling an emptied Redis again.
//!
//! All of it over the calls that a dispatcher's desk makes. Messages are sent at a pace and not as fast as they go: what is asked is how
//! late they come.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::task::JoinHandle;
use tonic::transport::Channel;

use super::super::error::Error;
use super::super::output::note;
use super::load::Bench;
use super::report::{Findings, GroupList, Latencies, Mirror, People};
use crate::client::{Body, Directory, Event, Session};
use crate::directory::AccountSpec;
use crate::model::{TopicId, UserKind};
use crate::proto::v1;
use crate::proto::v1::web_service_client::WebServiceClient;

/// Pairs that write to each other meanwhile.
const PAIRS: u32 = 20;
/// How long messages flow before anything is administered.
const IDLE: Duration = Duration::from_secs(20);
/// How many groups one desk has.
const GROUPS_A_DESK: u32 = 500;
/// Members of each group that is listed, and over how many times as many devices the groups are spread.
const LISTED_MEMBERS: u32 = 200;
const LISTED_SHARED: u32 = 5;
/// The largest answer to an import.
const ANSWER_BYTES_MAX: usize = 4 << 20;
pub(super) const PASSWORD: &str = "only for a benchmark";

/// Sizes of the parts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) devices: u32,
    pub(super) members: u32,
    pub(super) rounds: u32,
    pub(super) groups: u32,
    pub(super) pace: u32,
}

/// How late messages come.
#[derive(Clone)]
struct Late {
    begun: Instant,
    heard_us: Arc<Mutex<Histogram<u32>>>,
    heard: Arc<AtomicU64>,
}

impl Late {
    fn new() -> Self {
        let heard_us = Histogram::new_with_max(600_000_000, 2).unwrap_or_else(|_| unreachable!("2 digits to ten minutes are in its range"));
        Self { begun: Instant::now(), heard_us: Arc::new(Mutex::new(heard_us)), heard: Arc::default() }
    }

    /// The text of a message sent now.
    fn text(&self) -> String {
        format!("{:016}", self.begun.elapsed().as_micros())
    }

    fn hear(&self, event: &Event) {
        let Event::Entry(entry) = event else { return };
        let Body::Text(text) = &entry.body else { return };
        let sent_us = std::str::from_utf8(text).ok().and_then(|text| text.parse::<u64>().ok());
        let Some(sent_us) = sent_us.filter(|_| text.len() == 16) else { return };
        let took_us = (self.begun.elapsed().as_micros() as u64).saturating_sub(sent_us).max(1);
        self.heard_us.lock().unwrap_or_else(PoisonError::into_inner).saturating_record(took_us);
        self.heard.fetch_add(1, Ordering::Relaxed);
    }

    /// What was heard since the last call.
    fn take(&self) -> Latencies {
        let mut heard_us = self.heard_us.lock().unwrap_or_else(PoisonError::into_inner);
        let ms = |at: f64| heard_us.value_at_quantile(at) as f64 / 1_000.0;
        let latencies = Latencies { messages: heard_us.len(), p50_ms: ms(0.5), p99_ms: ms(0.99), max_ms: heard_us.max() as f64 / 1_000.0 };
        heard_us.reset();
        latencies
    }
}

/// Messages at a pace, until it is dropped.
struct Flow {
    late: Late,
    stop: Arc<AtomicBool>,
    task: JoinHandle<()>,
    _sessions: Vec<Session>,
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.task.abort();
    }
}

/// Somebody at a desk.
struct Desk {
    token: String,
    account: u64,
}

impl Bench<'_> {
    pub(super) async fn people(&self, sizes: Sizes) -> Result<Findings, Error> {
        let flow = self.flow(sizes.pace).await?;
        let mut web = WebServiceClient::connect(self.directory.clone())
            .await
            .map_err(|source| Error::Client(crate::client::Error::Unreachable { address: self.directory.clone(), source }))?;
        web = web.max_decoding_message_size(ANSWER_BYTES_MAX);
        let company = self.company(&mut web).await?;

        note("bench: messages alone");
        flow.late.take();
        tokio::time::sleep(IDLE).await;
        let idle = flow.late.take();

        note(&format!("bench: {} imports of {} devices", sizes.rounds, sizes.devices));
        let mut desks = Vec::new();
        for round in 0..sizes.rounds {
            desks.push((self.desk(&mut web, &company, round).await?, Vec::new()));
        }
        flow.late.take();
        let mut imports_s = Vec::new();
        for (round, (desk, devices)) in (0..).zip(&mut desks) {
            let begun = Instant::now();
            *devices = import(&mut web, &company, desk, round * sizes.devices, sizes.devices).await?;
            imports_s.push(begun.elapsed().as_secs_f64());
        }
        let import_late = flow.late.take();

        note(&format!("bench: changing a group of {}", sizes.members));
        let Some((desk, devices)) = desks.first() else { return Ok(Findings::default()) };
        let (mut here, mut there) = devices[..sizes.members.min(sizes.devices) as usize].split_at(sizes.members as usize / 2);
        let group = create_group(&mut web, desk, "large", here).await?;
        self.fresh.relayed(self.within).await?;
        flow.late.take();
        let mut groups_s = Vec::new();
        for _ in 0..sizes.rounds * 2 {
            let (token, group_id) = (desk.token.clone(), group);
            let request = v1::UpdateGroupRequest { token, group_id, add_ids: there.to_vec(), remove_ids: here.to_vec() };
            let begun = Instant::now();
            web.update_group(request).await.map_err(|status| refused("update a group", status))?;
            groups_s.push(begun.elapsed().as_secs_f64());
            (here, there) = (there, here);
        }
        let group_late = flow.late.take();

        let list = self.list(&mut web, &company, sizes.rounds * sizes.devices).await?;
        let mirror = match sizes.groups {
            0 => None,
            groups => Some(self.mirror(&mut web, &desks, groups, &flow).await?),
        };
        let people = People { idle, import_s: median(imports_s), import_late, group_s: median(groups_s), group_late, list, mirror };
        let settings = BTreeMap::from([
            ("devices", u64::from(sizes.devices)),
            ("members", u64::from(sizes.members)),
            ("rounds", u64::from(sizes.rounds)),
            ("groups", u64::from(sizes.groups)),
            ("pace", u64::from(sizes.pace)),
        ]);
        Ok(Findings { bench: "people", settings, people: Some(people), ..Findings::default() })
    }

    /// The groups of a desk that has as many as it may, as its console asks for them after a login.
    async fn list(&self, web: &mut WebServiceClient<Channel>, company: &Desk, first: u32) -> Result<GroupList, Error> {
        note(&format!("bench: making {GROUPS_A_DESK} groups of {LISTED_MEMBERS}, and listing them"));
        let desk = self.desk(web, company, u32::MAX).await?;
        let count = LISTED_MEMBERS * LISTED_SHARED;
        let own = import(web, company, &desk, first, count).await?;
        for group in 0..GROUPS_A_DESK {
            let members: Vec<u64> = (0..LISTED_MEMBERS).map(|at| own[((group * 37 + at) % count) as usize]).collect();
            create_group(web, &desk, &format!("listed {group}"), &members).await?;
        }
        let begun = Instant::now();
        let directory = Directory::new(&self.directory)?;
        let groups = directory.groups(&desk.token).await?;
        let seconds = begun.elapsed().as_secs_f64();
        let memberships = groups.iter().map(|group| group.members.len() as u64).sum();
        let members: BTreeSet<u64> = groups.iter().flat_map(|group| group.members.iter().map(|member| member.user_id)).collect();
        Ok(GroupList { groups: groups.len() as u64, memberships, members: members.len() as u64, seconds })
    }

    /// All devices in groups; then Redis is emptied, and everything has to be as before.
    async fn mirror(
        &self,
        web: &mut WebServiceClient<Channel>,
        desks: &[(Desk, Vec<u64>)],
        groups: u32,
        flow: &Flow,
    ) -> Result<Mirror, Error> {
        let each = (groups as usize / desks.len().max(1)).clamp(1, GROUPS_A_DESK as usize - 1);
        note(&format!("bench: making {each} groups of each of {} desks", desks.len()));
        let mut made = 0;
        for (desk, devices) in desks {
            for members in devices.chunks(devices.len().div_ceil(each).max(1)) {
                create_group(web, desk, &format!("group {made}"), members).await?;
                made += 1;
            }
        }
        self.fresh.relayed(self.within * 10).await?;
        self.used_until_archived(&self.watched.usage(), Instant::now()).await;
        let redis = self.redis()?;
        let epochs = |looks: &[crate::broker::ShardLook]| looks.iter().map(|look| look.epoch).collect::<Vec<_>>();
        let before = epochs(&redis.look_at_shards(self.shards()).await?);
        flow.late.take();
        let heard = flow.late.heard.load(Ordering::Relaxed);

        note("bench: emptying Redis");
        let begun = Instant::now();
        redis.empty().await?;
        let filled = async {
            loop {
                let looks = redis.look_at_shards(self.shards()).await.unwrap_or_default();
                let risen = epochs(&looks).iter().zip(&before).filter(|(now, before)| now > before).count();
                if risen == before.len() {
                    return begun.elapsed().as_secs_f64();
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let late = |_| Error::Late { what: "the filling of an emptied Redis".to_owned(), seconds: (self.within * 10).as_secs() };
        let filled_s = tokio::time::timeout(self.within * 10, filled).await.map_err(late)?;
        // All that was said meanwhile has come by then.
        tokio::time::sleep(Duration::from_secs(5)).await;
        let messages = flow.late.heard.load(Ordering::Relaxed) - heard;
        let devices = desks.iter().map(|(_, devices)| devices.len() as u64).sum();
        Ok(Mirror { devices, groups: made, filled_s, messages, late: flow.late.take() })
    }

    /// Pairs that write to each other, `pace` messages a second in all.
    async fn flow(&self, pace: u32) -> Result<Flow, Error> {
        let devices = self.devices(PAIRS * 2).await?;
        self.fresh.relayed(self.within).await?;
        let late = Late::new();
        let (mut writers, mut listeners) = (Vec::new(), Vec::new());
        for (number, pair) in devices.chunks_exact(2).enumerate() {
            let (progress, writing) = (self.progress.clone(), self.progress.clone());
            let writer = self.open(number, &pair[0], 4_096, move |events| events.drain(..).for_each(|event| writing.note(&event)))?;
            let hearing = late.clone();
            listeners.push(self.open(number, &pair[1], 1, move |events| {
                for event in events.drain(..) {
                    hearing.hear(&event);
                    progress.note(&event);
                }
            })?);
            writers.push((writer, TopicId::inbox(pair[1].user)));
        }
        self.connected(u64::from(PAIRS) * 2, u64::from(PAIRS) * 2).await?;
        let (stop, saying) = (Arc::new(AtomicBool::new(false)), late.clone());
        let stopping = stop.clone();
        let task = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_secs(1) / pace.max(1));
            for (writer, topic) in writers.iter().cycle() {
                ticks.tick().await;
                if stopping.load(Ordering::Relaxed) {
                    return;
                }
                // One that has no room is late by itself.
                let _full = writer.try_send(*topic, saying.text());
            }
        });
        Ok(Flow { late, stop, task, _sessions: listeners })
    }

    /// A root, and a company of its own.
    async fn company(&self, web: &mut WebServiceClient<Channel>) -> Result<Desk, Error> {
        let name = format!("root-{:x}", rand::random::<u32>());
        let (kind, tenant, password) = (UserKind::Root, "root".to_owned(), Some(PASSWORD.to_owned()));
        let spec = AccountSpec { name: name.clone(), nickname: name.clone(), kind, tenant, password };
        let account = self.registry().await?.add_account(&spec).await?;
        let root = Desk { token: self.log_in(&name).await?, account: account.0 };
        self.account(web, &root, v1::UserKind::Company, &format!("company-{:x}", rand::random::<u32>())).await
    }

    async fn desk(&self, web: &mut WebServiceClient<Channel>, company: &Desk, number: u32) -> Result<Desk, Error> {
        self.account(web, company, v1::UserKind::Dispatcher, &format!("desk-{:x}-{number}", rand::random::<u32>())).await
    }

    async fn account(&self, web: &mut WebServiceClient<Channel>, above: &Desk, kind: v1::UserKind, name: &str) -> Result<Desk, Error> {
        let (token, name, kind, password) = (above.token.clone(), name.to_owned(), kind.into(), PASSWORD.to_owned());
        let request = v1::CreateAccountRequest { token, name: name.clone(), kind, password, ..v1::CreateAccountRequest::default() };
        let made = web.create_account(request).await.map_err(|status| refused("create an account", status))?;
        Ok(Desk { token: self.log_in(&name).await?, account: made.into_inner().account_id })
    }
}

/// Imports devices number `first` and on for a desk; their ids.
async fn import(web: &mut WebServiceClient<Channel>, company: &Desk, desk: &Desk, first: u32, count: u32) -> Result<Vec<u64>, Error> {
    let device = |number: u32| v1::ImportedDevice { imei: imei(number), ..v1::ImportedDevice::default() };
    let devices = (first..first + count).map(device).collect();
    let request = v1::ImportDeviceByRootRequest { token: company.token.clone(), receiver_id: desk.account, devices };
    let answer = web.import_device_by_root(request).await.map_err(|status| refused("import devices", status))?.into_inner();
    Ok(answer.answers.into_iter().map(|answer| answer.device_id).collect())
}

async fn create_group(web: &mut WebServiceClient<Channel>, desk: &Desk, name: &str, members: &[u64]) -> Result<u64, Error> {
    let request = v1::WebCreateGroupRequest {
        token: desk.token.clone(),
        kind: v1::GroupKind::Normal.into(),
        name: name.to_owned(),
        device_ids: members.to_vec(),
        ..v1::WebCreateGroupRequest::default()
    };
    Ok(web.web_create_group(request).await.map_err(|status| refused("create a group", status))?.into_inner().group_id)
}

fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds.get(seconds.len() / 2).copied().unwrap_or(0.0)
}

fn refused(operation: &'static str, status: tonic::Status) -> Error {
    Error::Client(crate::client::Error::refused(operation, status))
}

/// The IMEI of a number: fourteen digits and their Luhn digit.
fn imei(number: u32) -> String {
    let body = format!("99{number:012}");
    format!("{body}{}", check_digit(&body))
}

fn check_digit(body: &str) -> u32 {
    let sum: u32 = (body.bytes().rev().enumerate())
        .map(|(at, digit)| {
            let digit = u32::from(digit - b'0') * if at % 2 == 0 { 2 } else { 1 };
            digit / 10 + digit % 10
        })
        .sum();
    (10 - sum % 10) % 10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_imei_ends_in_its_check_digit() {
        assert_eq!(check_digit("49015420323751"), 8, "the example that is in every description");
        assert_eq!(imei(12).len(), 15);
    }
}
