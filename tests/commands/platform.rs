//! A scripted AWS that knows who asks and has nothing but zones and the image that others stem from; it remembers what it
//! was asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// Answers for as long as the test runs.
pub struct Platform {
    endpoint: String,
    asked: Arc<Mutex<Vec<String>>>,
    /// It carries out this action, whose answer is lost.
    lost: Arc<Mutex<Option<&'static str>>>,
}

impl Platform {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let lost = Arc::new(Mutex::new(None));
        let shared = (asked.clone(), lost.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (asked, lost) = shared.clone();
                std::thread::spawn(move || serve(stream, &asked, &lost));
            }
        });
        Self { endpoint, asked, lost }
    }

    /// What leads the program here.
    pub fn variables(&self) -> [(&str, &str); 3] {
        [("AWS_ENDPOINT_URL", &self.endpoint), ("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b")]
    }

    /// Cuts the connection instead of the next answer to this action.
    pub fn loses_an_answer_to(&self, action: &'static str) {
        *self.lost.lock().expect("nobody panics with it") = Some(action);
    }

    /// The actions so far, in order.
    pub fn in_order(&self) -> Vec<String> {
        self.asked.lock().expect("nobody panics with it").clone()
    }

    /// The actions so far, each once, sorted.
    pub fn asked(&self) -> Vec<String> {
        let mut asked = self.asked.lock().expect("nobody panics with it").clone();
        asked.sort();
        asked.dedup();
        asked
    }
}

/// One request a connection; who goes away is let go.
fn serve(stream: TcpStream, asked: &Mutex<Vec<String>>, lost: &Mutex<Option<&'static str>>) -> Option<()> {
    let mut stream = BufReader::new(stream);
    let (mut length, mut target, mut line) = (0, String::new(), String::new());
    while stream.read_line(&mut line).ok()? > 2 {
        let (name, value) = line.split_once(": ").unwrap_or_default();
        match name.to_lowercase().as_str() {
            "content-length" => length = value.trim().parse().ok()?,
            "x-amz-target" => target = value.trim().to_owned(),
            _ => {}
        }
        line.clear();
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    let body = String::from_utf8(body).ok()?;
    let action = body.split('&').find_map(|pair| pair.strip_prefix("Action=")).unwrap_or(&target).to_owned();
    let is_made = asked.lock().ok()?.iter().any(|asked| asked == "CreateVpc");
    let text = if target.is_empty() { xml(&action, &body, is_made) } else { "{}".to_owned() };
    asked.lock().ok()?.push(action.clone());
    // Taken, so that it happens once.
    lost.lock().ok()?.take_if(|lost| *lost == action).map_or(Some(()), |_| None)?;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", text.len());
    stream.get_mut().write_all((head + &text).as_bytes()).ok()
}

/// The answer in EC2's form and in that of the other services at once: each reads its own and finds nothing in it.
fn xml(action: &str, body: &str, is_made: bool) -> String {
    let result = match action {
        "GetCallerIdentity" => {
            "<Arn>arn:aws:iam::123456789012:user/tester</Arn><UserId>AIDA</UserId><Account>123456789012</Account>"
        }
        "ListRoles" => "<Roles/>",
        "ListInstanceProfiles" => "<InstanceProfiles/>",
        _ => "",
    };
    let zones = ["a", "b", "c"].map(|zone| format!("<item><zoneName>eu-central-1{zone}</zoneName></item>")).concat();
    let direct = match action {
        "DescribeAvailabilityZones" => format!("<availabilityZoneInfo>{zones}</availabilityZoneInfo>"),
        "DescribeImages" if !body.contains("Owner.1=self") => {
            "<imagesSet><item><imageId>ami-1</imageId><imageState>available</imageState></item></imagesSet>".to_owned()
        }
        "DescribeVpcs" if is_made => "<vpcSet><item><vpcId>vpc-1</vpcId></item></vpcSet>".to_owned(),
        "CreateVpc" => "<vpc><vpcId>vpc-1</vpcId></vpc>".to_owned(),
        "CreateSecurityGroup" => "<groupId>sg-1</groupId>".to_owned(),
        _ => String::new(),
    };
    format!("<{action}Response>{direct}<{action}Result>{result}</{action}Result></{action}Response>")
}
