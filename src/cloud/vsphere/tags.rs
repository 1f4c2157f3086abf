//! Tags of the vCenter, which only its REST service knows: an environment's are in a category of its own, whose name bears
//! its short id. They tell the same as its custom attributes do, and are asked for only where the file wants them.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::Vsphere;
use super::rules::short_id;
use super::soap::Service;
use crate::cloud::{Tags, Thing, ThingKind, Whose};
use crate::failure::{Class, Exit, Failure};

/// Below this lies what is asked for; vCenters have it since 6.5.
const TAGGING: &str = "/rest/com/vmware/cis/tagging";

/// What of the environment the tags tell.
#[derive(Debug, Default)]
pub struct Tagged {
    /// The category and the tags in it.
    pub things: Vec<Thing>,
    /// Ids of the machines and folders that carry one of them.
    pub carriers: Vec<String>,
}

impl Vsphere {
    /// What carries the tag of the environment with these tags, and the tag itself.
    pub(super) async fn tagged(&self, tags: &Tags) -> Result<Tagged, Failure> {
        let Some(short) = short_id(tags).filter(|_| self.wanted.tags) else { return Ok(Tagged::default()) };
        let session = self.service.rest().await?;
        let mut found = Tagged::default();
        for category in texts(&session.ask(Method::GET, "/category", None).await?) {
            let known = session.ask(Method::GET, &format!("/category/id:{category}"), None).await?;
            let name = known["name"].as_str().unwrap_or_default().to_owned();
            if !is_of(&name, &short) {
                continue;
            }
            let listed = format!("/tag/id:{category}?~action=list-tags-for-category");
            for tag in texts(&session.ask(Method::POST, &listed, Some(json!({}))).await?) {
                let on = format!("/tag-association/id:{tag}?~action=list-attached-objects");
                let carriers = session.ask(Method::POST, &on, Some(json!({}))).await?;
                let ids = carriers.as_array().into_iter().flatten().filter_map(|one| one["id"].as_str());
                found.carriers.extend(ids.map(str::to_owned));
                found.things.push(thing(ThingKind::Tag, tag, &name));
            }
            found.things.push(thing(ThingKind::TagCategory, category, &name));
        }
        Ok(found)
    }

    /// Removes a tag or a category; one that is gone is fine.
    pub(super) async fn remove_tag(&self, thing: &Thing) -> Result<(), Failure> {
        let what = if thing.kind == ThingKind::Tag { "tag" } else { "category" };
        let session = self.service.rest().await?;
        session.ask(Method::DELETE, &format!("/{what}/id:{}", thing.id), None).await.map(drop)
    }
}

/// The REST service with a session of its own.
pub struct Rest<'a> {
    service: &'a Service,
    session: String,
}

impl<'a> Rest<'a> {
    pub async fn begun(service: &'a Service) -> Result<Self, Failure> {
        let credentials = service.credentials();
        let request = service.request(Method::POST, "/rest/com/vmware/cis/session");
        let request = request.basic_auth(&credentials.user, credentials.password.expose_str());
        let answer = service.sent(request).await?;
        match (answer.status(), service.json(answer).await?) {
            (StatusCode::OK, value) => {
                let session = value["value"].as_str().or(value.as_str()).unwrap_or_default().to_owned();
                Ok(Self { service, session })
            }
            (status, value) => Err(refused("opening a session for tags", status, &value)),
        }
    }

    /// The value of an answer; `Null` of what is gone.
    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value, Failure> {
        let doing = format!("{method} {path}");
        let mut request = self.service.request(method, &format!("{TAGGING}{path}"));
        request = request.header("vmware-api-session-id", &self.session);
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let answer = self.service.sent(request).await?;
        match (answer.status(), self.service.json(answer).await?) {
            (StatusCode::NOT_FOUND, _) => Ok(Value::Null),
            (status, value) if status.is_success() => {
                Ok(if value["value"].is_null() { value } else { value["value"].clone() })
            }
            (status, value) => Err(refused(&format!("asking for tags ({doing})"), status, &value)),
        }
    }
}

fn refused(doing: &str, status: StatusCode, value: &Value) -> Failure {
    let message = value["value"]["messages"][0]["default_message"].as_str().unwrap_or_default();
    let told = format!("{status} {} {message}", value["type"].as_str().unwrap_or_default());
    let lacks = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
    let exit = if lacks { Exit::Missing } else { Exit::Platform };
    let failure = Failure::new(exit, format!("{doing}: the vCenter refused it")).because(told.trim());
    match status {
        _ if lacks => {
            failure.class(Class::NeedsPerson).hint("docs/vsphere.md lists the privileges that `vsphere.tags` needs")
        }
        status if status.is_server_error() => failure.transient(),
        _ => failure,
    }
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn is_of(name: &str, short: &str) -> bool {
    name.starts_with("sre-") && name.ends_with(&format!("-{short}"))
}

fn thing(kind: ThingKind, id: String, name: &str) -> Thing {
    Thing { kind, id, name: name.to_owned(), part_of: None, whose: Whose::Unmarked }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_category_is_an_environments_by_the_short_id_in_its_name() {
        assert!(is_of("sre-dev-5b1e7c1f", "5b1e7c1f"));
        assert!(!is_of("sre-dev-6b1e7c1f", "5b1e7c1f"));
        assert!(!is_of("backup-5b1e7c1f", "5b1e7c1f"));
    }

    #[test]
    fn what_the_account_may_not_do_with_tags_is_told_as_a_privilege_that_it_lacks() {
        let told = json!({ "type": "com.vmware.vapi.std.errors.unauthorized", "value": { "messages": [] } });

        let failure = refused("opening a session for tags", StatusCode::FORBIDDEN, &told);

        assert_eq!(failure.exit(), Exit::Missing);
        assert_eq!(failure.causes(), ["403 Forbidden com.vmware.vapi.std.errors.unauthorized"]);
    }
}
