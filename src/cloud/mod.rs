//! What a stage may ask a platform: images, networks, machines, targets, and everything with our tag.
//!
//! One trait for all platforms, in the words of `artifact.rs`. Looking never changes anything; what changes something
//! says so, is safe to repeat, and finds again by tag or name what an interrupted call may have made. A call retries
//! only what the platform says is transient, within the deadline of the caller.

pub mod aws;
mod hosts;
pub mod vsphere;
#[cfg(feature = "crash-points")]
mod watched;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::environment;
use crate::failure::{Exit, Failure};

pub use hosts::{Existing, is_same_account};
#[cfg(feature = "crash-points")]
pub use watched::Watched;

/// Tags to set or to find by.
pub type Tags = BTreeMap<String, String>;

/// The account and region that we talk to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    pub id: String,
    pub region: String,
    /// Who we are there, for the journal.
    pub principal: String,
}

/// A machine image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundImage {
    pub id: String,
    pub name: String,
    pub owner: String,
    pub created: String,
    pub usable: bool,
    pub tags: Tags,
    pub snapshots: Vec<String>,
}

/// A machine's state in the words of the platform-independent lifecycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MachineState {
    Starting,
    Running,
    Stopping,
    Stopped,
    /// Terminated or being terminated.
    Gone,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundMachine {
    pub id: String,
    pub state: MachineState,
    pub private_address: Option<String>,
    pub public_address: Option<String>,
    pub image: String,
    pub size: String,
    pub zone: String,
    pub tags: Tags,
}

/// A machine to start for a while, such as the one that checks a finished image.
#[derive(Clone, Debug)]
pub struct NewMachine {
    /// Repeating a call with the same token gives the same machine.
    pub token: String,
    pub image: String,
    pub size: String,
    pub disk_gib: u64,
    pub subnet: String,
    pub security_group: String,
    pub public_address: bool,
    /// An OpenSSH public key, given to the image's user through cloud-init user data.
    pub public_key: String,
    pub user: String,
    pub tags: Tags,
}

/// What machines that are to be made take of a platform whose capacity somebody else has bought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Need {
    pub machines: u32,
    pub cpus: u32,
    pub memory_gib: u64,
    pub disk_gib: u64,
    /// Of the largest one: a single host must have as much.
    pub most_cpus: u32,
    pub most_memory_gib: u64,
    /// Whether a rule of the platform is to keep the servers apart.
    pub kept_apart: bool,
}

/// Where images are built.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct BuildNetwork {
    pub vpc: String,
    pub subnet: String,
    /// Admits SSH from the operator only.
    pub security_group: String,
    /// Whether machines in it are reached at a public address.
    pub public: bool,
}

/// A load balancer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundBalancer {
    /// The platform's word, such as `active` or `provisioning`.
    pub state: String,
    /// The target groups that a listener leads to.
    pub leads_to: BTreeSet<String>,
}

/// The health of one target behind the load balancer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetHealth {
    pub machine: String,
    pub healthy: bool,
    /// The platform's word, such as `initial`, `unhealthy` or `draining`, with its reason.
    pub state: String,
}

/// Something of an environment that exists on the platform.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Thing {
    pub kind: ThingKind,
    pub id: String,
    /// For people: a name tag or what it belongs to.
    pub name: String,
    /// The id of the thing that takes it along when it goes, or that it was made by: the volume of a machine, the
    /// snapshot of an image.
    pub part_of: Option<String>,
    pub whose: Whose,
}

/// Whose a thing is, as far as it says itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Whose {
    /// The environment's: by its tag, by its short id in a path, or as a part of what is.
    #[default]
    Ours,
    /// The environment's, though it carries no tag: it lies in its network or bears its short id in its name.
    Unmarked,
    /// What the cluster itself asked the platform for: load balancers of services, disks of claims.
    Cluster,
    /// It lies among ours and is not: why. Nobody but its owner removes it.
    Foreign(String),
}

/// The kinds of things, in the order in which they can be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ThingKind {
    Listener,
    LoadBalancer,
    TargetGroup,
    Machine,
    NatGateway,
    Endpoint,
    FlowLog,
    NetworkInterface,
    Volume,
    Address,
    InternetGateway,
    RouteTable,
    SecurityGroup,
    Subnet,
    Vpc,
    Rule,
    Folder,
    Tag,
    TagCategory,
    KeyPair,
    LogGroup,
    InstanceProfile,
    Role,
    Image,
    Snapshot,
}

impl ThingKind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Listener => "listener",
            Self::LoadBalancer => "load balancer",
            Self::TargetGroup => "target group",
            Self::Machine => "instance",
            Self::NatGateway => "NAT gateway",
            Self::Endpoint => "VPC endpoint",
            Self::FlowLog => "flow log",
            Self::NetworkInterface => "network interface",
            Self::Volume => "volume",
            Self::Address => "elastic address",
            Self::InternetGateway => "internet gateway",
            Self::RouteTable => "route table",
            Self::SecurityGroup => "security group",
            Self::Subnet => "subnet",
            Self::Vpc => "VPC",
            Self::Rule => "placement rule",
            Self::Folder => "folder",
            Self::Tag => "tag",
            Self::TagCategory => "tag category",
            Self::KeyPair => "key pair",
            Self::LogGroup => "log group",
            Self::InstanceProfile => "instance profile",
            Self::Role => "role",
            Self::Image => "image",
            Self::Snapshot => "snapshot",
        }
    }
}

/// An environment that is known only by its tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub id: String,
    pub name: String,
    pub class: String,
    pub created_by: String,
    /// When it may be reaped: the latest time that one of its things tells; `None` where one has no end.
    pub expires: Option<Timestamp>,
    pub things: usize,
}

/// The platforms as they are reached: over the network, or a test's own.
#[async_trait]
pub trait Platforms: std::fmt::Debug + Send + Sync {
    async fn aws(&self, section: &environment::Aws) -> Result<Box<dyn Cloud>, Failure>;
    /// `ca`: the file with the authority of the vCenter's certificate.
    async fn vsphere(
        &self,
        section: &environment::Vsphere,
        ca: Option<&Path>,
        credentials: vsphere::Credentials,
    ) -> Result<Box<dyn Cloud>, Failure>;
}

/// The platforms themselves.
#[derive(Clone, Copy, Debug, Default)]
pub struct Real;

#[async_trait]
impl Platforms for Real {
    async fn aws(&self, section: &environment::Aws) -> Result<Box<dyn Cloud>, Failure> {
        aws::Aws::connect(section).await
    }

    async fn vsphere(
        &self,
        section: &environment::Vsphere,
        ca: Option<&Path>,
        credentials: vsphere::Credentials,
    ) -> Result<Box<dyn Cloud>, Failure> {
        vsphere::Vsphere::connect(section, ca, credentials)
    }
}

/// What a platform answers and does.
#[async_trait]
pub trait Cloud: Send + Sync {
    /// Who and where we are; fails with exit 4 without credentials and 6 when nobody answers.
    async fn account(&self) -> Result<Account, Failure>;

    /// Whether there is room for these machines, and leave to make them so, as far as the platform can tell before.
    ///
    /// # Errors
    /// Exit 6, with what there is and what is needed; exit 4 where this account may not; exit 3 where something that the file
    /// wants of them is not there.
    async fn room(&self, need: &Need) -> Result<(), Failure>;

    /// The newest usable image of this owner whose name matches (`*` allowed).
    async fn source_image(&self, owner: &str, name: &str) -> Result<Option<FoundImage>, Failure>;
    /// An image by its id, whoever owns it.
    async fn image(&self, id: &str) -> Result<Option<FoundImage>, Failure>;
    /// Images of this account with all these tags, newest first.
    async fn own_images(&self, tags: &Tags) -> Result<Vec<FoundImage>, Failure>;
    async fn tag(&self, ids: &[String], tags: &Tags) -> Result<(), Failure>;
    /// The copy here of an image of this account in another region, with its name and these tags: found by its name, or
    /// made; waits until it can be used.
    ///
    /// # Errors
    /// Exit 2 on a platform that has no regions.
    async fn copy_of(&self, image: &FoundImage, region: &str, tags: &Tags) -> Result<FoundImage, Failure> {
        let failure = Failure::new(Exit::Usage, format!("image `{}` of {region} cannot be copied", image.id));
        Err(failure.because(format!("{} are only set on images of a platform with regions", tags.len())))
    }

    /// The build network of this owner tag: found, completed or made.
    async fn build_network(&self, tags: &Tags, admit: &[String]) -> Result<BuildNetwork, Failure>;
    /// A security group for builds in a network that the user gave; removed like the build network.
    async fn build_group(&self, vpc: &str, tags: &Tags, admit: &[String]) -> Result<String, Failure>;

    async fn start_machine(&self, machine: &NewMachine) -> Result<FoundMachine, Failure>;
    /// Machines with all these tags that are not gone.
    async fn machines(&self, tags: &Tags) -> Result<Vec<FoundMachine>, Failure>;
    async fn machine(&self, id: &str) -> Result<Option<FoundMachine>, Failure>;
    /// What a machine wrote to its console so far.
    async fn console(&self, id: &str) -> Result<String, Failure>;

    /// The availability zones that machines can be made in, in the platform's order.
    async fn zones(&self) -> Result<Vec<String>, Failure>;
    /// Which of these exist, for a probe: the VPC, and of its parts subnets and NAT gateways.
    async fn existing_networks(&self, vpc: &str, parts: &[String]) -> Result<BTreeSet<String>, Failure>;
    /// The load balancer with what its listeners lead to, for a probe; `None` if it is gone.
    async fn load_balancer(&self, id: &str) -> Result<Option<FoundBalancer>, Failure>;
    async fn register(&self, target_group: &str, machine: &str) -> Result<(), Failure>;
    async fn deregister(&self, target_group: &str, machine: &str) -> Result<(), Failure>;
    /// The targets of a group; none of one that is gone.
    async fn targets(&self, target_group: &str) -> Result<Vec<TargetHealth>, Failure>;

    /// Everything that carries all these tags or hangs on something that does, untagged kinds included.
    async fn things(&self, tags: &Tags) -> Result<Vec<Thing>, Failure>;
    /// Removes one thing; succeeds when it is already gone. Waits until it is gone where later removals need that.
    async fn remove(&self, thing: &Thing) -> Result<(), Failure>;
    /// Revokes the rules by which security groups with all these tags name each other: whoever put them there, they keep
    /// the groups from going.
    async fn untie(&self, tags: &Tags) -> Result<(), Failure>;
    /// The environments in this account and region: those of a name, or all.
    async fn candidates(&self, name: Option<&str>) -> Result<Vec<Candidate>, Failure>;

    /// Finds what tofu made but did not record: the import id of a resource of `resource_type`, by the values of its
    /// configuration (tags, parent, unique name) as `tofu/resource-types.json` says.
    async fn find_resource(&self, resource_type: &str, values: &serde_json::Value) -> Result<Option<String>, Failure>;
    /// Whether a resource that tofu calls tainted is whole after all.
    async fn is_healthy(&self, resource_type: &str, id: &str) -> Result<bool, Failure>;
}
