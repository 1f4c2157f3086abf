//! What room there is: of the datastore, and of the hosts that machines can be put on now.
//!
//! # Why
//!
//! 2026-11-30: a vCenter takes more machines than its hosts can run at once, and thin disks of more than the datastore holds;
//! it fails later, and other machines with ours. So what is asked for must be free in full, unless the file says that more
//! is promised here than there is. What no single host has is refused in any case: such a machine is never switched on.

use super::Vsphere;
use super::inventory::Object;
use super::soap::Reference;
use crate::cloud::Need;
use crate::failure::{Class, Exit, Failure};

const GIB: u64 = 1 << 30;

/// What is asked of a host.
const HOST: [&str; 8] = [
    "name",
    "runtime.connectionState",
    "runtime.inMaintenanceMode",
    "summary.hardware.numCpuCores",
    "summary.hardware.numCpuThreads",
    "summary.hardware.cpuMhz",
    "summary.hardware.memorySize",
    "summary.quickStats",
];

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Host {
    usable: bool,
    threads: u64,
    mhz_of_one: u64,
    mhz: u64,
    mhz_used: u64,
    memory_gib: u64,
    memory_used_gib: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Store {
    usable: bool,
    free_gib: u64,
    size_gib: u64,
}

impl Vsphere {
    pub(super) async fn has_room(&self, need: &Need) -> Result<(), Failure> {
        self.check_making(need.kept_apart).await?;
        if need.machines == 0 {
            return Ok(());
        }
        let store = self.datastore().await?;
        let paths = ["summary.accessible", "summary.maintenanceMode", "summary.capacity", "summary.freeSpace"];
        let store = self.properties(&[store], &paths).await?.first().map(Store::read).unwrap_or_default();
        let Some(cluster) = self.cluster().await? else { return Ok(()) };
        let seen = self.properties(&[cluster], &["host"]).await?;
        let hosts: Vec<Reference> =
            seen.iter().flat_map(|object| object.children("host")).map(Reference::read).collect();
        let hosts: Vec<Host> = self.properties(&hosts, &HOST).await?.iter().map(Host::read).collect();
        let wrong = lacking(need, store, &hosts, self.wanted.overcommit);
        if wrong.is_empty() {
            return Ok(());
        }
        Err(told(&self.wanted.cluster, need, wrong))
    }
}

impl Store {
    fn read(object: &Object) -> Self {
        let number = |path: &str| object.text(path).parse::<u64>().unwrap_or_default() / GIB;
        let maintenance = object.text("summary.maintenanceMode");
        Self {
            usable: object.text("summary.accessible") != "false" && matches!(maintenance, "" | "normal"),
            free_gib: number("summary.freeSpace"),
            size_gib: number("summary.capacity"),
        }
    }
}

impl Host {
    fn read(object: &Object) -> Self {
        let number = |path: &str| object.text(path).parse::<u64>().unwrap_or_default();
        let used = |name: &str| {
            let stats = object.children("summary.quickStats").iter().find(|element| element.name == name);
            stats.and_then(|element| element.text.parse::<u64>().ok()).unwrap_or_default()
        };
        let mhz_of_one = number("summary.hardware.cpuMhz");
        Self {
            usable: object.text("runtime.connectionState") == "connected"
                && object.text("runtime.inMaintenanceMode") != "true",
            threads: number("summary.hardware.numCpuThreads"),
            mhz_of_one,
            mhz: number("summary.hardware.numCpuCores") * mhz_of_one,
            mhz_used: used("overallCpuUsage"),
            memory_gib: number("summary.hardware.memorySize") / GIB,
            memory_used_gib: used("overallMemoryUsage").div_ceil(1024),
        }
    }
}

/// Something that there is too little of.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Lack {
    why: String,
    hint: &'static str,
}

const MORE: &str =
    "free some, or set `vsphere.overcommit: true` where more may be promised than there is (thin disks, shared hosts)";

/// What there is too little of, with what is needed and what there is.
fn lacking(need: &Need, store: Store, hosts: &[Host], overcommit: bool) -> Vec<Lack> {
    let mut lacks = vec![];
    let mut tell = |why: String, hint: &'static str| lacks.push(Lack { why, hint });
    if !store.usable {
        tell(
            "the datastore is not accessible, or in maintenance".to_owned(),
            "name another one in `vsphere.datastore`",
        );
    } else if !overcommit && store.free_gib < need.disk_gib {
        let (free, size) = (store.free_gib, store.size_gib);
        tell(format!("disks need {} GiB, the datastore has {free} GiB free of {size} GiB", need.disk_gib), MORE);
    }
    let usable: Vec<&Host> = hosts.iter().filter(|host| host.usable).collect();
    if usable.is_empty() {
        let why = format!("none of {} hosts can take a machine: disconnected, or in maintenance", hosts.len());
        tell(why, "bring a host back, or name another cluster in `vsphere.cluster`");
        return lacks;
    }
    let smaller = "name a smaller `size` for the node, or a cluster with larger hosts";
    let most = |of: fn(&Host) -> u64| usable.iter().map(|host| of(host)).max().unwrap_or_default();
    if u64::from(need.most_cpus) > most(|host| host.threads) {
        let most = most(|host| host.threads);
        tell(format!("the largest machine needs {} CPUs, the largest host has {most}", need.most_cpus), smaller);
    }
    if need.most_memory_gib > most(|host| host.memory_gib) {
        let most = most(|host| host.memory_gib);
        let why = format!(
            "the largest machine needs {} GiB of memory, the largest host has {most} GiB",
            need.most_memory_gib
        );
        tell(why, smaller);
    }
    if overcommit {
        return lacks;
    }
    let sum = |of: fn(&Host) -> u64| usable.iter().map(|host| of(host)).sum::<u64>();
    let (memory, used) = (sum(|host| host.memory_gib), sum(|host| host.memory_used_gib));
    if need.memory_gib > memory.saturating_sub(used) {
        let free = memory.saturating_sub(used);
        tell(
            format!(
                "memory needs {} GiB, {free} GiB of {memory} GiB are free on {} hosts",
                need.memory_gib,
                usable.len()
            ),
            MORE,
        );
    }
    let (mhz, used) = (sum(|host| host.mhz), sum(|host| host.mhz_used));
    let wanted = u64::from(need.cpus) * usable.iter().map(|host| host.mhz_of_one).min().unwrap_or_default();
    if wanted > mhz.saturating_sub(used) {
        let free = mhz.saturating_sub(used);
        tell(
            format!("{} CPUs need {wanted} MHz, {free} MHz of {mhz} MHz are free on {} hosts", need.cpus, usable.len()),
            MORE,
        );
    }
    lacks
}

fn told(cluster: &str, need: &Need, lacks: Vec<Lack>) -> Failure {
    let what = format!("`{cluster}` has no room for {} more machines", need.machines);
    let mut failure = Failure::new(Exit::Platform, what).class(Class::NeedsPerson);
    let mut hints: Vec<&str> = vec![];
    for lack in lacks {
        failure = failure.because(lack.why);
        if !hints.contains(&lack.hint) {
            hints.push(lack.hint);
        }
    }
    hints.into_iter().fold(failure, Failure::hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::vsphere::xml;

    const NEED: Need = Need {
        machines: 4,
        cpus: 14,
        memory_gib: 56,
        disk_gib: 400,
        most_cpus: 8,
        most_memory_gib: 32,
        kept_apart: false,
    };
    const STORE: Store = Store { usable: true, free_gib: 400, size_gib: 1000 };

    fn host(usable: bool) -> Host {
        Host { usable, threads: 16, mhz_of_one: 2000, mhz: 16_000, mhz_used: 0, memory_gib: 64, memory_used_gib: 4 }
    }

    fn whys(need: &Need, store: Store, hosts: &[Host], overcommit: bool) -> Vec<String> {
        lacking(need, store, hosts, overcommit).into_iter().map(|lack| lack.why).collect()
    }

    #[test]
    fn what_is_asked_for_must_be_free_in_full() {
        let hosts = [host(true), host(true)];

        assert_eq!(whys(&NEED, STORE, &hosts, false), Vec::<String>::new());
        let need = Need { cpus: 17, memory_gib: 121, disk_gib: 401, ..NEED };
        assert_eq!(
            whys(&need, STORE, &hosts, false),
            [
                "disks need 401 GiB, the datastore has 400 GiB free of 1000 GiB",
                "memory needs 121 GiB, 120 GiB of 128 GiB are free on 2 hosts",
                "17 CPUs need 34000 MHz, 32000 MHz of 32000 MHz are free on 2 hosts",
            ]
        );
        assert_eq!(whys(&need, STORE, &hosts, true), Vec::<String>::new());
    }

    #[test]
    fn what_no_host_has_is_refused_whatever_may_be_promised() {
        let need = Need { most_cpus: 32, most_memory_gib: 128, ..NEED };

        assert_eq!(
            whys(&need, STORE, &[host(true), host(false)], true),
            [
                "the largest machine needs 32 CPUs, the largest host has 16",
                "the largest machine needs 128 GiB of memory, the largest host has 64 GiB",
            ]
        );
    }

    #[test]
    fn hosts_in_maintenance_and_a_store_that_is_not_there_are_told() {
        let store = Store { usable: false, ..STORE };

        let failure = told("DC0_C0", &NEED, lacking(&NEED, store, &[host(false)], true));

        assert_eq!(failure.what(), "`DC0_C0` has no room for 4 more machines");
        assert_eq!(
            failure.causes(),
            [
                "the datastore is not accessible, or in maintenance",
                "none of 1 hosts can take a machine: disconnected, or in maintenance",
            ]
        );
        assert_eq!(failure.hints().len(), 2);
    }

    #[test]
    fn a_host_is_read_with_what_of_it_is_used() {
        let set = |name: &str, value: &str| format!("<propSet><name>{name}</name><val>{value}</val></propSet>");
        let text = [
            set("runtime.connectionState", "connected"),
            set("runtime.inMaintenanceMode", "false"),
            set("summary.hardware.numCpuCores", "8"),
            set("summary.hardware.numCpuThreads", "16"),
            set("summary.hardware.cpuMhz", "2000"),
            set("summary.hardware.memorySize", "68719476736"),
            set(
                "summary.quickStats",
                "<overallCpuUsage>0</overallCpuUsage><overallMemoryUsage>4000</overallMemoryUsage>",
            ),
        ];
        let text = format!("<objects><obj type=\"HostSystem\">host-1</obj>{}</objects>", text.concat());

        let read = Host::read(&Object::read(&xml::read(&text).expect("read")));

        assert_eq!(read, host(true));
    }
}
