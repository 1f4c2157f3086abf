//! What is asked of a machine and noted on it, and what its answers mean.

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::Before;
use crate::environment::NodeName;
use crate::failure::{Class, Exit, Failure};
use crate::node::quote;
use crate::units::ByteSize;

pub const LOOK: &str = concat!(include_str!("paths.sh"), include_str!("look.sh"));
pub const CLAIM: &str = concat!(include_str!("paths.sh"), include_str!("claim.sh"));
pub const LEAVE: &str = concat!(include_str!("paths.sh"), include_str!("leave.sh"));

/// etcd and certificates bear less.
const SKEW: SignedDuration = SignedDuration::from_secs(60);

/// What a machine says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// `rocky 9.4`
    pub system: String,
    family: String,
    architecture: String,
    free: ByteSize,
    time: Option<i64>,
    /// `ENVIRONMENT-ID NAME NODE`; empty where nobody has taken it.
    pub claim: String,
    has_before: bool,
    lacks: Vec<String>,
    /// Which of the packages that our roles install are there.
    packages: Vec<String>,
    /// `Enforcing`, `Permissive` or `Disabled`; empty where nobody can tell.
    selinux: String,
    /// Signs of a cluster.
    cluster: Vec<String>,
}

impl Look {
    pub fn read(said: &str) -> Self {
        let mut look = Self::default();
        for (key, value) in said.lines().filter_map(|line| line.split_once('=')) {
            let value = value.trim().to_owned();
            match key {
                "system" => look.system = value,
                "family" => look.family = value,
                "architecture" => look.architecture = value,
                "free" => look.free = ByteSize(value.parse().map_or(0, |kib: u64| kib << 10)),
                "time" => look.time = value.parse().ok(),
                "claim" => look.claim = value,
                "before" => look.has_before = true,
                "package" => look.packages.push(value),
                "selinux" => look.selinux = value,
                "lacks" => look.lacks.push(value),
                "cluster" => look.cluster.push(value),
                _ => {}
            }
        }
        look
    }

    /// The id of the environment that has the machine, with its note whole.
    pub fn holder(&self) -> Option<&str> {
        self.claim.split(' ').next().filter(|id| !id.is_empty() && self.has_before)
    }

    pub fn has_selinux(&self) -> bool {
        !matches!(self.selinux.as_str(), "" | "Disabled")
    }

    /// Which of these packages are not there.
    pub fn missing(&self, wanted: Vec<&'static str>) -> Vec<&'static str> {
        wanted.into_iter().filter(|package| !self.packages.iter().any(|there| there == package)).collect()
    }

    /// Whether the machine can be this node.
    ///
    /// # Errors
    /// It is somebody else's, or it is no machine that RKE2 runs on: all that is in the way. `free` is what must be free on it.
    pub fn fits(
        &self,
        node: &NodeName,
        environment: &str,
        id: Uuid,
        free: ByteSize,
        now: Timestamp,
    ) -> Result<(), Failure> {
        let person = |what: String| Failure::new(Exit::Platform, what).class(Class::NeedsPerson);
        let mine = self.claim.split(' ').next() == Some(id.to_string().as_str());
        if !self.claim.is_empty() && !mine {
            return Err(taken(node, &self.claim));
        }
        if mine && self.claim.split(' ').nth(2) != Some(node.0.as_str()) {
            let was = self.claim.split(' ').nth(2).unwrap_or_default();
            return Err(person(format!("the machine of `{node}` is that of `{was}` already"))
                .hint(format!("give both their own machines again in environments/{environment}.yaml")));
        }
        if !mine && !self.cluster.is_empty() {
            return Err(person(format!("a cluster is on `{node}` that this environment did not make"))
                .because(format!("there is {}", self.cluster.join(", ")))
                .hint("name another machine, or have its owner uninstall it; nothing on it was changed"));
        }
        let wrong = self.unfit(mine, free, now);
        if wrong.is_empty() {
            return Ok(());
        }
        let failure = person(format!("`{node}` cannot be a node"));
        let failure = wrong.into_iter().fold(failure, Failure::because);
        Err(failure.hint("put the machine right, then run the same command again"))
    }

    fn unfit(&self, mine: bool, wanted: ByteSize, now: Timestamp) -> Vec<String> {
        let mut wrong = Vec::new();
        let words: Vec<&str> = self.family.split(' ').collect();
        let is_el9 = words.iter().any(|word| ["rhel", "rocky", "almalinux", "centos"].contains(word))
            && self.system.split(' ').nth(1).is_some_and(|version| version.split('.').next() == Some("9"));
        if !is_el9 {
            wrong.push(format!("it runs `{}`; Rocky Linux 9 or a relative is wanted", self.system));
        }
        if self.architecture != "x86_64" {
            wrong.push(format!("it is `{}`; x86_64 is wanted", self.architecture));
        }
        wrong.extend(self.lacks.iter().map(|what| format!("it has no {what}")));
        if !mine && self.free.0 < wanted.0 {
            let free = self.free.0 / ByteSize::GIB;
            wrong.push(format!("{free} GiB are free in /var/lib; `hosts.free_disk` wants {wanted}"));
        }
        let skew = self.time.and_then(|time| Timestamp::from_second(time).ok()).map(|time| now.duration_since(time));
        if let Some(skew) = skew.map(SignedDuration::abs).filter(|skew| *skew > SKEW) {
            wrong.push(format!("its clock differs from ours by {} s; set the time on both", skew.as_secs()));
        }
        wrong
    }
}

/// The script with what it must know in front of it.
pub fn with_words(id: &str, environment: &str, node: &NodeName, script: &str) -> String {
    format!("ID={}; NAME={}; NODE={}\n{script}", quote(id), quote(environment), quote(&node.0))
}

/// Whose a machine is, by the note on it.
pub fn whose(claim: &str) -> String {
    let mut words = claim.split(' ');
    let (id, name, node) = (words.next().unwrap_or(""), words.next().unwrap_or(""), words.next().unwrap_or(""));
    format!("`{name}` ({id}) as its `{node}`")
}

pub fn taken(node: &NodeName, claim: &str) -> Failure {
    let name = claim.split(' ').nth(1).unwrap_or("that environment");
    Failure::new(Exit::Platform, format!("`{node}` belongs to another environment"))
        .class(Class::NeedsPerson)
        .because(format!("its note says that it is {}", whose(claim)))
        .hint(format!("sre-provision down {name}   where that environment is known gives the machine back"))
}

/// What the claiming script told of what was there before.
pub fn before(machine: &str, said: &str) -> Before {
    let value = |key: &str| {
        said.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).unwrap_or_default().trim().to_owned()
    };
    Before {
        machine: machine.to_owned(),
        had_etcd: value("etcd") == "yes",
        packages: value("packages").split_whitespace().map(str::to_owned).collect(),
        digest: value("digest"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "system=rocky 9.4\nfamily=rocky rhel centos fedora\narchitecture=x86_64\nid=4b1d\n\
                        free=41943040\ntime=1790000000\n";

    fn fits(more: &str) -> Result<(), String> {
        let now = Timestamp::from_second(1_790_000_010).expect("a time");
        let look = Look::read(&format!("{SAID}{more}"));
        let failure =
            look.fits(&NodeName("server-2".to_owned()), "airgap", Uuid::nil(), ByteSize(12 * ByteSize::GIB), now);
        failure.map_err(|failure| failure.to_string())
    }

    #[test]
    fn what_a_machine_lacks_of_packages_is_read_and_whether_selinux_is_on() {
        let look = |more: &str| Look::read(&format!("{SAID}{more}"));

        assert_eq!(look("package=sudo\npackage=audit\n").missing(vec!["audit", "iptables-nft"]), ["iptables-nft"]);
        let on = ["", "selinux=Disabled\n", "selinux=Permissive\n", "selinux=Enforcing\n"]
            .map(|said| look(said).has_selinux());
        assert_eq!(on, [false, false, true, true]);
    }

    #[test]
    fn a_fresh_machine_of_the_right_kind_fits() {
        assert_eq!(fits(""), Ok(()));
        assert_eq!(fits(&format!("claim={} airgap server-2\nbefore=yes\ncluster=/opt/rke2\n", Uuid::nil())), Ok(()));
    }

    #[test]
    fn a_cluster_that_is_not_ours_is_not_touched() {
        let refused =
            fits("cluster=/etc/rancher/rke2\ncluster=rke2-server.service, which runs\n").expect_err("refused");

        assert_eq!(
            refused,
            "a cluster is on `server-2` that this environment did not make: there is /etc/rancher/rke2, \
             rke2-server.service, which runs"
        );
    }

    #[test]
    fn a_machine_of_another_environment_is_refused_with_its_name() {
        let refused = fits("claim=77777777-0000-0000-0000-000000000000 prod server-1\nbefore=yes\n");

        assert_eq!(
            refused.expect_err("refused"),
            "`server-2` belongs to another environment: its note says that it is `prod` \
             (77777777-0000-0000-0000-000000000000) as its `server-1`"
        );
    }

    #[test]
    fn all_that_is_in_the_way_is_told_at_once() {
        let more = "system=ubuntu 24.04\nfamily=ubuntu debian\nfree=1048576\ntime=1790000100\nlacks=python3\n";

        assert_eq!(
            fits(more).expect_err("refused"),
            "`server-2` cannot be a node: it runs `ubuntu 24.04`; Rocky Linux 9 or a relative is wanted: it has no \
             python3: 1 GiB are free in /var/lib; `hosts.free_disk` wants 12GiB: its clock differs from ours by 90 s; set the \
             time on both"
        );
    }

    #[test]
    fn what_was_there_before_is_read_from_what_the_machine_noted() {
        let noted = before("host-1", "etcd=no\npackages=audit sudo \ndigest=77\n");

        assert_eq!(
            (noted.had_etcd, noted.packages, noted.digest.as_str()),
            (false, vec!["audit".into(), "sudo".into()], "77")
        );
    }
}
