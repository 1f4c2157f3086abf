//! AWS: EC2, Elastic Load Balancing, IAM, CloudWatch Logs.
//!
//! Credentials, endpoints and proxies come from the SDK's ordinary chain (`AWS_PROFILE`, `AWS_ENDPOINT_URL`, …), the
//! region from the environment file. Throttled and broken calls are repeated by the SDK, a few times within seconds;
//! what lasts longer is a transient failure of the caller.

mod balancer;
mod collect;
mod errors;
mod groups;
mod images;
mod machines;
mod network;
mod owner;
mod remove;
mod resources;
mod seen;
mod tagged;
mod things;
mod wait;

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_ec2::config::ProvideCredentials;
use serde_json::Value;

use crate::cloud::{
    Account, BuildNetwork, Candidate, Cloud, FoundBalancer, FoundImage, FoundMachine, Need, NewMachine, Tags,
    TargetHealth, Thing,
};
use crate::environment;
use crate::failure::{Class, Exit, Failure};

/// One account and region of AWS.
pub struct Aws {
    ec2: aws_sdk_ec2::Client,
    elb: aws_sdk_elasticloadbalancingv2::Client,
    iam: aws_sdk_iam::Client,
    logs: aws_sdk_cloudwatchlogs::Client,
    sts: aws_sdk_sts::Client,
    wanted: environment::Aws,
}

impl Aws {
    /// Prepares the clients and finds credentials; asks AWS nothing yet.
    ///
    /// # Errors
    /// Exit 4: there are no credentials.
    pub async fn connect(wanted: &environment::Aws) -> Result<Box<dyn Cloud>, Failure> {
        Ok(Box::new(Self::new(wanted).await?))
    }

    pub(crate) async fn new(wanted: &environment::Aws) -> Result<Self, Failure> {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(Duration::from_secs(5))
            .operation_attempt_timeout(Duration::from_secs(30))
            .operation_timeout(Duration::from_secs(120));
        let config = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .region(Region::new(wanted.region.clone()))
            .retry_config(RetryConfig::standard().with_max_attempts(6))
            .timeout_config(timeouts.build())
            .load()
            .await;
        let doing = "connecting to AWS";
        let provider = config.credentials_provider().ok_or_else(|| errors::no_credentials(doing))?;
        provider.provide_credentials().await.map_err(|error| {
            let cause = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            errors::no_credentials(doing).because(cause)
        })?;
        Ok(Self {
            ec2: aws_sdk_ec2::Client::new(&config),
            elb: aws_sdk_elasticloadbalancingv2::Client::new(&config),
            iam: aws_sdk_iam::Client::new(&config),
            logs: aws_sdk_cloudwatchlogs::Client::new(&config),
            sts: aws_sdk_sts::Client::new(&config),
            wanted: wanted.clone(),
        })
    }

    async fn who(&self) -> Result<Account, Failure> {
        match self.ask_who().await {
            // Names of regions are easily mistyped, and nobody at all answers at those addresses.
            Err(failure) if failure.exit() == Exit::Platform => Err(self.no_such_region().await.unwrap_or(failure)),
            answer => answer,
        }
    }

    async fn ask_who(&self) -> Result<Account, Failure> {
        let region = &self.wanted.region;
        let doing = format!("asking AWS in `{region}` who we are");
        let answer = self.sts.get_caller_identity().send().await.map_err(|error| errors::failure(&doing, error))?;
        let account = answer.account.unwrap_or_default();
        let principal = answer.arn.unwrap_or_default();
        self.check_home(&account, &principal)?;
        // EC2 answers only where the account may work: the token service answers in regions that are not enabled too.
        self.ec2.describe_regions().region_names(region).send().await.map_err(|error| errors::failure(doing, error))?;
        Ok(Account { id: account, region: region.clone(), principal })
    }

    /// The failure that names the region as the culprit, if the partition's first region says that it is.
    async fn no_such_region(&self) -> Option<Failure> {
        let region = &self.wanted.region;
        let home = match self.wanted.partition.as_str() {
            "aws" => "us-east-1",
            "aws-us-gov" => "us-gov-west-1",
            "aws-cn" => "cn-north-1",
            _ => return None,
        };
        let config = self.ec2.config().to_builder().region(Region::new(home)).retry_config(RetryConfig::disabled());
        let answer = aws_sdk_ec2::Client::from_conf(config.build()).describe_regions().send().await.ok()?;
        let names: Vec<&str> = answer.regions().iter().filter_map(|region| region.region_name()).collect();
        if names.contains(&region.as_str()) {
            return None;
        }
        let near = names.iter().min_by_key(|name| strsim::damerau_levenshtein(name, region))?;
        let failure = Failure::new(Exit::Environment, format!("aws.region: this account has no region `{region}`"));
        Some(failure.hint(format!("did you mean `{near}`? `aws.region` in the environment file says it")))
    }

    fn check_home(&self, account: &str, principal: &str) -> Result<(), Failure> {
        let partition = principal.split(':').nth(1).unwrap_or_default();
        if partition != self.wanted.partition {
            return Err(Failure::new(
                Exit::Missing,
                format!("these credentials are for `{partition}`, the environment is for `{}`", self.wanted.partition),
            )
            .class(Class::NeedsPerson)
            .hint("choose other credentials with AWS_PROFILE"));
        }
        match &self.wanted.account {
            Some(wanted) if wanted != account => Err(Failure::new(
                Exit::Missing,
                format!("these credentials are for account `{account}`, the environment is for `{wanted}`"),
            )
            .class(Class::NeedsPerson)
            .hint("choose other credentials with AWS_PROFILE, or correct `aws.account`")),
            Some(_) | None => Ok(()),
        }
    }
}

#[async_trait]
impl Cloud for Aws {
    async fn account(&self) -> Result<Account, Failure> {
        self.who().await
    }

    /// AWS has room until a quota or a zone says otherwise, which it tells when it is asked to make something.
    async fn room(&self, _: &Need) -> Result<(), Failure> {
        Ok(())
    }

    async fn source_image(&self, owner: &str, name: &str) -> Result<Option<FoundImage>, Failure> {
        self.newest_image(owner, name).await
    }

    async fn image(&self, id: &str) -> Result<Option<FoundImage>, Failure> {
        self.image_by_id(id).await
    }

    async fn own_images(&self, tags: &Tags) -> Result<Vec<FoundImage>, Failure> {
        self.images_with(tags).await
    }

    async fn tag(&self, ids: &[String], tags: &Tags) -> Result<(), Failure> {
        self.add_tags(ids, tags).await
    }

    async fn copy_of(&self, image: &FoundImage, region: &str, tags: &Tags) -> Result<FoundImage, Failure> {
        self.copied(image, region, tags).await
    }

    async fn build_network(&self, tags: &Tags, admit: &[String]) -> Result<BuildNetwork, Failure> {
        self.whole_build_network(tags, admit).await
    }

    async fn build_group(&self, vpc: &str, tags: &Tags, admit: &[String]) -> Result<String, Failure> {
        self.ssh_group(vpc, tags, admit).await
    }

    async fn start_machine(&self, machine: &NewMachine) -> Result<FoundMachine, Failure> {
        self.start(machine).await
    }

    async fn machines(&self, tags: &Tags) -> Result<Vec<FoundMachine>, Failure> {
        self.machines_with(tags).await
    }

    async fn machine(&self, id: &str) -> Result<Option<FoundMachine>, Failure> {
        self.machine_by_id(id).await
    }

    async fn console(&self, id: &str) -> Result<String, Failure> {
        self.console_of(id).await
    }

    async fn zones(&self) -> Result<Vec<String>, Failure> {
        self.open_zones().await
    }

    async fn existing_networks(&self, vpc: &str, parts: &[String]) -> Result<BTreeSet<String>, Failure> {
        self.existing(vpc, parts).await
    }

    async fn load_balancer(&self, id: &str) -> Result<Option<FoundBalancer>, Failure> {
        self.balancer(id).await
    }

    async fn register(&self, target_group: &str, machine: &str) -> Result<(), Failure> {
        self.register_target(target_group, machine).await
    }

    async fn deregister(&self, target_group: &str, machine: &str) -> Result<(), Failure> {
        self.deregister_target(target_group, machine).await
    }

    async fn targets(&self, target_group: &str) -> Result<Vec<TargetHealth>, Failure> {
        self.target_states(target_group).await
    }

    async fn things(&self, tags: &Tags) -> Result<Vec<Thing>, Failure> {
        self.everything(tags).await
    }

    async fn remove(&self, thing: &Thing) -> Result<(), Failure> {
        self.remove_thing(thing).await
    }

    async fn untie(&self, tags: &Tags) -> Result<(), Failure> {
        self.untie_groups(tags).await
    }

    async fn candidates(&self, name: Option<&str>) -> Result<Vec<Candidate>, Failure> {
        self.environments(name).await
    }

    async fn find_resource(&self, resource_type: &str, values: &Value) -> Result<Option<String>, Failure> {
        self.find(resource_type, values).await
    }

    async fn is_healthy(&self, resource_type: &str, id: &str) -> Result<bool, Failure> {
        self.healthy(resource_type, id).await
    }
}
