//! Calls of the vCenter's SOAP service, and what its faults mean.
//!
//! Only what we ask for is spoken: a handful of methods of the vSphere Web Services API, version 6.7 and later. A session
//! that the vCenter has forgotten is opened anew, once for each call.

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, COOKIE, SET_COOKIE};
use reqwest::{Certificate, Client, Method, RequestBuilder, Response};

use super::tags::Rest;
use super::xml::{self, Element, escaped};
use crate::failure::{Class, Exit, Failure, deepest};
use crate::secret::Secret;

/// A service of the vCenter, in the version that is spoken: what is asked for is in every vCenter since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// The vCenter itself.
    Vim,
    /// Its storage policies; who asks is told in the envelope.
    Policies,
}

impl Api {
    fn path(self) -> &'static str {
        match self {
            Self::Vim => "/sdk",
            Self::Policies => "/pbm",
        }
    }

    fn namespace(self) -> &'static str {
        match self {
            Self::Vim => "urn:vim25",
            Self::Policies => "urn:pbm",
        }
    }

    fn action(self) -> &'static str {
        match self {
            Self::Vim => "urn:vim25/6.7",
            Self::Policies => "urn:pbm/2.0",
        }
    }

    /// The session with this cookie as this service wants it: in the envelope, and as a cookie.
    fn told(self, cookie: Option<String>) -> (String, Option<String>) {
        match self {
            Self::Vim => (String::new(), cookie),
            Self::Policies => {
                let session = cookie.as_deref().and_then(|cookie| cookie.split_once('=')).map_or("", |(_, id)| id);
                let session = escaped(session.trim_matches('"'));
                (format!("<soapenv:Header><vcSessionCookie>{session}</vcSessionCookie></soapenv:Header>"), None)
            }
        }
    }
}

/// Who we are there.
#[derive(Clone, Debug)]
pub struct Credentials {
    pub user: String,
    pub password: Secret,
}

/// Something in the vCenter's inventory, by type and id such as `VirtualMachine` and `vm-57`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    pub kind: String,
    pub id: String,
}

impl Reference {
    pub fn new(kind: &str, id: &str) -> Self {
        Self { kind: kind.to_owned(), id: id.to_owned() }
    }

    pub fn read(element: &Element) -> Self {
        Self::new(&element.kind, element.text.trim())
    }

    /// As an element of this name.
    pub fn written(&self, name: &str) -> String {
        format!("<{name} type=\"{}\">{}</{name}>", escaped(&self.kind), escaped(&self.id))
    }
}

/// A fault that the vCenter answered with, or that a task ended with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its type, such as `NoPermission`.
    pub kind: String,
    pub message: String,
}

impl Fault {
    pub fn read(fault: &Element) -> Self {
        let detail = fault.child("detail").and_then(|detail| detail.children.first());
        let kind = match detail {
            Some(detail) if detail.kind.is_empty() => detail.name.trim_end_matches("Fault").to_owned(),
            Some(detail) => detail.kind.clone(),
            None => String::new(),
        };
        let lacks = detail.map(|detail| detail.text_at(&["privilegeId"])).filter(|privilege| !privilege.is_empty());
        let message = match lacks {
            Some(privilege) => format!("{} ({privilege})", fault.text_at(&["faultstring"])),
            None => fault.text_at(&["faultstring"]).to_owned(),
        };
        Self { kind, message }
    }

    /// The failure that this is: `doing` says what we were doing, on what.
    pub fn failure(&self, doing: &str) -> Failure {
        let (exit, class, what, hint) = match self.kind.as_str() {
            "NoPermission" => (
                Exit::Missing,
                Class::NeedsPerson,
                "this account lacks a privilege",
                Some("docs/vsphere.md lists the privileges that are needed, by object"),
            ),
            "InvalidLogin" => (
                Exit::Missing,
                Class::NeedsPerson,
                "the vCenter does not know this user with this password",
                Some("set VSPHERE_USER and VSPHERE_PASSWORD"),
            ),
            "NotAuthenticated" => (Exit::Platform, Class::Transient, "the session was lost", None),
            "DuplicateName" | "AlreadyExists" => (
                Exit::Platform,
                Class::Conflict,
                "something of this name exists",
                Some("remove or rename what has this name: it is not of this environment"),
            ),
            "NoDiskSpace" | "InsufficientResourcesFault" | "InsufficientStorageSpace" | "FileFault" => (
                Exit::Platform,
                Class::NeedsPerson,
                "there is no room for it",
                Some("free space in `vsphere.datastore`, or name another one"),
            ),
            "TaskInProgress" | "ConcurrentAccess" | "ResourceInUse" => {
                (Exit::Platform, Class::Conflict, "something else is done with it", None)
            }
            "HostCommunication" | "Timedout" | "HostNotConnected" | "RuntimeFault" | "RequestCanceled" => {
                (Exit::Platform, Class::Transient, "vSphere failed by itself", None)
            }
            _ => (Exit::Platform, Class::Permanent, "vSphere refused it", None),
        };
        let failure = Failure::new(exit, format!("{doing}: {what}")).class(class).because(self.cause());
        hint.into_iter().fold(failure, Failure::hint)
    }

    fn cause(&self) -> String {
        if self.message.is_empty() { self.kind.clone() } else { format!("{}: {}", self.kind, self.message) }
    }

    pub fn is_gone(&self) -> bool {
        matches!(self.kind.as_str(), "ManagedObjectNotFound" | "NotFound")
    }
}

/// Why a call was not carried out.
#[derive(Clone, Debug)]
pub enum Refused {
    /// The vCenter said so.
    Fault(Fault),
    /// It was not asked, or its answer cannot be read.
    Failure(Failure),
}

impl Refused {
    pub fn failure(self, doing: &str) -> Failure {
        match self {
            Self::Fault(fault) => fault.failure(doing),
            Self::Failure(failure) => failure,
        }
    }

    pub fn is(&self, kind: &str) -> bool {
        matches!(self, Self::Fault(fault) if fault.kind == kind)
    }
}

/// One vCenter.
#[derive(Debug)]
pub struct Service {
    server: String,
    http: Client,
    credentials: Credentials,
    /// The cookie of the session.
    session: Mutex<Option<String>>,
    /// The id of the session with the REST service.
    rest_session: tokio::sync::Mutex<Option<String>>,
}

impl Service {
    /// A client of the vCenter at `server`; nothing is asked yet.
    ///
    /// # Errors
    /// Exit 4: the file with its authority cannot be read.
    pub fn new(server: &str, ca: Option<&Path>, credentials: Credentials) -> Result<Self, Failure> {
        let mut builder = Client::builder()
            .https_only(true)
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(10))
            .timeout(Duration::from_secs(60));
        if let Some(file) = ca {
            let unusable = |error: &dyn std::fmt::Display| {
                Failure::new(Exit::Missing, format!("vsphere.ca: `{}` cannot be used", file.display()))
                    .because(error)
                    .hint("name a file with the vCenter's authority, PEM, in `vsphere.ca`")
            };
            let text = std::fs::read(file).map_err(|error| unusable(&error))?;
            let authorities = Certificate::from_pem_bundle(&text).map_err(|error| unusable(&error))?;
            builder = builder.tls_certs_only(authorities);
        }
        let http = builder
            .build()
            .map_err(|error| Failure::new(Exit::Missing, "no client for a vCenter").because(deepest(&error)))?;
        Ok(Self {
            server: server.to_owned(),
            http,
            credentials,
            session: Mutex::new(None),
            rest_session: tokio::sync::Mutex::new(None),
        })
    }

    pub fn user(&self) -> &str {
        &self.credentials.user
    }

    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// The REST service, in a session that is opened when it is first asked for.
    pub async fn rest(&self) -> Result<Rest<'_>, Failure> {
        Rest::begun(self).await
    }

    pub async fn rest_session(&self) -> tokio::sync::MutexGuard<'_, Option<String>> {
        self.rest_session.lock().await
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("https://{}{path}", self.server))
    }

    pub async fn sent(&self, request: RequestBuilder) -> Result<Response, Failure> {
        request.send().await.map_err(|error| self.no_answer(&error))
    }

    /// An answer as JSON; `Null` where it is empty, and of a refusal that is no JSON.
    pub async fn json(&self, answer: Response) -> Result<serde_json::Value, Failure> {
        let refused = !answer.status().is_success();
        let text = answer.text().await.map_err(|error| self.no_answer(&error))?;
        match serde_json::from_str(&text) {
            Ok(value) => Ok(value),
            Err(_) if refused || text.trim().is_empty() => Ok(serde_json::Value::Null),
            Err(error) => Err(Failure::new(Exit::Platform, format!("`{}` is no vCenter", self.server))
                .because(format!("what its REST service answers is no JSON: {error}"))),
        }
    }

    /// Calls a method of `this` with these arguments, written as XML; gives the response.
    pub async fn call(&self, method: &str, this: &Reference, arguments: &str) -> Result<Element, Refused> {
        self.call_at(Api::Vim, method, this, arguments).await
    }

    /// As [`call`](Self::call), of this service.
    pub async fn call_at(&self, api: Api, method: &str, this: &Reference, arguments: &str) -> Result<Element, Refused> {
        if self.cookie().is_none() {
            self.log_in().await?;
        }
        match self.ask_at(api, method, this, arguments).await {
            Err(refused) if refused.is("NotAuthenticated") => {
                self.log_in().await?;
                self.ask_at(api, method, this, arguments).await
            }
            answer => answer,
        }
    }

    async fn log_in(&self) -> Result<(), Refused> {
        self.keep_cookie(None);
        let password = self.credentials.password.expose_str().unwrap_or_default();
        let arguments = format!(
            "<userName>{}</userName><password>{}</password>",
            escaped(&self.credentials.user),
            escaped(password)
        );
        self.ask("Login", &Reference::new("SessionManager", "SessionManager"), &arguments).await.map(drop)
    }

    /// As [`call`](Self::call), whoever we are.
    pub async fn ask(&self, method: &str, this: &Reference, arguments: &str) -> Result<Element, Refused> {
        self.ask_at(Api::Vim, method, this, arguments).await
    }

    async fn ask_at(&self, api: Api, method: &str, this: &Reference, arguments: &str) -> Result<Element, Refused> {
        let (header, cookie) = api.told(self.cookie());
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\
             <soapenv:Envelope xmlns:soapenv=\"http://schemas.xmlsoap.org/soap/envelope/\" \
             xmlns:xsd=\"http://www.w3.org/2001/XMLSchema\" xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\">\
             {}<soapenv:Body><{method} xmlns=\"{}\">{}{arguments}</{method}></soapenv:Body></soapenv:Envelope>",
            header,
            api.namespace(),
            this.written("_this")
        );
        let mut request = self.request(Method::POST, api.path()).header(CONTENT_TYPE, "text/xml; charset=utf-8");
        request = request.header("SOAPAction", api.action()).body(body);
        if let Some(cookie) = cookie {
            request = request.header(COOKIE, cookie);
        }
        let answer = request.send().await.map_err(|error| Refused::Failure(self.no_answer(&error)))?;
        let given = answer.headers().get(SET_COOKIE).and_then(|cookie| cookie.to_str().ok()).map(str::to_owned);
        // The other services give cookies of their own, which are none of the vCenter's session.
        if api == Api::Vim
            && let Some(cookie) = given.as_deref().and_then(|cookie| cookie.split(';').next())
        {
            self.keep_cookie(Some(cookie.to_owned()));
        }
        let status = answer.status();
        let text = answer.text().await.map_err(|error| Refused::Failure(self.no_answer(&error)))?;
        let envelope =
            xml::read(&text).map_err(|why| Refused::Failure(self.no_vcenter(&format!("{status}: {why}"))))?;
        let answer = envelope.child("Body").and_then(|body| body.children.first());
        match answer {
            Some(fault) if fault.name == "Fault" => Err(Refused::Fault(Fault::read(fault))),
            Some(answer) => Ok(answer.clone()),
            None => Err(Refused::Failure(self.no_vcenter(&format!("{status}, without a body")))),
        }
    }

    fn cookie(&self) -> Option<String> {
        self.session.lock().ok().and_then(|session| session.clone())
    }

    fn keep_cookie(&self, cookie: Option<String>) {
        if let Ok(mut session) = self.session.lock() {
            *session = cookie;
        }
    }

    fn no_vcenter(&self, why: &str) -> Failure {
        Failure::new(Exit::Platform, format!("`{}` does not answer as a vCenter does", self.server))
            .because(why)
            .hint("check `vsphere.server`")
    }

    fn no_answer(&self, error: &reqwest::Error) -> Failure {
        let cause = deepest(error);
        let lower = cause.to_ascii_lowercase();
        let failure = Failure::new(Exit::Platform, format!("no answer from the vCenter at `{}`", self.server));
        if lower.contains("certificate") || lower.contains("unknownissuer") {
            return failure.class(Class::NeedsPerson).because(cause).hint(
                "name the file with the vCenter's authority in `vsphere.ca`, and its name as it stands in the \
                 certificate in `vsphere.server`",
            );
        }
        if lower.contains("name or service not known") || lower.contains("dns error") {
            return failure.class(Class::NeedsPerson).because(cause).hint("check `vsphere.server`");
        }
        failure.transient().because(cause).hint("check `vsphere.server` and the way to it from this machine")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(detail: &str) -> Fault {
        let text = format!(
            "<Fault><faultcode>ServerFaultCode</faultcode><faultstring>Permission to perform this operation was denied.</faultstring><detail>{detail}</detail></Fault>"
        );
        Fault::read(&xml::read(&text).expect("read"))
    }

    #[test]
    fn a_privilege_that_is_lacked_is_named() {
        let refused = fault(
            r#"<NoPermissionFault xsi:type="NoPermission"><object type="Folder">group-v3</object><privilegeId>VirtualMachine.Provisioning.Clone</privilegeId></NoPermissionFault>"#,
        );

        let failure = refused.failure("cloning `rocky9-base`");

        assert_eq!(failure.what(), "cloning `rocky9-base`: this account lacks a privilege");
        assert_eq!((failure.exit(), failure.kind()), (Exit::Missing, Class::NeedsPerson));
        assert_eq!(
            refused.cause(),
            "NoPermission: Permission to perform this operation was denied. (VirtualMachine.Provisioning.Clone)"
        );
    }

    #[test]
    fn the_storage_policy_service_is_told_the_session_in_the_envelope() {
        let cookie = || Some("vmware_soap_session=\"a1-b2\"".to_owned());
        let envelope = "<soapenv:Header><vcSessionCookie>a1-b2</vcSessionCookie></soapenv:Header>";

        assert_eq!(Api::Policies.told(cookie()), (envelope.to_owned(), None));
        assert_eq!(Api::Vim.told(cookie()), (String::new(), cookie()));
    }

    #[test]
    fn a_fault_without_a_type_is_known_by_its_element() {
        assert_eq!(fault("<InvalidLoginFault/>").kind, "InvalidLogin");
        assert!(fault("<ManagedObjectNotFoundFault/>").is_gone());
    }

    #[test]
    fn a_lost_session_may_pass_and_a_full_datastore_needs_a_person() {
        let kinds = ["NotAuthenticated", "NoDiskSpace", "DuplicateName", "InvalidArgument"]
            .map(|kind| Fault { kind: kind.to_owned(), message: String::new() }.failure("cloning `server-1`").kind());

        assert_eq!(kinds, [Class::Transient, Class::NeedsPerson, Class::Conflict, Class::Permanent]);
    }
}
