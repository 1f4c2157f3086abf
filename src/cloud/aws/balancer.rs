//! The load balancer: whether it serves, and who is behind it.

use std::collections::BTreeSet;

use aws_sdk_elasticloadbalancingv2::types::{TargetDescription, TargetHealthStateEnum};

use super::{Aws, errors};
use crate::cloud::{FoundBalancer, TargetHealth};
use crate::failure::Failure;

impl Aws {
    /// State and listeners, asked for side by side.
    pub(super) async fn balancer(&self, arn: &str) -> Result<Option<FoundBalancer>, Failure> {
        let (state, leads_to) = tokio::try_join!(self.balancer_state(arn), self.led_to(arn))?;
        Ok(state.map(|state| FoundBalancer { state, leads_to }))
    }

    /// The target groups behind the listeners. AWS deletes no group that a listener leads to, so a group that is lost is
    /// missed here too and needs no question of its own.
    async fn led_to(&self, arn: &str) -> Result<BTreeSet<String>, Failure> {
        let listeners = self.elb.describe_listeners().load_balancer_arn(arn).into_paginator().items().send();
        match listeners.try_collect().await {
            Ok(listeners) => {
                let actions = listeners.iter().flat_map(|listener| listener.default_actions());
                Ok(actions.filter_map(|action| action.target_group_arn()).map(str::to_owned).collect())
            }
            Err(error) if errors::is_gone(&error) => Ok(BTreeSet::new()),
            Err(error) => Err(errors::failure(format!("looking for the listeners of `{arn}`"), error)),
        }
    }

    /// The state word: `active`, `provisioning`, `active_impaired`, `failed`.
    async fn balancer_state(&self, arn: &str) -> Result<Option<String>, Failure> {
        match self.elb.describe_load_balancers().load_balancer_arns(arn).send().await {
            Ok(answer) => Ok(answer.load_balancers().first().map(|balancer| {
                let code = balancer.state().and_then(|state| state.code());
                code.map_or("unknown", |code| code.as_str()).to_owned()
            })),
            Err(error) if errors::is_gone(&error) => Ok(None),
            Err(error) => Err(errors::failure(format!("looking for load balancer `{arn}`"), error)),
        }
    }

    /// Repeating it changes nothing.
    pub(super) async fn register_target(&self, group: &str, machine: &str) -> Result<(), Failure> {
        let call = self.elb.register_targets().target_group_arn(group).targets(target(machine));
        call.send().await.map_err(|error| errors::failure(format!("registering `{machine}`"), error))?;
        Ok(())
    }

    /// AWS drains the target first; [`Aws::target_states`] tells when it is gone.
    pub(super) async fn deregister_target(&self, group: &str, machine: &str) -> Result<(), Failure> {
        let call = self.elb.deregister_targets().target_group_arn(group).targets(target(machine));
        match call.send().await {
            Ok(_) => Ok(()),
            Err(error) if errors::is_gone(&error) => Ok(()),
            Err(error) => Err(errors::failure(format!("deregistering `{machine}`"), error)),
        }
    }

    pub(super) async fn target_states(&self, group: &str) -> Result<Vec<TargetHealth>, Failure> {
        let answer = match self.elb.describe_target_health().target_group_arn(group).send().await {
            Ok(answer) => answer,
            // Whoever asks for its targets finds nobody behind it; that it is made again is for the load balancer's stage.
            Err(error) if errors::is_gone(&error) => return Ok(vec![]),
            Err(error) => return Err(errors::failure(format!("asking for the targets of `{group}`"), error)),
        };
        let read = |described: &aws_sdk_elasticloadbalancingv2::types::TargetHealthDescription| {
            let machine = described.target()?.id()?.to_owned();
            let health = described.target_health();
            let state = health.and_then(|health| health.state());
            let word = state.map_or("unknown", |state| state.as_str());
            let why = health.and_then(|health| health.description().or(health.reason().map(|reason| reason.as_str())));
            Some(TargetHealth {
                machine,
                healthy: state == Some(&TargetHealthStateEnum::Healthy),
                state: why.map_or_else(|| word.to_owned(), |why| format!("{word}: {why}")),
            })
        };
        Ok(answer.target_health_descriptions().iter().filter_map(read).collect())
    }
}

fn target(machine: &str) -> TargetDescription {
    TargetDescription::builder().id(machine).build()
}
