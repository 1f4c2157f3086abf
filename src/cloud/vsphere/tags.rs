//! Tags of the vCenter, which only its REST service knows: an environment's are in a category of its own, whose name bears
//! its short id. They tell the same as its custom attributes do, and are asked for only where the file wants them.

use std::collections::BTreeSet;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::Vsphere;
use super::rules::short_id;
use super::soap::Service;
use crate::cloud::{Tags, Thing, ThingKind, Whose};
use crate::failure::{Class, Exit, Failure};
use crate::identity::TAG_ENVIRONMENT;

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
        let (Some(short), Some(id)) = (short_id(tags), tags.get(TAG_ENVIRONMENT)) else { return Ok(Tagged::default()) };
        let session = match self.service.rest().await {
            Ok(session) => session,
            // Where the file wants no tags, an account that may not use them is right; there may be those of an earlier file.
            Err(failure) if !self.wanted.tags && failure.exit() == Exit::Missing => return Ok(Tagged::default()),
            Err(failure) => return Err(failure),
        };
        let mut found = Tagged::default();
        for (category, name) in session.categories().await? {
            if !is_of(&name, &short) {
                continue;
            }
            // Somebody else may have put a tag of their own there: then the category stays.
            if let Some(tag) = session.tag(&category, id).await? {
                found.carriers.extend(session.carriers(&tag).await?);
                found.things.push(thing(ThingKind::Tag, tag, &name));
            }
            found.things.push(thing(ThingKind::TagCategory, category, &name));
        }
        Ok(found)
    }

    /// How many of these machines and folders there are: what was removed may be told as a carrier for a while.
    async fn standing(&self, carriers: Vec<String>) -> Result<usize, Failure> {
        if carriers.is_empty() {
            return Ok(0);
        }
        let mut there: BTreeSet<String> =
            self.all_machines().await?.into_iter().map(|seen| seen.reference.id).collect();
        there.extend(self.every("Folder", &["name"]).await?.into_iter().map(|folder| folder.reference.id));
        Ok(carriers.iter().filter(|id| there.contains(*id)).count())
    }

    /// The name of a category, if there is one of it.
    pub(super) async fn category(&self, name: &str) -> Result<Option<String>, Failure> {
        let categories = self.service.rest().await?.categories().await?;
        Ok(categories.into_iter().find(|(_, known)| known == name).map(|(_, known)| known))
    }

    /// A tag in a category, in the form in which the provider imports it.
    pub(super) async fn tag_of(&self, category: &str, name: &str) -> Result<Option<String>, Failure> {
        if category.is_empty() {
            return Ok(None);
        }
        let session = self.service.rest().await?;
        if session.tag(category, name).await?.is_none() {
            return Ok(None);
        }
        let known = session.name("category", category).await?;
        Ok(Some(json!({ "category_name": known, "tag_name": name }).to_string()))
    }

    /// Removes a tag that nothing carries any more, or a category without a tag; one that is gone is fine.
    pub(super) async fn remove_tag(&self, thing: &Thing) -> Result<(), Failure> {
        let session = self.service.rest().await?;
        let (what, held) = match thing.kind {
            ThingKind::Tag => ("tag", self.standing(session.carriers(&thing.id).await?).await?),
            _ => ("category", session.tags_in(&thing.id).await?.len()),
        };
        if held > 0 {
            let by = if what == "tag" { "things carry it" } else { "tags are in it" };
            return Err(Failure::new(Exit::Platform, format!("removing the {what} of `{}`: it is in use", thing.name))
                .class(Class::Conflict)
                .because(format!("{held} {by}")));
        }
        session.ask(Method::DELETE, &format!("/{what}/id:{}", thing.id), None).await.map(drop)
    }
}

/// The REST service, in the session that is kept for it.
pub struct Rest<'a> {
    service: &'a Service,
}

impl<'a> Rest<'a> {
    /// Opens a session unless one is kept.
    pub async fn begun(service: &'a Service) -> Result<Self, Failure> {
        let rest = Self { service };
        rest.session().await?;
        Ok(rest)
    }

    async fn session(&self) -> Result<String, Failure> {
        let mut kept = self.service.rest_session().await;
        if let Some(session) = &*kept {
            return Ok(session.clone());
        }
        let credentials = self.service.credentials();
        let request = self.service.request(Method::POST, "/rest/com/vmware/cis/session");
        let request = request.basic_auth(&credentials.user, credentials.password.expose_str());
        let answer = self.service.sent(request).await?;
        match (answer.status(), self.service.json(answer).await?) {
            (StatusCode::OK, value) => {
                let session = value["value"].as_str().or(value.as_str()).filter(|session| !session.is_empty());
                let session = session.ok_or_else(|| {
                    Failure::new(Exit::Platform, "opening a session for tags: the vCenter gave none").transient()
                })?;
                Ok(kept.insert(session.to_owned()).clone())
            }
            (status, value) => Err(refused("opening a session for tags", status, &value)),
        }
    }

    /// Every category, by id and name.
    async fn categories(&self) -> Result<Vec<(String, String)>, Failure> {
        let mut found = Vec::new();
        for id in texts(&self.ask(Method::GET, "/category", None).await?) {
            let name = self.name("category", &id).await?;
            found.push((id, name));
        }
        Ok(found)
    }

    /// The tag of this name in a category.
    async fn tag(&self, category: &str, name: &str) -> Result<Option<String>, Failure> {
        for tag in self.tags_in(category).await? {
            if self.name("tag", &tag).await? == name {
                return Ok(Some(tag));
            }
        }
        Ok(None)
    }

    /// The name of a tag or category; empty where it is gone.
    async fn name(&self, what: &str, id: &str) -> Result<String, Failure> {
        let known = self.ask(Method::GET, &format!("/{what}/id:{id}"), None).await?;
        Ok(known["name"].as_str().unwrap_or_default().to_owned())
    }

    async fn tags_in(&self, category: &str) -> Result<Vec<String>, Failure> {
        let listed = format!("/tag/id:{category}?~action=list-tags-for-category");
        Ok(texts(&self.ask(Method::POST, &listed, Some(json!({}))).await?))
    }

    /// Ids of the objects that carry a tag.
    async fn carriers(&self, tag: &str) -> Result<Vec<String>, Failure> {
        let on = format!("/tag-association/id:{tag}?~action=list-attached-objects");
        let carriers = self.ask(Method::POST, &on, Some(json!({}))).await?;
        Ok(carriers.as_array().into_iter().flatten().filter_map(|one| one["id"].as_str()).map(str::to_owned).collect())
    }

    /// The value of an answer; `Null` of what is gone. A session that the vCenter has forgotten is opened anew, once.
    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value, Failure> {
        let session = self.session().await?;
        let (mut status, mut value) = self.answered(&session, &method, path, body.as_ref()).await?;
        if status == StatusCode::UNAUTHORIZED {
            self.forget(&session).await;
            let session = self.session().await?;
            (status, value) = self.answered(&session, &method, path, body.as_ref()).await?;
        }
        match status {
            StatusCode::NOT_FOUND if path.contains("/id:") => Ok(Value::Null),
            _ if status.is_success() => Ok(if value["value"].is_null() { value } else { value["value"].clone() }),
            _ => Err(refused(&format!("asking for tags ({method} {path})"), status, &value)),
        }
    }

    /// Keeps this session no longer; another request may have opened a new one meanwhile.
    async fn forget(&self, session: &str) {
        let mut kept = self.service.rest_session().await;
        if kept.as_deref() == Some(session) {
            *kept = None;
        }
    }

    async fn answered(
        &self,
        session: &str,
        method: &Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(StatusCode, Value), Failure> {
        let mut request = self.service.request(method.clone(), &format!("{TAGGING}{path}"));
        request = request.header("vmware-api-session-id", session);
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let answer = self.service.sent(request).await?;
        Ok((answer.status(), self.service.json(answer).await?))
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
